/**
 * One filter of one worker goes over to what a reload has laid out for it: its counters move, and its context says where all lies.
 * Thread: the worker's, between two rounds; or the main one, for a worker that is no more.
 */
import { CHANGE } from "../batches/change.ts";
import { CONTEXT } from "../batches/layout.ts";
import type { PacketMemory } from "../batches/memory.ts";

/** Once only: where it has gone over already, nothing changes. @param change address of its CHANGE */
export function goOver(m: PacketMemory, context: number, change: number): void {
  const { u32 } = m;
  const from = u32[(context + CONTEXT.COUNTERS) >>> 2] >>> 2;
  const to = u32[(change + CHANGE.COUNTERS) >>> 2] >>> 2;
  if (from === to) return;
  const kept = u32[(change + CHANGE.KEPT) >>> 2] >>> 2;
  for (let i = 0; i < u32[(change + CHANGE.COUNTER_COUNT) >>> 2]; i++) {
    if (u32[kept + i] === 0) continue;
    const old = from + 2 * (u32[kept + i] - 1);
    u32[to + 2 * i] = u32[old];
    u32[to + 2 * i + 1] = u32[old + 1];
  }
  u32[(context + CONTEXT.PARAMS) >>> 2] = u32[(change + CHANGE.PARAMS) >>> 2];
  u32[(context + CONTEXT.PREPARED_STATE) >>> 2] = u32[(change + CHANGE.PREPARED_STATE) >>> 2];
  // Last: it says that all is done.
  u32[(context + CONTEXT.COUNTERS) >>> 2] = u32[(change + CHANGE.COUNTERS) >>> 2];
}
