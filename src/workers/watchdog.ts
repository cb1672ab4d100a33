/**
 * Notices a filter's call that does not end. Thread: the main one. A worker counts its rounds and says which filter it is
 * in; one that stays in the same filter in the same round, and uses the processor all the while, hangs there. Time
 * without a processor (a busy machine, a stopped process) is no hang, so the kernel's account of the thread counts.
 */
import { WORKER_CONTROL } from "../batches/control.ts";
import type { PacketMemory } from "../batches/memory.ts";
import { threadTimes } from "../control/threads.ts";
import type { Plan } from "../plan/types.ts";

/** Processor time that one call may take, ms. */
export const TIME_LIMIT = 250;
/** How often the workers are looked at, ms. */
const LOOK = 100;
/** Where the kernel keeps no account of a thread's time: this much of everybody's, ms. */
const WALL_LIMIT = 3000;

interface Suspicion {
  heartbeat: number;
  filter: number;
  /** When it was first seen there: processor time of the thread, ns, and performance.now(). */
  running: number;
  seen: number;
}

export class Watchdog {
  private readonly m: PacketMemory;
  private readonly plan: Plan;
  private readonly onHang: (worker: number, filter: number) => void;
  private readonly suspicions: (Suspicion | undefined)[] = [];
  private readonly timer: NodeJS.Timeout;

  /** @param onHang is called with the worker's and the filter's index, again and again until the worker goes on */
  constructor(m: PacketMemory, plan: Plan, onHang: (worker: number, filter: number) => void) {
    this.m = m;
    this.plan = plan;
    this.onHang = onHang;
    this.timer = setInterval(() => this.look(), LOOK).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    for (let worker = 0; worker < this.plan.workers.length; worker++) {
      const word = (offset: number) =>
        Atomics.load(this.m.i32, (this.plan.workers[worker].control + offset) >>> 2);
      const filter = word(WORKER_CONTROL.FILTER);
      if (filter === 0) {
        this.suspicions[worker] = undefined;
        continue;
      }
      const heartbeat = word(WORKER_CONTROL.HEARTBEAT);
      const before = this.suspicions[worker];
      const { running } = threadTimes(`/proc/self/task/${word(WORKER_CONTROL.THREAD)}`);
      if (before === undefined || before.heartbeat !== heartbeat || before.filter !== filter) {
        this.suspicions[worker] = { heartbeat, filter, running, seen: performance.now() };
        continue;
      }
      const used = (running - before.running) / 1e6;
      const passed = performance.now() - before.seen;
      if (used >= TIME_LIMIT || (running === 0 && passed >= WALL_LIMIT)) this.onHang(worker, filter - 1);
    }
  }
}
