/**
 * Notices a filter's call that does not end. Thread: the main one. A worker counts its rounds and says which filter it is
 * in; one that stays in the same filter in the same round, and uses the processor all the while, hangs there. Time
 * without a processor (a busy machine, a stopped process) is no hang, so the kernel's account of the thread counts.
 */
import { WORKER_CONTROL } from "../batches/control.ts";
import { threadTimes } from "../control/threads.ts";

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
  private readonly i32: Int32Array;
  private readonly controls: number[];
  private readonly onHang: (worker: number, filter: number) => void;
  private readonly limit: (filter: number) => number;
  private readonly suspicions: (Suspicion | undefined)[] = [];
  private readonly timer: NodeJS.Timeout;

  /**
   * @param i32 the memory that the workers' control words lie in
   * @param controls address of each worker's
   * @param onHang is called with the worker's and the filter's index, again and again until the worker goes on
   * @param limit processor time that a call of that filter may take, ms
   */
  constructor(
    i32: Int32Array,
    controls: number[],
    onHang: (worker: number, filter: number) => void,
    limit: (filter: number) => number = () => TIME_LIMIT,
  ) {
    this.i32 = i32;
    this.controls = controls;
    this.onHang = onHang;
    this.limit = limit;
    this.timer = setInterval(() => this.look(), LOOK).unref();
  }

  close(): void {
    clearInterval(this.timer);
  }

  private look(): void {
    for (let worker = 0; worker < this.controls.length; worker++) {
      const word = (offset: number) => Atomics.load(this.i32, (this.controls[worker] + offset) >>> 2);
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
      const limit = this.limit(filter - 1);
      if (used >= limit || (running === 0 && passed >= Math.max(limit, WALL_LIMIT)))
        this.onHang(worker, filter - 1);
    }
  }
}
