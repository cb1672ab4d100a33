/**
 * Other parameters for a pipeline that runs. They, and what is made of them, are laid out beside those that there are; when all
 * of it stands, the workers are told, and each goes over between two rounds; when all have, the old ones' memory is free. Until
 * they are told nothing has changed, whatever goes wrong. Thread: the main one.
 */
import { CHANGE } from "../batches/change.ts";
import { PIPELINE_CONTROL, WORKER_CONTROL, WORKER_STATE } from "../batches/control.ts";
import { HOST_COUNTER } from "../batches/counters.ts";
import { CONTEXT } from "../batches/layout.ts";
import { counterRead, type PacketMemory } from "../batches/memory.ts";
import { NoMemory, SpareMemory } from "../batches/spare.ts";
import { changesBetween, type FilterChange, keptCounters } from "../config/changes.ts";
import type { Pipeline } from "../config/types.ts";
import { isBuiltin } from "../filters/build.ts";
import { loadFilter } from "../filters/library.ts";
import type { EncodedParams } from "../params/encode.ts";
import { PAGE } from "../plan/memory.ts";
import type { FilterFacts, FilterPlan, InstancePlan, Plan, Range } from "../plan/types.ts";
import { goOver } from "./go-over.ts";
import { type Filters, fillState, sizeFilter } from "./prepare.ts";

/** How long reload() waits for the workers, ms: they need a round, unless one is kept by a file that does not answer. */
const PATIENCE = 5000;

/** What a reload has changed: by filter, its parameters ("rules", "sets.office"). */
export interface Reloaded {
  changed: { filter: string; params: string[] }[];
  /**
   * Workers that have not gone over to it yet, and will when what they wait for lets them. Mostly none; until then the report has the
   * counters of these filters as they were.
   */
  waiting: number[];
  /** Filters that trapped on some worker as they went over, in reload() or, made anew, in init(): their packets are dropped, or let by. */
  trapped: string[];
}

/** Some of what differs, only a restart takes over: nothing has been changed. */
export class NotReloadable extends Error {
  override name = "NotReloadable";
  /** One for each thing: its place in the file and why. */
  readonly reasons: string[];

  constructor(reasons: string[]) {
    super(reasons.join("\n"));
    this.reasons = reasons;
  }
}

/** Of a context: what only the worker itself may write to. */
const NOT_OURS = [
  CONTEXT.WORKER_STATE,
  CONTEXT.WORKER_STATE_BYTES,
  CONTEXT.OUTPUT_COUNTERS,
  CONTEXT.FREE,
  CONTEXT.DUE,
  CONTEXT.DUE + 4,
  CONTEXT.EMITTED,
  CONTEXT.HOLD_LIMIT,
  CONTEXT.LOG,
  CONTEXT.TABLES,
  CONTEXT.LOCKS,
];
/** Parameters of so many bytes are a matter of milliseconds to prepare; more are prepared beside. */
const FEW_BYTES = 65536;

/** What stands ready for one filter. */
interface Ready {
  change: FilterChange;
  facts: FilterFacts;
  params: Range;
  preparedState: Range;
  /** By worker. */
  counters: Range[];
  kept: Range;
  references: Range;
}

export class Reloader {
  /** What runs, or will when all workers have gone over to it: for workers that start now. */
  plan: Plan;
  /** What all workers count by. */
  reported: Plan;
  private readonly m: PacketMemory;
  private readonly filters: Filters;
  private pipeline: Pipeline;
  private readonly spare: SpareMemory;
  private readonly wake: () => void;
  /** The end of the last reload, workers and all. */
  private last: Promise<void> = Promise.resolve();
  private isWaiting = false;
  private taken: Range[] = [];
  /** Where the reload at hand says what it changes. */
  private table: Range = { address: 0, bytes: 0 };

  /** @param wake ends the workers' sleep */
  constructor(m: PacketMemory, plan: Plan, pipeline: Pipeline, filters: Filters, wake: () => void) {
    this.m = m;
    this.plan = plan;
    this.reported = plan;
    this.pipeline = pipeline;
    this.filters = filters;
    this.wake = wake;
    this.spare = new SpareMemory(m);
  }

