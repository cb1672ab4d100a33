// Chances as sch_netem draws them: 32 random bits, those of a correlated kind mixed with the draw before (get_crandom).
//
//    0       4       8
//   +-------+-------+
//   | last  | rho   |     rho: correlation times 2^32
//   +-------+-------+

import { random } from "pktflow/assembly";
import { mix } from "pktflow/assembly/lib/flow-key";

const GOLDEN_GAMMA: u64 = 0x9e3779b97f4a7c15;
const ALL: f64 = 4294967296;

let seeded: u64 = 0;

/** @param seed 0: chances of the context, different in each run */
export function seedChances(seed: u64): void {
  seeded = seed;
}

/** 32 random bits. */
export function draw(): u32 {
  if (seeded == 0) return <u32>(random() >> 32);
  seeded += GOLDEN_GAMMA;
  return <u32>(mix(seeded) >> 32);
}

/** What draw() must be below for something that happens so often. */
export function threshold(percent: f64): u64 {
  return <u64>((percent * ALL) / 100);
}

@unmanaged
export class Correlated {
  private last: u32;
  private rho: u32;

  static readonly BYTES: usize = 8;

  start(): void {
    this.last = draw();
  }

  /** @param correlation percent */
  correlate(correlation: f64): void {
    this.rho = <u32>min<f64>((correlation * ALL) / 100, ALL - 1);
  }

  draw(): u32 {
    const value = draw();
    if (this.rho == 0) return value;
    const rho = <u64>this.rho + 1;
    const answer = <u32>((<u64>value * (((<u64>1) << 32) - rho) + <u64>this.last * rho) >> 32);
    this.last = answer;
    return answer;
  }

  /** Does it happen this time. */
  @inline happens(below: u64): bool {
    return below != 0 && <u64>this.draw() < below;
  }
}
