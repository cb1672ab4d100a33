/**
 * One filter on one worker: its Wasm instance, and what happens when it traps. The packet at fault is lost, or let by, as
 * `on-trap` says; the others of its batch go on with an instance made anew, its private state cleared. A filter that
 * traps all the time is paused, longer each time.
 *
 * Which packet is at fault: a module made of packet() says in its global `progress` where in the vector it is. One of batch()
 * says in `touched` how far it has looked: up to there, those that have no output yet are lost. One of another compiler may say
 * neither: then the whole batch is lost, and for a while it gets its packets one by one.
 *
 * A call that does not end is the main thread's affair (watchdog.ts): WORKER_CONTROL.FILTER tells it where the worker is.
 */

import { CHANGE } from "../batches/change.ts";
import { WORKER_CONTROL } from "../batches/control.ts";
import { HOST_COUNTER } from "../batches/counters.ts";
import {
  BATCH,
  BATCH_PACKETS,
  CONTEXT,
  DESCRIPTOR,
  ISOLATED_SCRATCH,
  MALFORMED,
  OUTPUT_NEXT,
  OUTPUT_NONE,
  PACKET_FLAG,
} from "../batches/layout.ts";
import { batchAt, batchCount, batchPush, counterAdd, type PacketMemory, u64Read } from "../batches/memory.ts";
import { writeReason } from "../batches/trap-reason.ts";
import type { OnTrap } from "../config/types.ts";
import { type FilterInstance, type InstanceShape, makeInstance } from "../filters/load.ts";
import type { FilterPlan, InstancePlan, WorkerPlan } from "../plan/types.ts";
import type { Core } from "./core.ts";
import { goOver } from "./go-over.ts";
import { releaseLocks } from "./locks.ts";

/** ns */
const FIRST_PAUSE = 1e6;
const LONGEST_PAUSE = 1e9;
/** Traps that a filter has to spare before it is paused, and the packets without a trap, or the ns, that earn one. */
const MOST_CREDIT = 8;
const CREDIT_PACKETS = 64;
const CREDIT_TIME = 10e6;
/** So long after a trap, ns, a module that does not say which packet is at fault gets them one by one. */
const CAREFUL_TIME = 10e9;

/** A trap in a filter's init at the start, or of a filter with `on-trap: stop`: ends the run. */
export class FilterTrap extends Error {
  /** Where the filter's HOST_COUNTER lie on this worker. */
  readonly host: number;

