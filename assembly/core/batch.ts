// Batches and counters as core handles them: a batch is a count and a vector of descriptor addresses.

import { BATCH_COUNT, BATCH_ENTRIES } from "../abi/layout";

/** Adds to a u64 counter that only this worker writes. */
export function add(counter: usize, n: u64): void {
  store<u64>(counter, load<u64>(counter) + n);
}

/** Puts a descriptor at the end of a batch, which the plan made large enough; on top of the free list. */
export function append(batch: usize, descriptor: u32): void {
  const count = load<u32>(batch, BATCH_COUNT);
  store<u32>(batch + BATCH_ENTRIES + ((<usize>count) << 2), descriptor);
  store<u32>(batch, count + 1, BATCH_COUNT);
}

/** Takes a descriptor from the free list; 0: it is empty. */
export function take(free: usize): u32 {
  const count = load<u32>(free, BATCH_COUNT);
  if (count == 0) return 0;
  store<u32>(free, count - 1, BATCH_COUNT);
  return load<u32>(free + BATCH_ENTRIES + ((<usize>(count - 1)) << 2));
}