  /**
   * @param isRunning whether there are workers to tell, now
   * @throws NotReloadable; FilterError when a filter cannot take them; Error when there is no memory, or the pipeline has ended
   */
  async reload(next: Pipeline, isRunning: () => boolean): Promise<Reloaded> {
    if (this.isWaiting) throw new Error("the reload before this one is still waiting for a worker");
    this.isWaiting = true;
    let done = false;
    try {
      const { filters, restart } = changesBetween(this.pipeline, next);
      restart.push(...(await this.otherCode(next)));
      if (restart.length > 0) throw new NotReloadable(restart);
      const ready = await this.prepareAll(filters);
      if (ready.length === 0) return { changed: [], waiting: [], trapped: [] };
      if (!isRunning()) throw new Error("the pipeline has ended");
      const traps = this.trapsOf(filters);
      this.switchOver(ready);
      this.pipeline = this.merged(filters);
      done = true;
      const waiting = await this.patiently();
      if (!isRunning()) throw new Error("the pipeline has ended while it was reloaded");
      const changed = filters.map(({ config, params }) => ({ filter: config.id, params }));
      const now = this.trapsOf(filters);
      const trapped = filters.filter((_, i) => now[i] > traps[i]).map(({ config }) => config.id);
      return { changed, waiting, trapped };
    } finally {
      if (!done) {
        for (const range of this.taken) this.spare.give(range);
        this.isWaiting = false;
      }
      this.taken = [];
    }
  }

  /** How often each of these filters has trapped, or had to be ended. */
  private trapsOf(changes: FilterChange[]): number[] {
    return changes.map(({ index }) =>
      this.plan.workers.reduce(
        (sum, { instances }) => sum + counterRead(this.m, instances[index].host + HOST_COUNTER.TRAPS),
        0,
      ),
    );
  }

  /** What a worker that starts now begins with: it goes over to what it has not gone over to yet. */
  planOf(worker: number): Plan {
    return this.generationOf(worker) === this.plan.generation ? this.plan : this.reported;
  }

  /**
   * For a worker that is no more, and may have ended before it went over to what it was told, or while it did.
   * @param isReplaced another one takes its place: what filters know privately may still be of what was before
   */
  settle(worker: number, isReplaced: boolean): void {
    const { m, plan } = this;
    if (this.generationOf(worker) === plan.generation) return;
    const { control, instances } = plan.workers[worker];
    const changes = m.u32[(plan.control + PIPELINE_CONTROL.CHANGES) >>> 2];
    instances.forEach(({ context, workerState: { address, bytes } }, filter) => {
      const change = changes + (worker * plan.filters.length + filter) * CHANGE.SIZE;
      if (m.u32[(change + CHANGE.PARAMS) >>> 2] === 0) return;
      goOver(m, context, change);
      if (isReplaced) m.u8.fill(0, address, address + bytes);
    });
    Atomics.store(m.i32, (control + WORKER_CONTROL.GENERATION) >>> 2, plan.generation);
  }

  /** When all workers have ended: what they have counted is all in one place. */
  settleAll(): void {
    this.plan.workers.forEach((_, worker) => {
      this.settle(worker, false);
    });
    this.reported = this.plan;
  }

  private generationOf(worker: number): number {
    const { control } = this.plan.workers[worker];
    return Atomics.load(this.m.i32, (control + WORKER_CONTROL.GENERATION) >>> 2);
  }

  /** Filters of the user's whose sources or modules are not those that run. @throws FilterError when they do not build */
  private async otherCode({ filters }: Pipeline): Promise<string[]> {
    const others: string[] = [];
    for (const { id, manifest, isolation } of filters) {
      const index = this.pipeline.filters.findIndex((one) => one.id === id);
      if (isBuiltin(manifest.location) || index < 0) continue;
      const { bytes } = await loadFilter(manifest, isolation);
      if (Buffer.compare(bytes, this.filters.loaded[index].bytes) !== 0)
        others.push(`filters.${id}: its code has changed, which only a restart takes over`);
    }
    return others;
  }

