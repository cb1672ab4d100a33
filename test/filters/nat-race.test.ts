// nat and nat64 on real threads that race over one shared state: each thread sees every inside endpoint, in an order of its own,
// and all must agree on its mapping.
import { Worker } from "node:worker_threads";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { u64Write } from "../../src/batches/memory.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

const THREADS = 4;
const BATCH = 16;
const SOURCE_PORT_AT = 20;

const modules = new Map<string, FilterModule>();
beforeAll(async () => {
  for (const kind of ["nat", "nat64"]) modules.set(kind, await filterModule(kind));
});

/** What is said of each, and from whom to whom endpoint i sends its packet to remote n. */
const KINDS = {
  nat: {
    params: { inside: "10.77.0.0/16", outside: "198.51.100.2" },
    ends: (i: number, n: number) => ({ ipv4: { from: `10.77.${i >> 8}.${i & 255}`, to: `192.0.2.${n}` } }),
  },
  nat64: {
    params: { outside: "198.51.100.2", "non-global": "translate" },
    ends: (i: number, n: number) => ({
      ipv6: { from: `fd00::${i.toString(16)}:5`, to: `64:ff9b::192.0.2.${n}` },
    }),
  },
};

class Race {
  readonly bench: FilterBench;
  private readonly packets: Uint8Array[];
  /** Descriptors by thread and endpoint. */
  private readonly descriptors: number[][];
  private readonly threads: Worker[];
  private readonly control: number;
  private readonly done: number;
  private round = 0;

