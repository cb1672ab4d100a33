// acl's connections on real threads that race over one shared state: each thread sees every packet, in an order of its own.
import { Worker } from "node:worker_threads";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { u64Write } from "../../src/batches/memory.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

const THREADS = 4;
const BATCH = 16;

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

class Race {
  readonly bench: FilterBench;
  private readonly count: number;
  /** Descriptors by thread and place. */
  private readonly descriptors: number[][];
  private readonly threads: Worker[];
  private readonly control: number;
  private readonly done: number;
  private round = 0;

  /** @param packet as long as all that will stand in its place */
  constructor(params: object, count: number, packet: Uint8Array) {
    this.count = count;
    const extra = THREADS * count * 512 + 65_536;
    this.bench = new FilterBench(acl, { stateful: true, ...params }, { workers: THREADS, extra });
    const { bench } = this;
    this.control = bench.take(64);
    this.done = bench.take(64);
    this.descriptors = bench.workers.map(() => Array.from({ length: count }, () => bench.place(packet)));
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
      return new Worker(new URL("../support/race.mjs", import.meta.url), {
        workerData: { memory: bench.m.memory, module: acl.module, context, vectors, control, done },
      });
    });
    this.wait();
  }

  /** All threads process all packets at once. @returns by packet, the outputs that the threads gave it */
  run(seconds: number, packets: (place: number) => Uint8Array): string[][] {
    const { bench, descriptors } = this;
    bench.now += seconds * 1e9;
    for (const { context } of bench.workers) u64Write(bench.m, context + CONTEXT.NOW, bench.now);
    const all = Array.from({ length: this.count }, (_, i) => packets(i));
    for (const own of descriptors) for (const [i, one] of own.entries()) bench.replace(one, all[i]);
    Atomics.store(bench.m.i32, this.done >>> 2, 0);
    Atomics.store(bench.m.i32, this.control >>> 2, ++this.round);
    Atomics.notify(bench.m.i32, this.control >>> 2);
    this.wait();
    return all.map((_, i) => descriptors.map((own) => bench.result(own[i]).output));
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
      if (Date.now() > deadline) throw new Error(`only ${n} of ${THREADS} threads came to the end`);
    }
  }
}

/** The same order for the same seed. */
function shuffle(values: number[], seed: number): number[] {
  let state = seed;
  const shuffled = [...values];
  for (let i = shuffled.length - 1; i > 0; i--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const j = Math.floor((state / 2 ** 32) * (i + 1));
    [shuffled[i], shuffled[j]] = [shuffled[j], shuffled[i]];
  }
  return shuffled;
}

const inside = (i: number) => `10.77.${i >> 8}.${i & 255}`;
const udpOut = (i: number) =>
  buildPacket({ ipv4: { from: inside(i), to: "192.0.2.9" }, udp: { "from-port": 1000, "to-port": 53 } })
    .bytes;
const udpBack = (i: number) =>
  buildPacket({ ipv4: { from: "192.0.2.9", to: inside(i) }, udp: { "from-port": 53, "to-port": 1000 } })
    .bytes;
const tcp = (i: number, isOut: boolean, flags: string[], seq: number, ack: number) =>
  buildPacket({
    ipv4: isOut ? { from: inside(i), to: "192.0.2.9" } : { from: "192.0.2.9", to: inside(i) },
    tcp: { "from-port": isOut ? 1000 : 443, "to-port": isOut ? 443 : 1000, flags, seq, ack, window: 1000 },
  }).bytes;
const RULES = [{ action: "accept", from: "10.77.0.0/16" }];
const every = (outputs: string[][]) => new Set(outputs.flat());

describe(`${THREADS} threads race`, () => {
  let race: Race | undefined;
  afterEach(async () => {
    await race?.end();
    race = undefined;
  });

  test("to begin the same connections: each begins once, and its answers pass on every thread", () => {
    race = new Race({ rules: RULES, connections: 4096 }, 2000, udpOut(0));
    expect(every(race.run(0, udpOut))).toEqual(new Set(["next"]));
    expect(race.bench.counters).toEqual({ "rules.0": 2000 * THREADS, "connections-made": 2000 });
    expect(every(race.run(1, udpBack))).toEqual(new Set(["next"]));
    expect(every(race.run(1, udpOut))).toEqual(new Set(["next"]));
    expect(race.bench.counters).toEqual({
      "rules.0": 2000 * THREADS,
      "connections-made": 2000,
      established: 4000 * THREADS,
    });
  });

  test("through the states of TCP: every segment belongs to its connection, and after RST a SYN begins another", () => {
    race = new Race({ rules: RULES, connections: 1024 }, 500, tcp(0, true, ["syn"], 0, 0));
    for (let round = 1; round <= 10; round++) {
      const seq = round * 100_000;
      expect(every(race.run(1, (i) => tcp(i, true, ["syn"], seq, 0)))).toEqual(new Set(["next"]));
      expect(every(race.run(1, (i) => tcp(i, false, ["syn", "ack"], 7000, seq + 1)))).toEqual(
        new Set(["next"]),
      );
      expect(every(race.run(1, (i) => tcp(i, true, ["ack"], seq + 1, 7001)))).toEqual(new Set(["next"]));
      expect(every(race.run(1, (i) => tcp(i, false, ["ack"], 7001, seq + 5000)))).toEqual(new Set(["drop"]));
      expect(every(race.run(1, (i) => tcp(i, false, ["rst", "ack"], 7001, seq + 1)))).toEqual(
        new Set(["next"]),
      );
      expect(race.bench.counters["connections-made"]).toBe(500 * round);
      expect(race.bench.counters["invalid"]).toBe(500 * THREADS * round);
    }
  });

  test("for a table that is far too small: what begins is what has ended, made room, or is still there", () => {
    race = new Race({ rules: RULES, connections: 100, "udp-timeout": "2s" }, 300, udpOut(0));
    for (let round = 0; round < 60; round++) {
      // Three seconds: what nobody has answered has ended by then.
      race.run(round % 3 === 0 ? 3 : 1, round % 4 === 3 ? udpBack : udpOut);
      const counters = race.bench.counters;
      const gone = (counters["connections-ended"] ?? 0) + (counters["connections-evicted"] ?? 0);
      expect((counters["connections-made"] ?? 0) - gone).toBeLessThanOrEqual(100);
      expect((counters["connections-made"] ?? 0) - gone).toBeGreaterThanOrEqual(0);
    }
    expect(race.bench.counters["connections-evicted"]).toBeGreaterThan(100);
    // The table is as good as before: when all has ended, it takes a hundred again.
    race.bench.advance(1000);
    for (let i = 0; i < 100; i++) expect(race.bench.send(udpOut(i)).output).toBe("next");
    for (let i = 0; i < 100; i++) expect(race.bench.send(udpBack(i)).output).toBe("next");
    expect(race.bench.send(udpOut(200)).output).toBe("drop");
  });
});
