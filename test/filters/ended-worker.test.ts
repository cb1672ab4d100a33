// A worker that is ended anywhere while it holds a lock, as one whose filter traps or does not end is: what all workers share is
// sound for the others, and hardly anything of it is lost. For each access to memory under a lock a run of its own, in which
// the worker does not get beyond; the accesses are those of the real modules, which binaryen has made to ask before each.
import binaryen from "binaryen";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { u64Write } from "../../src/batches/memory.ts";
import { PACKAGE } from "../../src/filters/build.ts";
import type { FilterInstance } from "../../src/filters/load.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { releaseLocks } from "../../src/workers/locks.ts";
import { FilterBench, type FilterModule, filterModule, type Sent } from "./bench.ts";

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

  /** @param life accesses under a lock until worker 0 ends @returns was it ended by then? */
  live(life: number, steps: ((worker: number) => void)[]): boolean {
    const { bench } = this;
    bench.m.u8.set(this.fresh);
    bench.now = this.began;
    for (const worker of [0, 1]) bench.workers[worker].filter = this.instance(worker);
    this.left = life;
    let ended = false;
    for (const step of steps) {
      this.accesses = 0;
      try {
        step(0);
      } catch (error) {
        if (!(error instanceof Ended)) throw error;
        ended = true;
        releaseLocks(bench.m, bench.workers[0].context);
        this.left = Number.POSITIVE_INFINITY;
        bench.workers[0].filter = this.instance(0);
      }
    }
    return ended;
  }

  /** Accesses under a lock that worker 0 has not made. */
  get unused(): number {
    return this.left;
  }

  /** A new one, as the host makes after a trap. */
  private instance(worker: number): FilterInstance {
    const { bench } = this;
    const { context } = bench.workers[worker];
    const { m } = bench;
    const state = m.u32[(context + CONTEXT.WORKER_STATE) >>> 2];
    m.u8.fill(0, state, state + m.u32[(context + CONTEXT.WORKER_STATE_BYTES) >>> 2]);
    const locks = (context + CONTEXT.LOCKS) >>> 2;
    const access = (...said: unknown[]) => {
      if (++this.accesses > MOST_ACCESSES) throw new Error("it walks for ever");
      if (worker === 0 && m.u32[locks] !== 0 && --this.left < 0) throw new Ended();
      return said.at(-1);
    };
    const env: Record<string, unknown> = { memory: m.memory };
    for (const { name, kind } of WebAssembly.Module.imports(this.module)) {
      if (kind === "function") env[name] = /^(load|store)_ptr$/.test(name) ? access : (_: unknown, value: unknown) => value;
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
