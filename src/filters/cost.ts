/** What a filter costs, roughly: its process() alone, in memory, over the packets of its first case. */
import { BATCH_PACKETS } from "../batches/layout.ts";
import type { Case } from "./cases.ts";
import { type BuiltPacket, buildPacket } from "./notation.ts";
import { type Beat, Bench } from "./runner.ts";

const ROUNDS = 2000;

export interface Cost {
  /** The median batch's, of 2,000 batches of 64 packets on one thread. The first are warming up, so they do not count. */
  nsPerPacket: number;
  /** The case whose packets were used. */
  purpose: string;
}

/** @returns undefined: there is no case whose packets can be made; a trap is the caller's */
export function measureCost(
  cases: Case[],
  core: WebAssembly.Module,
  module: WebAssembly.Module,
  beat?: Beat,
): Cost | undefined {
  const test = cases[0];
  if (test === undefined) return undefined;
  const packets = test.packets.flatMap(({ in: notation }) =>
    notation === undefined ? [] : [builtOf(notation)],
  );
  const times = new Bench(test, core, module, BATCH_PACKETS).time(packets, ROUNDS, beat).slice(ROUNDS / 4);
  const median = times.sort((a, b) => a - b)[times.length >> 1];
  return { nsPerPacket: median / BATCH_PACKETS, purpose: test.purpose };
}

function builtOf(notation: unknown): BuiltPacket {
  const { raw } = notation as { raw?: Uint8Array };
  return raw ? { bytes: raw, places: [], partial: undefined } : buildPacket(notation);
}