  constructor(message: string, host: number) {
    super(message);
    this.host = host;
  }
}

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
  private readonly core: Core;
  private shape: InstanceShape;
  /** Of an isolated filter's batch, while it is dissected again. */
  private readonly outputs: Uint8Array;
  private readonly free: number;
  /** Index of WORKER_CONTROL.FILTER, and what stands there while this filter runs. */
  private readonly place: number;
  private readonly number: number;
  /** undefined: it is paused, and made anew when that is over. */
  private wasm: FilterInstance | undefined;
  private readonly ticks: boolean;
  private readonly wakes: boolean;
  /** Called when it has trapped, and what it knew of packets is lost. */
  onLost: (() => void) | undefined;
  private pausedUntil = 0;
  private pause = FIRST_PAUSE;
  private credit = MOST_CREDIT;
  private packetsSinceTrap = 0;
  private trappedAt = 0;
  private carefulUntil = 0;

  constructor(
    m: PacketMemory,
    filter: FilterPlan,
    worker: WorkerPlan,
    index: number,
    module: WebAssembly.Module,
    core: Core,
    devices: number,
  ) {
    this.m = m;
    this.core = core;
    this.filter = filter;
    this.plan = worker.instances[index];
    this.context = this.plan.context;
    this.outputCounters = this.plan.outputCounters;
    this.host = this.plan.host;
    this.onTrap = filter.onTrap;
    this.module = module;
    this.outputs = new Uint8Array(this.plan.scratch === 0 ? 0 : worker.slots.count);
    this.shape = {
      slotBytes: worker.slots.bytes,
      paramsBytes: filter.params.bytes,
      references: filter.isolated ?? [],
      workerStateBytes: this.plan.workerState.bytes,
      counters: filter.counters.length,
      devices,
      scratch: this.plan.scratch + ISOLATED_SCRATCH.COPY,
    };
    this.free = worker.free;
    this.place = (worker.control + WORKER_CONTROL.FILTER) >>> 2;
    this.number = index + 1;
    const exported = WebAssembly.Module.exports(module).map(({ name }) => name);
    this.ticks = exported.includes("tick");
    this.wakes = exported.includes("wake");
    // A worker before this one was ended in a call of this filter that did not.
    this.pausedUntil = u64Read(m, this.host + HOST_COUNTER.PAUSED_UNTIL);
    if (this.pausedUntil !== 0) return;
    try {
      this.wasm = this.make();
    } catch (error) {
      throw new FilterTrap(`filter "${filter.id}": init trapped: ${(error as Error).message}`, this.host);
    }
  }

  get hasWake(): boolean {
    return this.wakes;
  }

  get hasTick(): boolean {
    return this.ticks;
  }

  /**
   * One call into Wasm for a batch of up to BATCH_PACKETS, unless it traps. Packets that are lost to a trap are taken out
   * of the batch.
   * @returns false: it is paused, and the packets' outputs say nothing
   * @throws FilterTrap when it traps and `on-trap` is `stop`
   */
  process(batch: number, now: number): boolean {
    if (this.wasm === undefined && !this.resume(now)) return false;
    const layer = this.plan.scratch === 0 ? 3 : this.layerOf(batch);
    for (let at = 0; at < batchCount(this.m, batch); ) {
      const left = batchCount(this.m, batch) - at;
      if (this.wasm === undefined) {
        this.lose(batch, at, at + left);
        break;
      }
      // A filter before this one may have let go of more than one call may have.
      const most = this.carefulUntil > now ? 1 : BATCH_PACKETS;
      at = this.part(batch, at, Math.min(left, most), now);
    }
    if (this.plan.scratch !== 0) this.dissectAgain(batch, layer);
    return true;
  }

  /** Of the packets of a batch, which may be another than that of the device they came from: Packet.isFrame. */
  private layerOf(batch: number): 2 | 3 {
    if (batchCount(this.m, batch) === 0) return 3;
    const { u16, u32 } = this.m;
    const first = batchAt(this.m, batch, 0);
    const isFrame =
      u16[(first + DESCRIPTOR.L3) >>> 1] !== 0 ||
      (u32[(first + DESCRIPTOR.FLAGS) >>> 2] & PACKET_FLAG.NOT_IP) !== 0 ||
      u16[(first + DESCRIPTOR.ERROR) >>> 1] === MALFORMED.indexOf("truncated-ethernet");
    return isFrame ? 2 : 3;
  }

  /** Packets come back from an isolated filter with other bytes: what later filters may trust in is proved anew. */
  private dissectAgain(batch: number, layer: 2 | 3): void {
    if (batchCount(this.m, batch) === 0) return;
    const { scratch } = this.plan;
    const count = batchCount(this.m, batch);
    // dissect begins with a fresh packet, which has no output.
    for (let i = 0; i < count; i++) {
      this.outputs[i] = this.m.u8[batchAt(this.m, batch, i) + DESCRIPTOR.OUTPUT];
    }
    this.core.dissect(batch, layer, scratch + ISOLATED_SCRATCH.RX, scratch + ISOLATED_SCRATCH.MALFORMED);
    for (let i = 0; i < count; i++) {
      this.m.u8[batchAt(this.m, batch, i) + DESCRIPTOR.OUTPUT] = this.outputs[i];
    }
  }

  /**
   * Other parameters: what `change` (a CHANGE) says of this filter holds from the next call on. A filter that does not export reload() is
   * made anew: what it knew, and packets that it held, it loses.
   */
  reload(change: number, now: number): void {
    const { m, context } = this;
    const said = (offset: number) => m.u32[(change + offset) >>> 2];
    goOver(m, context, change);
    const references = said(CHANGE.REFERENCES) >>> 2;
    this.shape = {
      ...this.shape,
      paramsBytes: said(CHANGE.PARAMS_BYTES),
      counters: said(CHANGE.COUNTER_COUNT),
      references: Array.from(m.u32.subarray(references, references + said(CHANGE.REFERENCE_COUNT))),
    };
    // One that is paused begins with them.
    if (this.wasm === undefined) return;
    if (this.wasm.reload === undefined) {
      this.wasm = undefined;
      this.onLost?.();
      this.renew(now);
      return;
    }
    this.callOnce("reload", now);
  }

  tick(now: number): void {
    this.callOnce("tick", now);
  }

  wake(now: number): void {
    this.callOnce("wake", now);
  }

  /** A call that is for no packet, if the filter is there and has it. */
  private callOnce(name: "tick" | "wake" | "reload", now: number): void {
    if (this.wasm?.[name] === undefined) return;
    this.m.i32[this.place] = this.number;
    try {
      this.wasm[name](this.context);
    } catch (error) {
      this.trapped(error, now);
    } finally {
      this.m.i32[this.place] = 0;
    }
  }

  /** @returns what it trapped with */
  private call(batch: number, first: number, count: number): unknown {
    const { i32 } = this.m;
    i32[this.place] = this.number;
    try {
      this.wasm!.process(batch + BATCH.ENTRIES + 4 * first, count);
      return undefined;
    } catch (error) {
      return error ?? new Error("no reason was given");
    } finally {
      i32[this.place] = 0;
    }
  }

  /**
   * One call for `count` packets of a batch, from `first` on. If it traps, the one at fault is lost; all of them, if the
   * module does not say which.
   * @returns index of the packet at which to go on
   */
  private part(batch: number, first: number, count: number, now: number): number {
    const error = this.call(batch, first, count);
    if (error === undefined) {
      this.packetsSinceTrap += count;
      return first + count;
    }
    const at = this.indexOfFault(batch, first, first + count);
    const saysOutputs = this.wasm?.touched !== undefined;
    if (at < 0 || this.carefulUntil > now) this.carefulUntil = now + CAREFUL_TIME;
    this.packetsSinceTrap += at < 0 ? 0 : at - first;
    this.trapped(error, now);
    if (at < 0) return this.lose(batch, first, first + count);
    return saysOutputs ? this.loseUndecided(batch, first, at) : this.lose(batch, at, at + 1);
  }

  /** Of the packets `first` to `last`, those that have no output are lost. @returns index of the packet that came after them */
  private loseUndecided(batch: number, first: number, last: number): number {
    let next = last + 1;
    for (let i = last; i >= first; i--) {
      if (this.m.u8[batchAt(this.m, batch, i) + DESCRIPTOR.OUTPUT] !== OUTPUT_NONE) continue;
      if (this.lose(batch, i, i + 1) === i) next--;
    }
    return next;
  }

  /** @returns which of the packets `first` to `count` it trapped at, or -1: its module does not say */
  private indexOfFault(batch: number, first: number, count: number): number {
    if (count - first === 1) return first;
    const progress: unknown = (this.wasm?.touched ?? this.wasm?.progress)?.value;
    if (typeof progress !== "number") return -1;
    const at = ((progress >>> 0) - batch - BATCH.ENTRIES) / 4;
    // A module may say anything.
    return Number.isInteger(at) && at >= first && at < count ? at : -1;
  }

  /**
   * What becomes of the packets `first` to `end` of a batch: dropped, counted and out of it; or by the output `next`.
   * @returns index of the packet that came after them
   */
  private lose(batch: number, first: number, end: number): number {
    const { m } = this;
    if (this.onTrap === "pass") {
      for (let i = first; i < end; i++) m.u8[batchAt(m, batch, i) + DESCRIPTOR.OUTPUT] = OUTPUT_NEXT;
      return end;
    }
    for (let i = first; i < end; i++) batchPush(m, this.free, batchAt(m, batch, i));
    const entries = (batch + BATCH.ENTRIES) >>> 2;
    const count = batchCount(m, batch);
    m.u32.copyWithin(entries + first, entries + end, entries + count);
    m.u32[(batch + BATCH.COUNT) >>> 2] = count - (end - first);
    counterAdd(m, this.host + HOST_COUNTER.TRAPPED, end - first);
    return first;
  }

  private make(): FilterInstance {
    this.m.i32[this.place] = this.number;
    try {
      const instance = makeInstance(this.module, this.m, this.shape);
      instance.init(this.context);
      return instance;
    } finally {
      this.m.i32[this.place] = 0;
    }
  }

  /** @returns whether it is there again */
  private resume(now: number): boolean {
    if (now < this.pausedUntil) return false;
    this.pausedUntil = 0;
    this.renew(now);
    return this.wasm !== undefined;
  }

  private renew(now: number): void {
    const { address, bytes } = this.plan.workerState;
    this.m.u8.fill(0, address, address + bytes);
    try {
      this.wasm = this.make();
    } catch (error) {
      this.trapped(error, now);
    }
  }

  /** Counts it, and makes the instance anew at once, or later if it traps too often. */
  private trapped(error: unknown, now: number): void {
    const reason = error instanceof Error ? error.message : String(error);
    counterAdd(this.m, this.host + HOST_COUNTER.TRAPS, 1);
    writeReason(this.m, this.host, error);
    if (this.onTrap === "stop") {
      throw new FilterTrap(`filter "${this.filter.id}" trapped: ${reason}`, this.host);
    }
    if (this.warnings.length === 0) {
      this.warnings.push(
        `filter "${this.filter.id}" trapped: ${reason}; the packet at fault is ` +
          (this.onTrap === "pass" ? "let by unfiltered" : "dropped"),
      );
    }
    this.wasm = undefined;
    releaseLocks(this.m, this.context);
    this.onLost?.();
    const earned =
      Math.floor(this.packetsSinceTrap / CREDIT_PACKETS) + Math.floor((now - this.trappedAt) / CREDIT_TIME);
    this.packetsSinceTrap = 0;
    this.trappedAt = now;
    this.credit = Math.min(MOST_CREDIT, this.credit + earned);
    if (this.credit === MOST_CREDIT) this.pause = FIRST_PAUSE;
    if (this.credit > 0) {
      this.credit--;
      this.renew(now);
      return;
    }
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
  word(CONTEXT.PREPARED_STATE, filter.preparedState.address);
  word(CONTEXT.COUNTERS, plan.counters);
  word(CONTEXT.WORKER_STATE, plan.workerState.address);
  word(CONTEXT.WORKER_STATE_BYTES, plan.workerState.bytes);
  word(CONTEXT.SHARED_STATE, filter.sharedState.address);
  word(CONTEXT.SHARED_STATE_BYTES, filter.sharedState.bytes);
  word(CONTEXT.OUTPUTS, filter.outputs.length);
  word(CONTEXT.OUTPUT_COUNTERS, plan.outputCounters);
  word(CONTEXT.FREE, worker.free);
  word(CONTEXT.DEVICES, deviceInfo);
  word(CONTEXT.LOG, plan.log);
}