  /** The pipeline that runs, with other parameters. */
  private merged(changes: FilterChange[]): Pipeline {
    const filters = [...this.pipeline.filters];
    for (const { index, config } of changes) filters[index] = config;
    return { ...this.pipeline, filters };
  }

  private async prepareAll(changes: FilterChange[]): Promise<Ready[]> {
    try {
      const ready: Ready[] = [];
      const tooLarge: string[] = [];
      for (const change of changes) {
        const { facts, params } = await sizeFilter(this.filters.loaded[change.index], change.config);
        tooLarge.push(...this.outgrown(change, facts));
        ready.push({ change, facts, ...this.layOut(change, facts, params) });
      }
      if (tooLarge.length > 0) throw new NotReloadable(tooLarge);
      for (const one of ready) await this.prepare(one);
      const { workers, filters } = this.plan;
      this.table = this.take(ready.length === 0 ? 0 : workers.length * filters.length * CHANGE.SIZE);
      return ready;
    } catch (error) {
      if (!(error instanceof NoMemory)) throw error;
      throw new Error(`the reload wants ${error.message}`);
    }
  }

  /** Memory that is given back if the reload comes to nothing. */
  private take(bytes: number): Range {
    const range = { address: bytes === 0 ? 0 : this.spare.take(bytes), bytes };
    this.taken.push(range);
    return range;
  }

  /** State that workers write stays where it is. */
  private outgrown({ index, config }: FilterChange, facts: FilterFacts): string[] {
    const { sharedState } = this.plan.filters[index];
    const { workerState } = this.plan.workers[0].instances[index];
    const fits = facts.workerStateBytes <= workerState.bytes && facts.sharedStateBytes <= sharedState.bytes;
    return fits ? [] : [`filters.${config.id}: it wants more state than it has, which only a restart gives`];
  }

  private layOut(
    { index, config }: FilterChange,
    facts: FilterFacts,
    encoded: EncodedParams,
  ): Pick<Ready, "params" | "preparedState" | "counters" | "kept" | "references"> {
    const take = (bytes: number) => this.take(bytes);
    // Never none: its address says that the filter has changed.
    const params = take(Math.max(facts.paramsBytes, 8));
    const preparedState = take(facts.preparedStateBytes);
    const counters = this.plan.workers.map(() => take(8 * config.counters.length));
    const kept = take(4 * config.counters.length);
    const references = take(4 * (facts.isolated?.length ?? 0));
    const { u8, u32 } = this.m;
    u8.set(encoded.at(params.address), params.address);
    u32.set(
      keptCounters(this.pipeline.filters[index], config).map((before) => before + 1),
      kept.address >>> 2,
    );
    u32.set(facts.isolated ?? [], references.address >>> 2);
    return { params, preparedState, counters, kept, references };
  }

  /** Fills what is made of the parameters, as a worker that there is not. */
  private async prepare({
    change: { index, config },
    params,
    preparedState,
    counters,
  }: Ready): Promise<void> {
    const { context } = this.plan.workers[0].instances[index];
    const own = { address: this.spare.take(CONTEXT.SIZE), bytes: CONTEXT.SIZE };
    const { u8, u32 } = this.m;
    const word = (offset: number, value: number) => {
      u32[(own.address + offset) >>> 2] = value;
    };
    u8.copyWithin(own.address, context, context + CONTEXT.SIZE);
    word(CONTEXT.PARAMS, params.address);
    word(CONTEXT.PREPARED_STATE, preparedState.address);
    word(CONTEXT.COUNTERS, counters[0].address);
    // What is of a worker's alone is not this one's.
    for (const offset of NOT_OURS) word(offset, 0);
    const isOurs = isBuiltin(config.manifest.location);
    const watch = !isOurs ? "thread" : params.bytes > FEW_BYTES ? "thread without limit" : "none";
    try {
      await fillState(this.m, this.filters.loaded[index], config.id, watch, {
        context: own.address,
        calls: ["prepare"],
      });
    } finally {
      this.spare.give(own);
    }
  }