  /** @param remotes how many each endpoint sends to, in a packet each; their order is by endpoint */
  constructor(kind: keyof typeof KINDS, params: object, endpoints: number, remotes = 1) {
    const module = modules.get(kind)!;
    this.packets = Array.from({ length: endpoints * remotes }, (_, n) => {
      const i = Math.floor(n / remotes);
      return buildPacket({
        ...KINDS[kind].ends(i, n % remotes),
        udp: { "from-port": 1024 + (i % 7), "to-port": 53 },
      }).bytes;
    });
    const extra = THREADS * this.packets.length * 512 + 65536;
    this.bench = new FilterBench(module, { ...KINDS[kind].params, ...params }, { workers: THREADS, extra });
    const { bench } = this;
    this.control = bench.take(64);
    this.done = bench.take(64);
    this.descriptors = bench.workers.map(() => this.packets.map((bytes) => bench.place(bytes)));
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
        workerData: { memory: bench.m.memory, module: module.module, context, vectors, control, done },
      });
    });
    this.wait();
  }

  /**
   * All threads process all packets at once, at one time on all clocks.
   * @param reaped what has ended is removed before they begin
   * @returns the outside port of each endpoint, undefined where its packets were dropped
   */
  run(seconds: number, reaped = false): (number | undefined)[] {
    const { bench, packets, descriptors } = this;
    if (reaped) bench.advance(seconds);
    else bench.now += seconds * 1e9;
    for (const { context } of bench.workers) u64Write(bench.m, context + CONTEXT.NOW, bench.now);
    for (const own of descriptors) {
      for (const [i, descriptor] of own.entries()) bench.replace(descriptor, packets[i]);
    }
    Atomics.store(bench.m.i32, this.done >>> 2, 0);
    Atomics.store(bench.m.i32, this.control >>> 2, ++this.round);
    Atomics.notify(bench.m.i32, this.control >>> 2);
    this.wait();
    return packets.map((_, i) => {
      const answers = descriptors.map((own) => {
        const { output, bytes } = bench.result(own[i]);
        return output === "next" ? bytes[SOURCE_PORT_AT] * 256 + bytes[SOURCE_PORT_AT + 1] : undefined;
      });
      expect(new Set(answers).size, `endpoint ${i} got the ports ${answers} in round ${this.round}`).toBe(1);
      return answers[0];
    });
  }

  async end(): Promise<void> {
    Atomics.store(this.bench.m.i32, this.control >>> 2, -1);
    Atomics.notify(this.bench.m.i32, this.control >>> 2);
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }

  private wait(): void {
    const { i32 } = this.bench.m;
    const deadline = Date.now() + 30_000;
    for (let n = Atomics.load(i32, this.done >>> 2); n < THREADS; n = Atomics.load(i32, this.done >>> 2)) {
      Atomics.wait(i32, this.done >>> 2, n, 100);
      if (Date.now() > deadline)
        throw new Error(`only ${n} of ${THREADS} threads came to the end of the round`);
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

describe.each(["nat", "nat64"] as const)(`%s: ${THREADS} threads race`, (kind) => {
  let race: Race | undefined;
  afterEach(async () => {
    await race?.end();
    race = undefined;
  });

  function expectDistinct(ports: (number | undefined)[]): void {
    const taken = ports.filter((port) => port !== undefined);
    expect(new Set(taken).size).toBe(taken.length);
  }

  test("to make the same mappings: each is made once, and no two have the same port", () => {
    race = new Race(kind, {}, 2000);
    const ports = race.run(0);
    expect(ports).not.toContain(undefined);
    expectDistinct(ports);
    expect(race.bench.counters).toEqual({ "mappings-made": 2000, "sessions-made": 2000 });
    // Once made they stay.
    expect(race.run(1)).toEqual(ports);
    expect(race.bench.counters).toEqual({ "mappings-made": 2000, "sessions-made": 2000 });
  });

  test("to make sessions of the same mappings, while others end: an endpoint has one port, whomever it sends to", () => {
    const [endpoints, remotes] = [150, 8];
    race = new Race(
      kind,
      { ports: "1024-1183", mappings: 155, sessions: 1210, "udp-timeout": "2s" },
      endpoints,
      remotes,
    );
    let made = 0;
    for (let round = 0; round < 100; round++) {
      const ports = race.run(round % 2 === 0 ? 3 : 1);
      if (round % 2 === 0) made += endpoints;
      expect(ports).not.toContain(undefined);
      const byEndpoint = Array.from({ length: endpoints }, (_, i) =>
        ports.slice(i * remotes, (i + 1) * remotes),
      );
      for (const own of byEndpoint) expect(new Set(own).size).toBe(1);
      expectDistinct(byEndpoint.map(([port]) => port));
    }
    const { counters } = race.bench;
    // A mapping whose old sessions end one by one as new ones come does not end with them, so there may be fewer.
    expect(counters["mappings-made"]).toBeLessThanOrEqual(made);
    expect(counters["sessions-made"]).toBe(made * remotes);
    expect(counters["sessions-made"] - counters["sessions-expired"]).toBe(endpoints * remotes);
    expect(counters["mappings-made"] - counters["mappings-expired"]).toBe(endpoints);
  });

  test("while mappings end and are made anew, with hardly a port or record to spare", () => {
    race = new Race(kind, { ports: "1024-1343", mappings: 310, "udp-timeout": "2s" }, 300);
    let made = 0;
    let expired = 0;
    for (let round = 0; round < 300; round++) {
      // Three seconds: all have ended; one: none has.
      const anew = round === 0 || round % 2 === 0;
      const ports = race.run(anew ? 3 : 1);
      expect(ports).not.toContain(undefined);
      expectDistinct(ports);
      if (anew) {
        made += 300;
        expired += round === 0 ? 0 : 300;
      }
    }
    expect(race.bench.counters).toEqual({
      ...{ "mappings-made": made, "mappings-expired": expired },
      ...{ "sessions-made": made, "sessions-expired": expired },
    });
  });

  test("for fewer ports than there are endpoints: every port is taken, once, and the rest is refused and counted", () => {
    race = new Race(kind, { ports: "5000-5063", "udp-timeout": "2s" }, 200);
    for (let round = 1; round <= 20; round++) {
      const ports = race.run(3, true);
      expect(ports.filter((port) => port !== undefined).length).toBe(64);
      expectDistinct(ports);
      expect(race.bench.counters).toEqual({
        "mappings-made": 64 * round,
        "sessions-made": 64 * round,
        "no-port": (200 - 64) * THREADS * round,
        ...(round > 1 ? { "mappings-expired": 64 * (round - 1), "sessions-expired": 64 * (round - 1) } : {}),
      });
    }
  });
});
