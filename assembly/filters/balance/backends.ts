// The backends that there are, by what is remembered of them: an identity made of the name, which stays the same wherever a
// backend stands in the list, and is nobody's when it is gone. So connections outlive other lists of backends.
//
//   a place, 8 bytes, in a hash table an eighth full: hardly anybody stands where another one would be looked for
//    0     4        6     7
//   +-----+--------+-----+-------+
//   | id  | index  | via | drain |      id: 32 bits of the name's hash, 0: free; index: in the list, for counters
//   +-----+--------+-----+-------+

import { nameHash, PLACE, SCRATCH } from "./maglev";
import { params } from "./params";

const ENTRY: usize = 8;
const INDEX: usize = 4;
const VIA: usize = 6;
const DRAIN: usize = 7;
/** Which of a name's hashes: the other two are the permutation's. */
const IDENTITY: u64 = 2;

let base: usize = 0;
let mask: u32 = 0;

/** Places for the backends, a power of two. */
function places(): u32 {
  return (<u32>8) << (32 - clz<u32>(<u32>params.backends.length - 1));
}

export function backendsBytes(): usize {
  return <usize>places() * ENTRY;
}

/** Gives each backend its place. @param at zeroed; @param scratch of maglev.ts: PLACE of each is set */
export function buildBackends(at: usize, scratch: usize): void {
  openBackends(at);
  for (let i = 0; i < params.backends.length; i++) {
    let id = <u32>nameHash(i, IDENTITY);
    // Of two that are alike the later one is another all the same.
    while (id == 0 || backendOf(id) != 0) id++;
    let place = id & mask;
    while (idOf(placeAt(place)) != 0) place = (place + 1) & mask;
    const backend = placeAt(place);
    store<u32>(backend, id);
    store<u16>(backend, <u16>i, INDEX);
    store<u8>(backend, params.backends.at(i).via, VIA);
    store<u8>(backend, params.backends.at(i).drain ? 1 : 0, DRAIN);
    store<u32>(scratch + <usize>i * SCRATCH, place, PLACE);
  }
}

/** @param at where buildBackends() has put them, for the backends that there are now */
export function openBackends(at: usize): void {
  base = at;
  mask = places() - 1;
}

export function placeAt(place: u32): usize {
  return base + <usize>place * ENTRY;
}

/** A backend by its identity, as an address; 0: there is none, or no longer. */
export function backendOf(id: u32): usize {
  const at = placeAt(id & mask);
  return load<u32>(at) == id ? at : behind(id);
}

/** The same of one that does not stand in its first place. */
function behind(id: u32): usize {
  let place = id & mask;
  while (true) {
    const at = placeAt(place);
    const found = load<u32>(at);
    if (found == id) return at;
    if (found == 0) return 0;
    place = (place + 1) & mask;
  }
}

export function idOf(backend: usize): u32 {
  return load<u32>(backend);
}

export function indexOf(backend: usize): u32 {
  return load<u16>(backend, INDEX);
}

export function viaOf(backend: usize): u8 {
  return load<u8>(backend, VIA);
}

export function drains(backend: usize): bool {
  return load<u8>(backend, DRAIN) != 0;
}