  /** Tells the workers. From here on, those that start begin with it. */
  private switchOver(ready: Ready[]): void {
    const before = this.plan;
    const generation = before.generation + 1;
    const { table } = this;
    const { u32, i32 } = this.m;
    before.workers.forEach((_, worker) => {
      for (const one of ready) {
        const at = table.address + (worker * before.filters.length + one.change.index) * CHANGE.SIZE;
        const word = (offset: number, value: number) => {
          u32[(at + offset) >>> 2] = value;
        };
        word(CHANGE.PARAMS, one.params.address);
        word(CHANGE.PARAMS_BYTES, one.params.bytes);
        word(CHANGE.PREPARED_STATE, one.preparedState.address);
        word(CHANGE.COUNTERS, one.counters[worker].address);
        word(CHANGE.COUNTER_COUNT, one.change.config.counters.length);
        word(CHANGE.KEPT, one.kept.address);
        word(CHANGE.REFERENCES, one.references.address);
        word(CHANGE.REFERENCE_COUNT, one.references.bytes / 4);
      }
    });
    this.plan = planWith(before, ready, generation);
    const pages = this.m.memory.buffer.byteLength / PAGE;
    Atomics.store(u32, (before.control + PIPELINE_CONTROL.PAGES) >>> 2, pages);
    Atomics.store(u32, (before.control + PIPELINE_CONTROL.CHANGES) >>> 2, table.address);
    Atomics.store(i32, (before.control + PIPELINE_CONTROL.GENERATION) >>> 2, generation);
    this.wake();
    this.last = this.untilAll().then(() => {
      this.reported = this.plan;
      for (const range of placesOf(before, ready)) this.spare.give(range);
      for (const { kept, references } of ready) {
        this.spare.give(kept);
        this.spare.give(references);
      }
      this.spare.give(table);
      this.isWaiting = false;
    });
  }

  /** Workers that still have what was before. */
  private behind(): number[] {
    const { generation, workers } = this.plan;
    return workers.flatMap((_, worker) => (this.generationOf(worker) === generation ? [] : [worker]));
  }

  private async untilAll(): Promise<void> {
    for (;;) {
      for (const worker of this.behind()) {
        const state = (this.plan.workers[worker].control + WORKER_CONTROL.STATE) >>> 2;
        const isOver = [WORKER_STATE.ENDED, WORKER_STATE.FAILED].some(
          (over) => over === Atomics.load(this.m.i32, state),
        );
        if (isOver) this.settle(worker, false);
      }
      if (this.behind().length === 0) return;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  /** @returns workers that have not gone over in time */
  private async patiently(): Promise<number[]> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, PATIENCE);
    });
    await Promise.race([this.last, late]);
    clearTimeout(timer);
    return this.isWaiting ? this.behind() : [];
  }
}

function planWith(before: Plan, ready: Ready[], generation: number): Plan {
  const filters = [...before.filters];
  for (const { change, facts, params, preparedState } of ready) {
    const filter: FilterPlan = { ...filters[change.index], params, preparedState };
    filter.counters = change.config.counters;
    if (facts.isolated !== undefined) filter.isolated = facts.isolated;
    filters[change.index] = filter;
  }
  const workers = before.workers.map((worker, w) => {
    const instances = [...worker.instances];
    for (const { change, counters } of ready) {
      const instance: InstancePlan = { ...instances[change.index], counters: counters[w].address };
      instances[change.index] = instance;
    }
    return { ...worker, instances };
  });
  return { ...before, generation, filters, workers };
}

/** Where what was changed lay before. */
function placesOf(before: Plan, ready: Ready[]): Range[] {
  return ready.flatMap(({ change: { index } }) => {
    const { params, preparedState, counters } = before.filters[index];
    const counted = before.workers.map(({ instances }) => ({
      address: instances[index].counters,
      bytes: 8 * counters.length,
    }));
    return [params, preparedState, ...counted];
  });
}
