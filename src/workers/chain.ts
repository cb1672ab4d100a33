/**
 * The way of a batch through its paths. In: a batch on the path that its device feeds. Out: every packet in the txBatch
 * of a port, or back on the free list and counted. Thread: the worker's. It allocates nothing after construction:
 * batches are vectors in the pipeline's memory, and each filter costs one call into Wasm, each step one more to part
 * the batch by output.
 */
import { CHANGE } from "../batches/change.ts";
import { HOST_COUNTER } from "../batches/counters.ts";
import { CONTEXT } from "../batches/layout.ts";
import { batchCount, batchMove, counterAdd, type PacketMemory } from "../batches/memory.ts";
import { outputBatch } from "../plan/plan.ts";
import type { Plan, WorkerPlan } from "../plan/types.ts";
import type { Core } from "./core.ts";
import { dueOf, heldBy, reclaim, stepNumber } from "./hold.ts";
import { Instance } from "./instance.ts";

interface Step {
  instance: Instance;
  context: number;
  /** Where each output leads, for partition. */
  table: number;
  /** It may hold packets and emit others; always the last of its part of a path. */
  holds: boolean;
  /** Its number among the steps that use its filter. */
  number: number;
  /** The batch of what its filter emits; 0: it does not hold any. */
  emitted: number;
}

/** A path; where a filter holds packets, the part up to that filter, or the part behind it. */
interface Path {
  batch: number;
  /** 0: counted where the path begins, or as the packets come in. */
  counters: number;
  dropCounters: number;
  steps: Step[];
  /** Where a packet goes that came through: another batch, or 0 for the free list. */
  target: number;
  /** The part behind a filter that holds packets, whose batch is `target`. */
  behind: Path | undefined;
}

/** The last of every so many rounds is timed: the clock's own cost does not count, nor does compiling in the first. */
const SAMPLE_EVERY = 16;

export class Chain {
  /** Some filter has a tick. */
  readonly hasTick: boolean;
  private readonly m: PacketMemory;
  private readonly core: Core;
  private readonly paths: Path[];
  /** By path. */
  private readonly entryCounters: number[];
  /** Some filter holds packets. */
  readonly holds: boolean;
  /** Some filter wants to be woken at times. */
  readonly hasTimers: boolean;
  private readonly instances: Instance[];
  private readonly worker: WorkerPlan;
  /** By filter: it holds packets. */
  private readonly holding: boolean[];
  private readonly free: number;
  private round = 0;
  /** The batch that a filter is at; 0: none is at any. */
  private current = 0;

  constructor(m: PacketMemory, plan: Plan, worker: WorkerPlan, core: Core, modules: WebAssembly.Module[]) {
    this.m = m;
    this.core = core;
    this.free = worker.free;
    this.instances = modules.map(
      (module, i) => new Instance(m, plan.filters[i], worker, i, module, core, plan.devices.length),
    );
    this.hasTick = this.instances.some((instance) => instance.hasTick);
    this.worker = worker;
    this.holding = worker.instances.map(({ hold }) => hold !== undefined);
    this.holds = this.holding.includes(true);
    this.instances.forEach((instance, i) => {
      if (!this.holding[i]) return;
      instance.onLost = () => reclaim(m, worker, instance.context, instance.host, this.current);
    });
    this.hasTimers = this.instances.some((instance, i) => this.holding[i] && instance.hasWake);
    this.entryCounters = plan.paths.map((_, p) => (isFedByPaths(plan, p) ? 0 : worker.paths[p].counters));
    this.paths = plan.paths.flatMap((path, p) => {
      const counters = this.entryCounters[p] === 0 ? worker.paths[p].counters : 0;
      const mine = { ...worker.paths[p], counters };
      const steps = path.steps.map((step, s): Step => {
        const table = mine.tables[s];
        step.outputs.forEach((target, output) => {
          m.u32[(table >>> 2) + output] = outputBatch(worker, output, target);
        });
        return {
          instance: this.instances[step.filter],
          context: worker.instances[step.filter].context,
          table,
          holds: this.holding[step.filter],
          number: stepNumber(plan, p, s),
          emitted: worker.instances[step.filter].hold?.emitted ?? 0,
        };
      });
      return this.parts(mine, steps, targetOf(path.to, worker));
    });
  }

  /** The batch of a path, where a device that feeds it puts its packets. */
  batchOf(path: number): number {
    return this.worker.paths[path].batch;
  }

  /** Counters of a path for dissect to count into, 0: the path counts, as other paths lead to it, too. */
  entryCountersOf(path: number): number {
    return this.entryCounters[path];
  }

  /** Cuts a path behind each filter that holds packets, so that what it emits goes on there. */
  private parts(mine: WorkerPlan["paths"][number], steps: Step[], target: number): Path[] {
    const { m } = this;
    const parts: Path[] = [{ ...mine, steps: [], target, behind: undefined }];
    steps.forEach((step, s) => {
      const part = parts[parts.length - 1];
      part.steps.push(step);
      if (!step.holds) return;
      part.target = mine.resume[s];
      m.u32[step.table >>> 2] = mine.resume[s];
      part.behind = { ...mine, batch: mine.resume[s], counters: 0, steps: [], target, behind: undefined };
      parts.push(part.behind);
    });
    return parts;
  }

  /** How many packets filters hold. */
  get held(): number {
    return this.worker.instances.reduce(
      (sum, { context }, i) => sum + (this.holding[i] ? heldBy(this.m, context) : 0),
      0,
    );
  }

