/**
 * Locks in the state that workers share, of a filter's instance that will not let go of them: it has trapped, or its thread
 * was ended. Thread: its worker's, or the main one when that is gone. The other half is assembly/lib/held-locks.ts.
 */
import { CONTEXT } from "../batches/layout.ts";
import type { PacketMemory } from "../batches/memory.ts";

/** As many as the context has room for. */
const MOST = 7;
/** Bit 0 of an entry: the lock is bit 31 of the word, otherwise all of it. */
const BIT_31 = 1;

/** Lets go of all that the instance holds. @param context its address */
export function releaseLocks(m: PacketMemory, context: number): void {
  const at = context >>> 2;
  const held = Math.min(m.u32[at + (CONTEXT.LOCKS >>> 2)], MOST);
  m.u32[at + (CONTEXT.LOCKS >>> 2)] = 0;
  for (let i = held - 1; i >= 0; i--) {
    const entry = m.u32[at + (CONTEXT.LOCK_ENTRIES >>> 2) + i];
    const word = entry >>> 2;
    // A filter can write anything there.
    if (word >= m.i32.length) continue;
    if ((entry & BIT_31) !== 0) Atomics.and(m.i32, word, 0x7fffffff);
    else Atomics.store(m.i32, word, 0);
  }
}
