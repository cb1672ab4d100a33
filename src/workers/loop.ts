/**
 * A worker's life: inhale (a burst from each queue), dissect, filter, exhale, and sleep when there is nothing to do.
 * Thread: the worker's; synchronous until the run ends. In: an engine, ports and a chain. It owns every batch between
 * receive and transmit.
 */

import { CHANGE } from "../batches/change.ts";
import { COMMAND, PIPELINE_CONTROL, WORKER_CONTROL } from "../batches/control.ts";
import { DROP_REASONS } from "../batches/counters.ts";
import { BATCH_PACKETS, DESCRIPTOR, DEVICE_INFO } from "../batches/layout.ts";
import { batchAt, batchCount, batchMove, counterAdd, type PacketMemory } from "../batches/memory.ts";
import type { Engine } from "../io/types.ts";
import { PAGE } from "../plan/memory.ts";
import type { Plan, WorkerPlan } from "../plan/types.ts";
import { Alarm } from "./alarm.ts";
import type { Chain } from "./chain.ts";
import type { Core } from "./core.ts";
import { FilterTrap } from "./instance.ts";
import type { WorkerPort } from "./ports.ts";

/** How often filters with a tick get one: while packets flow, and while the worker sleeps. ns */
const TICK_BUSY = 100e6;
const TICK_IDLE = 1e9;

/** How often a worker looks for the memory that another thread has grown, ms apart. */
const MOST_LOOKS = 5000;

/** A worker that drains looks at its command this often, ms: nobody wakes it. */
const LONGEST_DRAIN_SLEEP = 50;

/** A filter that is woken again and again and lets nothing go for so long, ns, keeps what it holds. */
const LONGEST_DRAIN = 5e9;
/** When a sink that could not get rid of all it has tries again, ns. */
const FLUSH_AGAIN = 20e6;

const NO_SLOT = 8 * DROP_REASONS.indexOf("no-slot");
const IO_ERROR = 8 * DROP_REASONS.indexOf("io-error");

export interface LoopClock {
  /** CLOCK_MONOTONIC, ns. */
  monotonic(): number;
  /** Nanoseconds since the epoch minus CLOCK_MONOTONIC. */
  epochOffset: number;
}

export class Loop {
  private readonly m: PacketMemory;
  private readonly plan: Plan;
  private readonly worker: WorkerPlan;
  private readonly engine: Engine;
  private readonly ports: WorkerPort[];
  private readonly chain: Chain;
  private readonly core: Core;
  private readonly clock: LoopClock;
  /** Signals every worker: the last finite source of the pipeline has ended. */
  private readonly wakeAll: () => void;
  private nextTick = 0;
  /** Of what its filters have gone over to. */
  private generation: number;
  private readonly alarm = new Alarm();
  /** When it fell asleep, if it has just woken; 0: it has not. */
  private asleepSince = 0;

  constructor(
    m: PacketMemory,
    plan: Plan,
    worker: WorkerPlan,
    parts: {
      engine: Engine;
      ports: WorkerPort[];
      chain: Chain;
      core: Core;
      clock: LoopClock;
      wakeAll: () => void;
    },
  ) {
    this.m = m;
    this.plan = plan;
    this.worker = worker;
    this.engine = parts.engine;
    this.ports = parts.ports;
    this.chain = parts.chain;
    this.core = parts.core;
    this.clock = parts.clock;
    this.wakeAll = parts.wakeAll;
    this.generation = plan.generation;
  }

  /** Runs until the pipeline's command says otherwise. @throws what a device or a filter with `on-trap: stop` throws */
  run(): void {
    try {
      this.untilCommand();
    } catch (error) {
      this.abandon(error instanceof FilterTrap);
      throw error;
    }
  }