  /** When the next filter wants to be woken, CLOCK_MONOTONIC ns; Infinity: none does. */
  get due(): number {
    let due = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.instances.length; i++) {
      if (this.holding[i]) due = Math.min(due, dueOf(this.m, this.instances[i].context));
    }
    return due;
  }

  /** Wakes every filter whose time has come. What they emit waits for run(). */
  wake(now: number): void {
    for (let i = 0; i < this.instances.length; i++) {
      const instance = this.instances[i];
      if (!this.holding[i] || dueOf(this.m, instance.context) > now) continue;
      const at = (instance.context + CONTEXT.DUE) >>> 2;
      this.m.u32[at] = 0;
      this.m.u32[at + 1] = 0;
      instance.wake(now);
      this.core.emit(instance.context);
    }
  }

  /** Tells every filter the time. Once a round, before run(). @param now CLOCK_MONOTONIC ns @param wallClock ns */
  setTime(now: number, wallClock: number): void {
    const { u32 } = this.m;
    const nowHigh = Math.floor(now / 4294967296);
    const nowLow = now - nowHigh * 4294967296;
    const wallHigh = Math.floor(wallClock / 4294967296);
    const wallLow = wallClock - wallHigh * 4294967296;
    for (let i = 0; i < this.instances.length; i++) {
      const at = this.instances[i].context >>> 2;
      u32[at + (CONTEXT.NOW >>> 2)] = nowLow;
      u32[at + (CONTEXT.NOW >>> 2) + 1] = nowHigh;
      u32[at + (CONTEXT.WALL_CLOCK >>> 2)] = wallLow;
      u32[at + (CONTEXT.WALL_CLOCK >>> 2) + 1] = wallHigh;
    }
  }

  /** Runs every path that has packets, in the plan's order: a path comes after all that lead to it. */
  run(now: number): void {
    const timed = ++this.round % SAMPLE_EVERY === 0;
    for (let i = 0; i < this.paths.length; i++) {
      const path = this.paths[i];
      if (batchCount(this.m, path.batch) > 0) this.runPath(path, path.batch, now, timed);
    }
    // A filter of several paths may have emitted into one that has had its turn.
    if (this.holds && this.paths.some((path) => batchCount(this.m, path.batch) > 0)) this.run(now);
  }

  /** The filters whose parameters a reload has changed go over to them. @param changes CHANGE, of each filter on this worker */
  reload(changes: number, now: number): void {
    for (let i = 0; i < this.instances.length; i++) {
      const change = changes + i * CHANGE.SIZE;
      if (this.m.u32[(change + CHANGE.PARAMS) >>> 2] === 0) continue;
      this.instances[i].reload(change, now);
      if (this.holding[i]) this.core.emit(this.instances[i].context);
    }
  }

  /** Calls tick on every filter that has one. */
  tick(now: number): void {
    for (let i = 0; i < this.instances.length; i++) {
      this.instances[i].tick(now);
      if (this.holding[i]) this.core.emit(this.instances[i].context);
    }
  }

  /** What filters did that the user should hear of, said once. */
  get warnings(): string[] {
    return this.instances.flatMap((instance) => instance.warnings);
  }

  /** @param batch that of the path, or of the part before it */
  private runPath(path: Path, batch: number, now: number, timed: boolean): void {
    const m = this.m;
    if (path.counters !== 0) this.core.measure(batch, path.counters);
    for (let s = 0; s < path.steps.length; s++) {
      const count = batchCount(m, batch);
      if (count === 0) return;
      const step = path.steps[s];
      m.u32[(step.context + CONTEXT.OUTPUT_BATCHES) >>> 2] = step.table;
      if (step.holds) m.u32[(step.context + CONTEXT.STEP) >>> 2] = step.number;
      const start = timed ? performance.now() : 0;
      this.current = batch;
      const isRunning = step.instance.process(batch, now);
      this.current = 0;
      if (!isRunning) {
        this.discard(batch, step.instance, count);
        continue;
      }
      if (timed) {
        const host = step.instance.host;
        counterAdd(m, host + HOST_COUNTER.SAMPLED_NS, Math.round((performance.now() - start) * 1e6));
        counterAdd(m, host + HOST_COUNTER.SAMPLED_PACKETS, count);
      }
      this.core.partition(batch, step.context);
      if (step.holds && batchCount(m, step.emitted) > 0) this.core.emit(step.context);
    }
    const left = batchCount(m, batch);
    if (left === 0) return;
    const { behind } = path;
    // Where nothing was emitted there is nothing to wait for, and the packets need not move.
    if (behind !== undefined && batchCount(m, behind.batch) === 0) {
      this.runPath(behind, batch, now, timed);
      return;
    }
    if (path.target === 0) {
      counterAdd(m, path.dropCounters, left);
      batchMove(m, batch, this.free);
    } else {
      batchMove(m, batch, path.target);
    }
  }

  /** What a filter that trapped had in hand: dropped and counted, or let by, as its `on-trap` says. */
  private discard(batch: number, instance: Instance, count: number): void {
    if (instance.onTrap === "pass") {
      counterAdd(this.m, instance.outputCounters, count);
      return;
    }
    counterAdd(this.m, instance.host + HOST_COUNTER.TRAPPED, count);
    batchMove(this.m, batch, this.free);
  }
}

/** Does another path, or an output of some filter, lead to this one? */
function isFedByPaths({ paths }: Plan, path: number): boolean {
  return paths.some(
    ({ to, steps }) =>
      (to.kind === "path" && to.path === path) || steps.some(({ outputs }) => outputs.includes(path)),
  );
}

function targetOf(to: Plan["paths"][number]["to"], worker: WorkerPlan): number {
  if (to.kind === "drop") return 0;
  if (to.kind === "path") return worker.paths[to.path].batch;
  return worker.ports.find((port) => port.device === to.device && port.transmits)!.exitBatch;
}
