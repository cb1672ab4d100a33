// A lock between workers for a few loads and stores: one u32 in shared memory, 0: free. The kernel may take a holder's core,
// so others look again and again for some seconds before they give up: then the holder's thread was killed.

/** Looks at a word about this often in some seconds. As hash-table.ts: not memory.atomic.wait32. */
const SPINS: u32 = 1 << 31;

/** @returns false: its holder did not let go for seconds; the lock is not the caller's */
export function lock(word: usize): bool {
  for (let spins = SPINS; spins != 0; spins--) {
    if (atomic.load<u32>(word) == 0 && atomic.cmpxchg<u32>(word, 0, 1) == 0) return true;
  }
  return false;
}

export function unlock(word: usize): void {
  atomic.store<u32>(word, 0);
}