  private untilCommand(): void {
    const command = (this.plan.control + PIPELINE_CONTROL.COMMAND) >>> 2;
    const generation = (this.plan.control + PIPELINE_CONTROL.GENERATION) >>> 2;
    const heartbeat = (this.worker.control + WORKER_CONTROL.HEARTBEAT) >>> 2;
    const i32 = this.m.i32;
    let due = 0;
    while (Atomics.load(i32, command) === COMMAND.RUN) {
      i32[heartbeat] = (i32[heartbeat] + 1) | 0;
      const now = this.clock.monotonic();
      if (Atomics.load(i32, generation) !== this.generation) this.reload(Atomics.load(i32, generation), now);
      // Before the engine's turn: who has just been woken may have a packet in hand.
      due = this.inhale(now, this.cameAt(now));
      if (this.chain.hasTimers && this.wake()) due = 0;
      if (due !== 0) this.rest(due, now);
      else if (this.chain.hasTick && now >= this.nextTick) this.tick(now, TICK_BUSY);
      this.engine.turn();
    }
    this.drain();
    if (this.chain.holds) this.waitForHeld(command);
  }

  /**
   * One round: a burst from every queue of this worker through its path and out.
   * @param came since when what is read has been there
   * @returns ns until there may be more: 0 when packets came in, Infinity when only the kernel knows
   */
  private inhale(now: number, came: number): number {
    let due = Number.POSITIVE_INFINITY;
    let timeSet = false;
    for (let i = 0; i < this.ports.length; i++) {
      const port = this.ports[i];
      if (port.path < 0 || port.ended) continue;
      const next = this.receive(port, now, came);
      if (next < due) due = next;
      const received = batchCount(this.m, port.plan.rxBatch);
      if (received === 0) continue;
      due = 0;
      if (!timeSet) {
        this.chain.setTime(now, now + this.clock.epochOffset);
        timeSet = true;
      }
      this.through(port, received, now);
    }
    return due;
  }

  /** What had been read when the command came still goes through. */
  private drain(): void {
    this.engine.settle();
    const now = this.clock.monotonic();
    for (let i = 0; i < this.ports.length; i++) {
      const port = this.ports[i];
      const received = batchCount(this.m, port.plan.rxBatch);
      if (received === 0) continue;
      this.stamp(port.plan.rxBatch, now);
      this.chain.setTime(now, now + this.clock.epochOffset);
      this.through(port, received, now);
    }
    this.engine.settle();
    this.exhale();
    this.engine.settle();
  }

  /**
   * A device is gone, or a filter ends the run. What is in hand still leaves by the devices that there are, and what does
   * not is counted as not taken by its device.
   * @param byFilter nothing goes through filters any more: what is on its way to them is for the worker to count
   */
  private abandon(byFilter: boolean): void {
    // A device that is gone says so with each batch for it, which is counted and empty then. The run ends with what it
    // has failed with first.
    for (let left = 2 * this.ports.length; left >= 0; left--) {
      try {
        if (byFilter) this.exhale();
        else this.drain();
        break;
      } catch {
        // Counted, and known.
      }
    }
    const { free } = this.worker;
    for (const { plan } of this.ports) {
      for (const batch of new Set([plan.exitBatch, plan.txBatch])) {
        counterAdd(this.m, plan.counters.drops + IO_ERROR, batchCount(this.m, batch));
        batchMove(this.m, batch, free);
      }
    }
  }

  private receive(port: WorkerPort, now: number, came: number): number {
    if (port.source === undefined) {
      this.engine.receive(port.engineIndex);
      this.stamp(port.plan.rxBatch, came);
      return Number.POSITIVE_INFINITY;
    }
    const next = port.source.receive(port.plan.rxBatch, BATCH_PACKETS, now);
    if (next === Number.POSITIVE_INFINITY) this.sourceEnded(port);
    return next;
  }

  /**
   * Since when a packet has been there, of those that are read now: who has slept wakes late, for a packet as for a time, and
   * how late is known where filters have asked for times.
   */
  private cameAt(now: number): number {
    const since = this.asleepSince;
    if (since === 0) return now;
    this.asleepSince = 0;
    return Math.max(since, now - this.alarm.usual);
  }

