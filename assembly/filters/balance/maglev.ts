// Maglev hashing, 3.4 of the paper: each backend has a permutation of the table's entries, of its name alone, and backends take
// turns to fill the next entry of theirs that is still free. With weights, a backend has so many turns in a round as its weight
// is to the largest one.
//
//   permutation of a backend: offset, offset + skip, offset + 2 skip, ...   modulo the table's size, a prime

import { mix } from "pktflow/assembly/lib/flow-key";
import { params } from "./params";

/** Bytes of an entry, a backend's place (backends.ts). */
export const ENTRY: usize = 2;
/** No backend. */
export const NONE: u16 = 0xffff;
/** What build() needs of each backend: next (u32), skip (u32), turns (u32), in units of the largest weight; its place (u32). */
export const SCRATCH: usize = 16;
const SKIP: usize = 4;
const TURNS: usize = 8;
export const PLACE: usize = 12;
const FNV_OFFSET: u64 = 0xcbf29ce484222325;
const FNV_PRIME: u64 = 0x100000001b3;

/** The smallest prime that is not smaller. */
export function primeFrom(size: u32): u32 {
  let candidate = size <= 2 ? 2 : size | 1;
  while (!isPrime(candidate)) candidate += 2;
  return candidate;
}

function isPrime(n: u32): bool {
  for (let d: u32 = 3; d * d <= n; d += 2) if (n % d == 0) return false;
  return true;
}

/** FNV-1a (Fowler, Noll, Vo), mixed: of a backend's name and which of its hashes it is. */
export function nameHash(backend: i32, which: u64): u64 {
  const name = params.backends.at(backend).name;
  let hash = FNV_OFFSET ^ which;
  for (let i: u32 = 0; i < name.length; i++) hash = (hash ^ <u64>load<u8>(name.address + i)) * FNV_PRIME;
  return mix(hash);
}

/** Does a backend take part: in the table of those that take new connections, or in that of all? */
function weightOf(backend: i32, all: bool): u32 {
  const one = params.backends.at(backend);
  return one.drain && !all ? 0 : one.weight;
}

/**
 * Fills a table: a backend's place for each entry, ENTRY bytes each.
 * @param size a prime; @param scratch SCRATCH bytes for each backend, its PLACE set; @param all whether drained ones take part
 */
export function build(table: usize, size: u32, scratch: usize, all: bool): void {
  const count = params.backends.length;
  let largest: u32 = 0;
  // All ones are NONE.
  memory.fill(table, 0xff, <usize>size * ENTRY);
  for (let i = 0; i < count; i++) {
    const at = scratch + <usize>i * SCRATCH;
    store<u32>(at, <u32>(nameHash(i, 0) % size));
    store<u32>(at, size == 2 ? 1 : <u32>(nameHash(i, 1) % (size - 1)) + 1, SKIP);
    store<u32>(at, 0, TURNS);
    largest = max(largest, weightOf(i, all));
  }
  if (largest == 0) return;
  for (let filled: u32 = 0; filled < size; ) {
    for (let i = 0; i < count && filled < size; i++) {
      const at = scratch + <usize>i * SCRATCH;
      // Whole numbers: sums of fractions would miss a turn by their rounding.
      let turns = load<u32>(at, TURNS) + weightOf(i, all);
      if (turns >= largest) {
        turns -= largest;
        take(table, size, at, <u16>load<u32>(at, PLACE));
        filled++;
      }
      store<u32>(at, turns, TURNS);
    }
  }
}

/** A turn: the next entry of its permutation that is free. */
function take(table: usize, size: u32, at: usize, backend: u16): void {
  let entry = load<u32>(at);
  const skip = load<u32>(at, SKIP);
  while (load<u16>(table + <usize>entry * ENTRY) != NONE) entry = next(entry, skip, size);
  store<u16>(table + <usize>entry * ENTRY, backend);
  store<u32>(at, next(entry, skip, size));
}

function next(entry: u32, skip: u32, size: u32): u32 {
  const sum = entry + skip;
  return sum >= size ? sum - size : sum;
}
