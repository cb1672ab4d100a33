// A worker that is ended anywhere while it holds a lock, as one whose filter traps or does not end is: what all workers share is
// sound for the others, and hardly anything of it is lost. For each access to memory under a lock a run of its own, in which
// the worker does not get beyond; the accesses are those of the real modules, which binaryen (asc's own) has made to ask before each. But
// for the moment between a lock and its note, see held-locks.ts.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import binaryen from "binaryen";
import { beforeAll, describe, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { PACKAGE } from "../../src/filters/build.ts";
import type { FilterInstance } from "../../src/filters/load.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { releaseLocks } from "../../src/workers/locks.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

class Ended extends Error {}

/** Far more than any batch needs: a walk that comes to no end. */
const MOST_ACCESSES = 200_000;

/** Worker 0 is ended at one of its accesses under a lock, worker 1 is not. */
class Mortal {
  readonly bench: FilterBench;
  private readonly module: WebAssembly.Module;
  private readonly fresh: Uint8Array;
  /** Accesses under a lock that are left to worker 0. */
  private left = Number.POSITIVE_INFINITY;
  private accesses = 0;
  private readonly began: number;

  constructor(filter: FilterModule, module: WebAssembly.Module, params: object) {
    this.bench = new FilterBench(filter, params, { workers: 2 });
    this.module = module;
    this.fresh = this.bench.m.u8.slice();
    this.began = this.bench.now;
  }

  /**
   * Runs steps from the beginning.
   * @param life accesses under a lock until worker 0 ends, once
   * @returns was it ended? From then on it is not
   */
  live(life: number, steps: (() => void)[]): boolean {
    const { bench } = this;
    bench.m.u8.set(this.fresh);
    bench.now = this.began;
    this.left = Number.POSITIVE_INFINITY;
    for (const worker of [0, 1]) bench.workers[worker].filter = this.instance(worker);
    this.left = life;
    let ended = false;
    for (const step of steps) {
      this.accesses = 0;
      try {
        step();
      } catch (error) {
        if (!(error instanceof Ended)) throw error;
        ended = true;
        this.left = Number.POSITIVE_INFINITY;
        releaseLocks(bench.m, bench.workers[0].context);
        bench.workers[0].filter = this.instance(0);
        // If it was in a tick, the other still has its own.
        bench.advance(0);
      }
    }
    this.left = Number.POSITIVE_INFINITY;
    return ended;
  }

  /** A new one, as the host makes after a trap. */
  private instance(worker: number): FilterInstance {
    const { bench } = this;
    const { context } = bench.workers[worker];
    const { m } = bench;
    const state = m.u32[(context + CONTEXT.WORKER_STATE) >>> 2];
    m.u8.fill(0, state, state + m.u32[(context + CONTEXT.WORKER_STATE_BYTES) >>> 2]);
    const locks = (context + CONTEXT.LOCKS) >>> 2;
    let noting = 0;
    const access = (_id: number, _bytes: number, offset: number, address: number) => {
      if (++this.accesses > MOST_ACCESSES) throw new Error("it walks for ever");
      // To unlock is to forget the note, then a load and a store.
      const at = address + offset - context;
      if (at >= CONTEXT.LOCKS && at < CONTEXT.LOCK_ENTRIES + 28) noting = 2;
      else if (noting !== 0) noting--;
      else if (worker === 0 && m.u32[locks] !== 0 && --this.left < 0) throw new Ended();
      return address;
    };
    const env: Record<string, unknown> = { memory: m.memory };
    for (const { name, kind } of WebAssembly.Module.imports(this.module)) {
      if (kind === "function")
        env[name] = /^(load|store)_ptr$/.test(name) ? access : (_: unknown, value: unknown) => value;
    }
    const filter = new WebAssembly.Instance(this.module, { env } as WebAssembly.Imports)
      .exports as unknown as FilterInstance;
    filter.init(context);
    return filter;
  }
}

function instrumented(kind: string): WebAssembly.Module {
  const module = binaryen.readBinary(readFileSync(join(PACKAGE, "build/wasm/filters", `${kind}.wasm`)));
  module.setFeatures(binaryen.Features.All);
  module.runPasses(["instrument-memory"]);
  return new WebAssembly.Module(module.emitBinary() as Uint8Array<ArrayBuffer>);
}

/** Until all has ended. */
const SECONDS = { nat: 400, acl: 200 };
const inside = (i: number) => `10.77.0.${i + 1}`;
const REMOTE = "192.0.2.9";
const udp = (from: string, fromPort: number, to: string, toPort: number) =>
  buildPacket({ ipv4: { from, to }, udp: { "from-port": fromPort, "to-port": toPort } }).bytes;

/** Each life of worker 0, from the shortest to one that is not cut short. */
function eachLife(mortal: Mortal, steps: (() => void)[], check: (life: number) => void): number {
  let life = 0;
  for (; mortal.live(life, steps); life++) check(life);
  check(life);
  return life;
}

describe("wherever a worker is ended under a lock", () => {
  const modules: Record<string, [FilterModule, WebAssembly.Module]> = {};
  beforeAll(async () => {
    for (const kind of ["nat", "acl"]) modules[kind] = [await filterModule(kind), instrumented(kind)];
  });

  test("nat: hosts go on, each with a port of its own, and a session at most is lost", () => {
    const outside = "198.51.100.1";
    const params = { inside: "10.77.0.0/24", outside, sessions: 4, mappings: 4, ports: "1024-1027" };
    const mortal = new Mortal(...modules["nat"], params);
    const { bench } = mortal;
    const out = (i: number, worker: number) => bench.send(udp(inside(i), 5000, REMOTE, 53), worker);
    const flows = [0, 1, 2];
    const steps = [
      ...flows.map((i) => () => void out(i, 0)),
      () => bench.advance(SECONDS.nat),
      () => void out(0, 0),
    ];
    const lives = eachLife(mortal, steps, (life) => {
      // Those whom it has hit, too; on either worker.
      const ports = flows.map((i) => {
        const { output, bytes } = out(i, i % 2);
        expect(output, `host ${i}, life ${life}`).toBe("next");
        return bytes[20] * 256 + bytes[21];
      });
      expect(new Set(ports).size, `life ${life}`).toBe(flows.length);
      for (const i of flows) {
        const { output, bytes } = bench.send(udp(REMOTE, 53, outside, ports[i]), 1 - (i % 2));
        expect([output, bytes.slice(16, 20).join(".")], `life ${life}`).toEqual(["next", inside(i)]);
      }
      // All ends, twice over; then as many are made as there is room for.
      bench.advance(SECONDS.nat);
      bench.advance(SECONDS.nat);
      const made = Array.from({ length: 4 }, (_, i) => out(100 + i, i % 2).output);
      expect(made.filter((output) => output === "next").length, `life ${life}`).toBeGreaterThanOrEqual(3);
    });
    expect(lives).toBeGreaterThan(300);
  });

  test("acl: connections go on, their answers pass, and one at most is lost", () => {
    const rules = [{ action: "accept", from: "10.77.0.0/24" }];
    const params = { stateful: true, rules, connections: 8, "tcp-established-timeout": "60s" };
    const mortal = new Mortal(...modules["acl"], params);
    const { bench } = mortal;
    const out = (i: number, worker: number) => bench.send(udp(inside(i), 5000, REMOTE, 53), worker).output;
    const back = (i: number, worker: number) => bench.send(udp(REMOTE, 53, inside(i), 5000), worker).output;
    const tcp = (isOut: boolean, flags: string[], seq: number, ack: number, worker: number) =>
      bench.send(
        buildPacket({
          ipv4: isOut ? { from: inside(50), to: REMOTE } : { from: REMOTE, to: inside(50) },
          tcp: {
            "from-port": isOut ? 5000 : 80,
            "to-port": isOut ? 80 : 5000,
            flags,
            seq,
            ack,
            window: 1000,
          },
        }).bytes,
        worker,
      ).output;
    const flows = [0, 1, 2, 3, 4, 5];
    const steps = [
      ...flows.map((i) => () => void out(i, 0)),
      ...flows.map((i) => () => void back(i, 0)),
      // It is full, so some make room for others.
      ...flows.map((i) => () => void out(20 + i, 0)),
      () => bench.advance(SECONDS.acl),
      () => void tcp(true, ["syn"], 0, 0, 0),
      () => void tcp(false, ["syn", "ack"], 7000, 1, 0),
      () => void tcp(true, ["ack"], 1, 7001, 0),
      () => void tcp(false, ["ack"], 7001, 1, 0),
    ];
    const lives = eachLife(mortal, steps, (life) => {
      // A host sends again what was lost.
      for (const worker of [1, 0]) {
        expect(tcp(true, ["syn"], 0, 0, worker), `life ${life}`).toBe("next");
        expect(tcp(false, ["syn", "ack"], 7000, 1, worker), `life ${life}`).toBe("next");
        expect(tcp(true, ["ack"], 1, 7001, worker), `life ${life}`).toBe("next");
        expect(tcp(false, ["ack"], 7001, 1, worker), `life ${life}`).toBe("next");
      }
      for (const i of flows) expect(out(i, i % 2), `flow ${i}, life ${life}`).toBe("next");
      for (const i of flows) expect(back(i, 1 - (i % 2)), `flow ${i}, life ${life}`).toBe("next");
      bench.advance(SECONDS.acl);
      bench.advance(SECONDS.acl);
      const made = Array.from({ length: 8 }, (_, i) => out(100 + i, i % 2));
      const answered = made.map((_, i) => back(100 + i, i % 2));
      expect(answered.filter((output) => output === "next").length, `life ${life}`).toBeGreaterThanOrEqual(7);
    });
    expect(lives).toBeGreaterThan(300);
  });

  test("acl: later fragments find what the first one of their datagram showed, in the entry that was being written, too", () => {
    const rules = [{ action: "drop", proto: "udp", "to-port": 25 }];
    const mortal = new Mortal(...modules["acl"], {
      default: "accept",
      rules,
      reassembly: 4,
      "fragments-held": 0,
    });
    const { bench } = mortal;
    const ipv4 = (id: number) => ({ from: inside(0), to: REMOTE, id, protocol: 17 });
    const first = (id: number) =>
      buildPacket({ ipv4: { ...ipv4(id), flags: ["mf"] }, udp: { "to-port": 80 }, payload: { bytes: 16 } })
        .bytes;
    const later = (id: number) =>
      buildPacket({ ipv4: { ...ipv4(id), offset: 24 }, payload: { bytes: 16 } }).bytes;
    const lives = eachLife(mortal, [() => void bench.send(first(1), 0)], (life) => {
      // One more than the set has entries.
      for (let i = 0; i < 5; i++) {
        bench.now += 60e9;
        bench.advance(0);
        const outputs = [first(100 + i), later(100 + i)].map((packet) => bench.send(packet, 1).output);
        expect(outputs, `ended at access ${life}, datagram ${i}`).toEqual(["next", "next"]);
      }
    });
    expect(lives).toBeGreaterThan(10);
  });
});