  /** When packets of a kernel queue came in; sources that are none say it themselves. */
  private stamp(batch: number, now: number): void {
    const { u32 } = this.m;
    const high = Math.floor(now / 4294967296);
    const low = now - high * 4294967296;
    const count = batchCount(this.m, batch);
    for (let i = 0; i < count; i++) {
      const at = (batchAt(this.m, batch, i) + DESCRIPTOR.TIMESTAMP) >>> 2;
      u32[at] = low;
      u32[at + 1] = high;
    }
  }

  private through(port: WorkerPort, received: number, now: number): void {
    const m = this.m;
    const { rxBatch, counters } = port.plan;
    if (port.hasVnetHeader) this.core.takeHeaders(rxBatch);
    const { rxPackets, malformed } = counters;
    this.core.dissect(rxBatch, port.layer, rxPackets, malformed, this.chain.entryCountersOf(port.path));
    counterAdd(m, this.worker.batches, 1);
    counterAdd(m, this.worker.batches + 8, received);
    batchMove(m, rxBatch, this.chain.batchOf(port.path));
    this.chain.run(now);
    this.exhale();
  }

  private exhale(): void {
    for (let i = 0; i < this.ports.length; i++) {
      const port = this.ports[i];
      if (batchCount(this.m, port.plan.exitBatch) === 0) continue;
      if (port.plan.exitBatch !== port.plan.txBatch) this.finish(port);
      else this.transmit(port);
    }
  }

  private transmit(port: WorkerPort): void {
    if (port.sink !== undefined) port.sink.transmit(port.plan.txBatch);
    else this.engine.transmit(port.engineIndex);
  }

  /** Where there are offloads: a packet may leave as many, for which there may be too few slots at a time. */
  private finish(port: WorkerPort): void {
    const { m } = this;
    const { device, exitBatch, txBatch, counters } = port.plan;
    const { free, flows } = this.worker;
    const info = this.plan.deviceInfo + device * DEVICE_INFO.SIZE;
    // Again, too, for what the kernel has just refused as it was.
    while (batchCount(m, exitBatch) > 0) {
      const left = this.core.finish(exitBatch, txBatch, info, free, flows, counters.offload);
      if (batchCount(m, txBatch) > 0) this.transmit(port);
      if (left === 0) continue;
      this.engine.settle();
      if (batchCount(m, free) > 0) continue;
      // Filters hold every slot that there is.
      counterAdd(m, counters.drops + NO_SLOT, batchCount(m, exitBatch));
      batchMove(m, exitBatch, free);
    }
  }

  /** Nothing came in: makes files durable, gives filters their tick, and sleeps until something is due. */
  private rest(due: number, now: number): void {
    // What the kernel has refused since it was transmitted.
    this.exhale();
    let timeout = due;
    for (let i = 0; i < this.ports.length; i++) {
      const { sink } = this.ports[i];
      if (sink === undefined) continue;
      sink.flush();
      if (sink.pending === true) timeout = Math.min(timeout, FLUSH_AGAIN);
    }
    if (this.chain.hasTick) {
      if (now >= this.nextTick) this.tick(now, TICK_IDLE);
      timeout = Math.min(timeout, this.nextTick - now);
    }
    let wakeAt = Number.POSITIVE_INFINITY;
    if (this.chain.hasTimers) {
      const time = this.clock.monotonic();
      wakeAt = this.chain.due - this.alarm.early;
      if (wakeAt <= time) return;
      timeout = Math.min(timeout, wakeAt - time);
    }
    const asleep = (this.worker.control + WORKER_CONTROL.ASLEEP) >>> 2;
    if (this.chain.hasTimers) this.asleepSince = this.clock.monotonic();
    Atomics.store(this.m.i32, asleep, 1);
    this.engine.wait(timeout);
    Atomics.store(this.m.i32, asleep, 0);
    if (wakeAt !== Number.POSITIVE_INFINITY) this.alarm.woke(wakeAt, this.clock.monotonic());
  }

