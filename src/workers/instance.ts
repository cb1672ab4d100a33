/**
 * One filter on one worker: its Wasm instance, and what happens when it traps. A trap loses the batch at hand, counted;
 * the instance is made anew with its private state cleared, after a pause that doubles with every trap in a row.
 */
import { HOST_COUNTER } from "../batches/counters.ts";
import { CONTEXT } from "../batches/layout.ts";
import { counterAdd, type PacketMemory } from "../batches/memory.ts";
import type { OnTrap } from "../config/types.ts";
import { type FilterInstance, instantiate } from "../filters/load.ts";
import type { FilterPlan, InstancePlan, WorkerPlan } from "../plan/types.ts";

const FIRST_PAUSE = 1e6;
const LONGEST_PAUSE = 1e9;
/** A filter that ran this long without a trap is forgiven the earlier ones. */
const FORGIVEN_AFTER = 1e9;

/** A trap in a filter's init at the start, or of a filter with `on-trap: stop`: ends the run. */
export class FilterTrap extends Error {}

export class Instance {
  readonly context: number;
  readonly outputCounters: number;
  readonly host: number;
  readonly onTrap: OnTrap;
  readonly warnings: string[] = [];
  private readonly m: PacketMemory;
  private readonly filter: FilterPlan;
  private readonly plan: InstancePlan;
  private readonly module: WebAssembly.Module;
  private wasm: FilterInstance;
  private pausedUntil = 0;
  private pause = FIRST_PAUSE;
  private trappedAt = 0;

  constructor(
    m: PacketMemory,
    filter: FilterPlan,
    worker: WorkerPlan,
    index: number,
    module: WebAssembly.Module,
  ) {
    this.m = m;
    this.filter = filter;
    this.plan = worker.instances[index];
    this.context = this.plan.context;
    this.outputCounters = this.plan.outputCounters;
    this.host = this.plan.host;
    this.onTrap = filter.onTrap;
    this.module = module;
    try {
      this.wasm = this.make();
    } catch (error) {
      throw new FilterTrap(`filter "${filter.id}": init trapped: ${(error as Error).message}`);
    }
  }

  get hasWake(): boolean {
    return this.wasm.wake !== undefined;
  }

  /** It has trapped, and is to be made anew: it knows nothing of what it did before. */
  get isPaused(): boolean {
    return this.pausedUntil !== 0;
  }

  get hasTick(): boolean {
    return this.wasm.tick !== undefined;
  }

  /**
   * One call into Wasm for a whole batch.
   * @returns false: it trapped, now or so lately that it is paused; the packets' outputs say nothing
   * @throws FilterTrap when it traps and `on-trap` is `stop`
   */
  process(vector: number, count: number, now: number): boolean {
    if (this.pausedUntil !== 0) {
      if (now < this.pausedUntil) return false;
      if (!this.renew(now)) return false;
    }
    try {
      this.wasm.process(vector, count);
      return true;
    } catch (error) {
      this.trapped(error, now);
      return false;
    }
  }

  tick(now: number): void {
    if (this.wasm.tick === undefined || this.pausedUntil !== 0) return;
    try {
      this.wasm.tick(this.context);
    } catch (error) {
      this.trapped(error, now);
    }
  }

  wake(now: number): void {
    if (this.wasm.wake === undefined || this.pausedUntil !== 0) return;
    try {
      this.wasm.wake(this.context);
    } catch (error) {
      this.trapped(error, now);
    }
  }

  private make(): FilterInstance {
    const instance = instantiate(this.module, this.m.memory);
    instance.init(this.context);
    return instance;
  }

  private renew(now: number): boolean {
    this.pausedUntil = 0;
    const { address, bytes } = this.plan.workerState;
    this.m.u8.fill(0, address, address + bytes);
    try {
      this.wasm = this.make();
      return true;
    } catch (error) {
      this.trapped(error, now);
      return false;
    }
  }

  private trapped(error: unknown, now: number): void {
    counterAdd(this.m, this.host + HOST_COUNTER.TRAPS, 1);
    const reason = error instanceof Error ? error.message : String(error);
    if (this.onTrap === "stop") throw new FilterTrap(`filter "${this.filter.id}" trapped: ${reason}`);
    if (this.warnings.length === 0) {
      this.warnings.push(
        `filter "${this.filter.id}" trapped: ${reason}; its packets are ` +
          (this.onTrap === "pass" ? "let by unfiltered" : "dropped") +
          " until it is made anew",
      );
    }
    if (now - this.trappedAt > FORGIVEN_AFTER) this.pause = FIRST_PAUSE;
    this.trappedAt = now;
    this.pausedUntil = now + this.pause;
    this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
  }
}

/** Fills what every context of a worker holds but the times. Main thread, before the workers start. */
export function writeContext(
  m: PacketMemory,
  worker: WorkerPlan,
  workerIndex: number,
  workers: number,
  deviceInfo: number,
  filter: FilterPlan,
  index: number,
): void {
  const plan = worker.instances[index];
  const word = (offset: number, value: number) => {
    m.u32[(plan.context + offset) >>> 2] = value;
  };
  word(CONTEXT.WORKER, workerIndex);
  word(CONTEXT.WORKERS, workers);
  const seed = crypto.getRandomValues(new Uint32Array(2));
  word(CONTEXT.RANDOM, seed[0] | 1);
  word(CONTEXT.RANDOM + 4, seed[1]);
  word(CONTEXT.PARAMS, filter.params.address);
  word(CONTEXT.WORKER_STATE, plan.workerState.address);
  word(CONTEXT.WORKER_STATE_BYTES, plan.workerState.bytes);
  word(CONTEXT.SHARED_STATE, filter.sharedState.address);
  word(CONTEXT.SHARED_STATE_BYTES, filter.sharedState.bytes);
  word(CONTEXT.COUNTERS, plan.counters);
  word(CONTEXT.OUTPUTS, filter.outputs.length);
  word(CONTEXT.OUTPUT_COUNTERS, plan.outputCounters);
  word(CONTEXT.FREE, worker.free);
  word(CONTEXT.DEVICES, deviceInfo);
}
