/**
 * A filter on real threads that race over one shared state: each thread sees every packet, in an order of its own, all at once and at
 * one time on all clocks.
 */
import { Worker } from "node:worker_threads";
import { CONTEXT } from "../../src/batches/layout.ts";
import { u64Write } from "../../src/batches/memory.ts";
import { FilterBench, type FilterModule, type Sent } from "../filters/bench.ts";

export const THREADS = 4;
const BATCH = 16;

export class Race {
  readonly bench: FilterBench;
  /** Descriptors by thread and place. */
  private readonly descriptors: number[][];
  private readonly threads: Worker[];
  private readonly control: number;
  private readonly done: number;
  private round = 0;

  /** @param packets by place: of the length of what will stand there */
  constructor(filter: FilterModule, params: object, packets: Uint8Array[]) {
    const extra = THREADS * packets.length * 512 + 65_536;
    this.bench = new FilterBench(filter, params, { workers: THREADS, extra });
    const { bench } = this;
    this.control = bench.take(64);
    this.done = bench.take(64);
    this.descriptors = bench.workers.map(() => packets.map((bytes) => bench.place(bytes)));
    this.threads = bench.workers.map(({ context }, thread) => {
      const shuffled = shuffle(this.descriptors[thread], thread + 1);
      const vectors: [number, number][] = [];
      for (let i = 0; i < shuffled.length; i += BATCH) {
        const batch = shuffled.slice(i, i + BATCH);
        const address = bench.take(4 * BATCH);
        bench.m.u32.set(batch, address >>> 2);
        vectors.push([address, batch.length]);
      }
      const { control, done } = this;
      return new Worker(new URL("./race.mjs", import.meta.url), {
        workerData: { memory: bench.m.memory, module: filter.module, context, vectors, control, done },
      });
    });
    this.wait();
  }

  /**
   * All threads process all packets.
   * @param seconds that have passed since the round before
   * @param reaped what has ended is removed before they begin
   * @returns by place, what each thread made of the packet
   */
  run(seconds: number, packets: Uint8Array[], reaped = false): Sent[][] {
    const { bench, descriptors } = this;
    if (reaped) bench.advance(seconds);
    else bench.now += seconds * 1e9;
    for (const { context } of bench.workers) u64Write(bench.m, context + CONTEXT.NOW, bench.now);
    for (const own of descriptors) for (const [i, one] of own.entries()) bench.replace(one, packets[i]);
    Atomics.store(bench.m.i32, this.done >>> 2, 0);
    Atomics.store(bench.m.i32, this.control >>> 2, ++this.round);
    Atomics.notify(bench.m.i32, this.control >>> 2);
    this.wait();
    return packets.map((_, i) => descriptors.map((own) => bench.result(own[i])));
  }

  async end(): Promise<void> {
    Atomics.store(this.bench.m.i32, this.control >>> 2, -1);
    Atomics.notify(this.bench.m.i32, this.control >>> 2);
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }

  private wait(): void {
    const { i32 } = this.bench.m;
    const deadline = Date.now() + 60_000;
    for (let n = Atomics.load(i32, this.done >>> 2); n < THREADS; n = Atomics.load(i32, this.done >>> 2)) {
      Atomics.wait(i32, this.done >>> 2, n, 100);
      if (Date.now() > deadline)
        throw new Error(`only ${n} of ${THREADS} threads came to the end of round ${this.round}`);
    }
  }
}

/** The same order for the same seed (mulberry32). */
function shuffle(values: number[], seed: number): number[] {
  let state = seed;
  const random = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const shuffled = [...values];
  for (let i = shuffled.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  return shuffled;
}
