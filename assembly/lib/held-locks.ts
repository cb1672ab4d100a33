// Which locks in shared state this instance holds, written where the host finds it: when the filter traps in between, or does
// not end, the host lets go of them (src/workers/locks.ts), or every other worker would wait. What a lock protects is then as
// the trap left it: write it so that each store leaves something sound. And how long others wait at all.
//
// A lock is noted after it was got, and forgotten before it is let go of, so that nobody else's is broken. A thread that is ended
// just between the two leaves it locked. No trap can, and a call that does not end is hardly ever there after 250 ms.

import { contextAddress, now } from "../abi/context";
import { CONTEXT_LOCK_ENTRIES, CONTEXT_LOCKS } from "../abi/layout";

/** So many are known of; who holds more at a time has the innermost ones not freed. */
const MOST: u32 = 7;
/** Bit 0 of an entry: it is bit 31 of the word that is the lock. Otherwise the whole word is. */
export const LOCK_BIT_31: u32 = 1;

/**
 * Looks at a lock before giving up: some 20 ms. A holder works for less than 2 us, but the kernel may take its core, and will
 * give it back as the looking uses up the looker's time. Far less than the 250 ms after which a call counts as one that does
 * not end: who waits is not ended with the one it waits for.
 */
const SPINS: u32 = 1 << 24;
/** After one was waited for in vain, until the next batch: a batch waits once, not once a packet. */
const FEW: u32 = 1 << 10;

let gaveUp: u64 = 0;

/** How often to look at a lock that somebody else holds. */
export function patience(): u32 {
  return gaveUp != 0 && gaveUp == now() ? FEW : SPINS;
}

/** A lock was not got. */
export function giveUp(): void {
  gaveUp = now();
}

/** A lock was got. @param entry address of its word, a multiple of 4, and LOCK_BIT_31 */
export function noteLock(entry: usize): void {
  const held = load<u32>(contextAddress, CONTEXT_LOCKS);
  if (held < MOST) store<u32>(contextAddress + ((<usize>held) << 2), <u32>entry, CONTEXT_LOCK_ENTRIES);
  store<u32>(contextAddress, held + 1, CONTEXT_LOCKS);
}

/** A lock is let go of, most often the last one that was got. */
export function forgetLock(entry: usize): void {
  const held = load<u32>(contextAddress, CONTEXT_LOCKS) - 1;
  store<u32>(contextAddress, held, CONTEXT_LOCKS);
  if (held == 0 || held >= MOST) return;
  if (load<u32>(contextAddress + ((<usize>held) << 2), CONTEXT_LOCK_ENTRIES) != <u32>entry)
    moveDown(entry, held);
}

/** The same for a lock that packet after packet takes, of an instance that holds no other then: three stores in line. */
export class OnlyLock {
  @inline static note(entry: usize): void {
    store<u32>(contextAddress, <u32>entry, CONTEXT_LOCK_ENTRIES);
    store<u32>(contextAddress, 1, CONTEXT_LOCKS);
  }
  @inline static forget(): void {
    store<u32>(contextAddress, 0, CONTEXT_LOCKS);
  }
}

/** The last one takes the place of one that was let go of before it. */
function moveDown(entry: usize, last: u32): void {
  const kept = load<u32>(contextAddress + ((<usize>last) << 2), CONTEXT_LOCK_ENTRIES);
  for (let i: u32 = 0; i < last; i++) {
    const at = contextAddress + ((<usize>i) << 2);
    if (load<u32>(at, CONTEXT_LOCK_ENTRIES) != <u32>entry) continue;
    store<u32>(at, kept, CONTEXT_LOCK_ENTRIES);
    return;
  }
}