  /** The pipeline has been reloaded: between two rounds, all that this worker has in hand is what filters hold. */
  private reload(generation: number, now: number): void {
    const { m, plan } = this;
    this.seeAll();
    const mine = plan.workers.indexOf(this.worker) * plan.filters.length * CHANGE.SIZE;
    this.chain.setTime(now, now + this.clock.epochOffset);
    this.chain.reload(m.u32[(plan.control + PIPELINE_CONTROL.CHANGES) >>> 2] + mine, now);
    this.generation = generation;
    Atomics.store(m.i32, (this.worker.control + WORKER_CONTROL.GENERATION) >>> 2, generation);
    if (!this.chain.holds) return;
    this.chain.run(now);
    this.exhale();
  }

  /** What a reload changes may lie in memory that has been grown on another thread, which this one is told of at its next loop or call. */
  private seeAll(): void {
    const { m, plan } = this;
    const bytes = Atomics.load(m.u32, (plan.control + PIPELINE_CONTROL.PAGES) >>> 2) * PAGE;
    for (let tries = 0; m.u8.length < bytes; tries++) {
      if (tries > 0) Atomics.wait(m.i32, (plan.control + PIPELINE_CONTROL.PAGES) >>> 2, bytes / PAGE, 1);
      if (tries > MOST_LOOKS)
        throw new Error(`the memory has not grown here to the ${bytes} bytes of a reload`);
      m.renew();
    }
  }

  private tick(now: number, period: number): void {
    this.chain.setTime(now, now + this.clock.epochOffset);
    this.chain.tick(now);
    this.nextTick = now + period;
    if (!this.chain.holds) return;
    this.chain.run(now);
    this.exhale();
  }

  /** Wakes the filters whose time has come. @returns whether it was any's */
  private wake(): boolean {
    const now = this.clock.monotonic();
    if (this.chain.due > now) return false;
    this.chain.setTime(now, now + this.clock.epochOffset);
    this.chain.wake(now);
    this.chain.run(now);
    this.exhale();
    return true;
  }

  /**
   * All sources have ended: what filters hold for a time leaves when it has come, unless the pipeline is told to stop, or they
   * do not let go of anything though they are woken. What they keep then, the report counts as held.
   */
  private waitForHeld(command: number): void {
    const { i32 } = this.m;
    const asleep = (this.worker.control + WORKER_CONTROL.ASLEEP) >>> 2;
    let { held } = this.chain;
    let since = this.clock.monotonic();
    while (Atomics.load(i32, command) === COMMAND.DRAIN && this.chain.held > 0) {
      const left = (this.chain.due - this.clock.monotonic()) / 1e6;
      if (left === Number.POSITIVE_INFINITY) return;
      Atomics.store(i32, asleep, 1);
      if (left > 0) Atomics.wait(i32, command, COMMAND.DRAIN, Math.min(left, LONGEST_DRAIN_SLEEP));
      Atomics.store(i32, asleep, 0);
      if (!this.wake()) continue;
      this.engine.settle();
      this.exhale();
      this.engine.settle();
      const now = this.clock.monotonic();
      if (this.chain.held !== held) since = now;
      else if (now - since > LONGEST_DRAIN) return;
      held = this.chain.held;
    }
  }

  /** The run ends when every finite source of every worker has ended: the last one to end tells all. */
  private sourceEnded(port: WorkerPort): void {
    port.ended = true;
    if (!this.plan.devices[port.plan.device].finite) return;
    this.m.i32[(this.worker.control + WORKER_CONTROL.ENDED_SOURCES) >>> 2]++;
    const left = (this.plan.control + PIPELINE_CONTROL.FINITE_SOURCES) >>> 2;
    if (Atomics.sub(this.m.i32, left, 1) !== 1) return;
    const command = (this.plan.control + PIPELINE_CONTROL.COMMAND) >>> 2;
    // Unless the pipeline is told to stop already.
    Atomics.compareExchange(this.m.i32, command, COMMAND.RUN, COMMAND.DRAIN);
    this.wakeAll();
  }
}
