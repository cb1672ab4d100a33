// A lock between workers for a few loads and stores: one u32 in shared memory, a multiple of 4; 0: free. For what takes longer, or is
// read far more often than written, there are atomics and HashTable.
//
// Example: a number that all workers count up, and its square beside it (12 bytes of shared state).
//
//   const at = sharedState();
//   if (!lock(at)) return OUTPUT_DROP;
//   const n = load<u32>(at, 4) + 1;
//   store<u32>(at, n, 4);
//   store<u32>(at, n * n, 8);
//   unlock(at);
//
// A filter that traps while it holds a lock, or does not end, loses it: the host lets go of it, so that the others go on.

import { forgetLock, giveUp, noteLock, patience } from "./held-locks";

/**
 * Takes a lock. Not one that this instance holds already: that is waited for in vain.
 * @param word address of a u32 in the shared state, a multiple of 4, zero at first
 * @returns false: its holder did not let go for some 20 ms, or had not before in this batch; the lock is not the caller's
 */
export function lock(word: usize): bool {
  if (atomic.load<u32>(word) != 0 || atomic.cmpxchg<u32>(word, 0, 1) != 0) {
    if (!wait(word)) return false;
  }
  noteLock(word);
  return true;
}

/** Not memory.atomic.wait32: hash-table.ts says why. */
function wait(word: usize): bool {
  for (let spins = patience(); spins != 0; spins--) {
    if (atomic.load<u32>(word) == 0 && atomic.cmpxchg<u32>(word, 0, 1) == 0) return true;
  }
  giveUp();
  return false;
}

/** Lets go of a lock. Needs that lock() has given it. @param word its address */
export function unlock(word: usize): void {
  forgetLock(word);
  atomic.store<u32>(word, 0);
}
