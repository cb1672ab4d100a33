// The connections that are remembered: sets of seven, each with a lock, shared by all workers.
//
//   set     0      4       16
//          +------+-------+-----------+-------------+--
//          | lock |       | key (8)   | seen | which | ... seven of them        key: 0, free; seen: s; which: backend's id (u32)
//          +------+-------+-----------+-------------+--

import { lock, unlock } from "pktflow/assembly/lib/spin-lock";

const SET: usize = 128;
const ENTRIES: usize = 16;
const ENTRY: usize = 16;
const WAYS: u32 = 7;
const SEEN: usize = 8;
const BACKEND: usize = 12;

let base: usize = 0;
let mask: u32 = 0;

export function connectionsBytes(connections: u32): usize {
  return <usize>sets(connections) * SET;
}

function sets(connections: u32): u32 {
  const wanted = (connections + WAYS - 1) / WAYS;
  return wanted <= 1 ? 1 : (<u32>1) << (32 - clz<u32>(wanted - 1));
}

export function openConnections(at: usize, connections: u32): void {
  base = at;
  mask = sets(connections) - 1;
}

/** The identity of the connection's backend, or 0: it is not known. What is known has been seen now. @param now s; @param timeout s */
export function recall(key: u64, now: u32, timeout: u32): u32 {
  const set = setOf(key);
  if (!lock(set)) return 0;
  let found: u32 = 0;
  for (let i: u32 = 0; i < WAYS; i++) {
    const at = set + ENTRIES + <usize>i * ENTRY;
    if (load<u64>(at) != key) continue;
    if (silence(at, now) > timeout) break;
    store<u32>(at, now, SEEN);
    found = load<u32>(at, BACKEND);
    break;
  }
  unlock(set);
  return found;
}

/** Remembers a connection. @param backend its identity @returns whether another, not yet silent for the timeout, was forgotten for it */
export function remember(key: u64, backend: u32, now: u32, timeout: u32): bool {
  const set = setOf(key);
  if (!lock(set)) return false;
  let place = set + ENTRIES;
  let longest: u32 = 0;
  let isFree = false;
  for (let i: u32 = 0; i < WAYS; i++) {
    const at = set + ENTRIES + <usize>i * ENTRY;
    const silent = load<u64>(at) == 0 ? u32.MAX_VALUE : silence(at, now);
    if (load<u64>(at) == key) {
      place = at;
      isFree = true;
      break;
    }
    if (silent < longest) continue;
    longest = silent;
    place = at;
    isFree = silent > timeout;
  }
  store<u64>(place, key);
  store<u32>(place, now, SEEN);
  store<u32>(place, backend, BACKEND);
  unlock(set);
  return !isFree;
}

/** For how long, s. Workers' batches do not come in order: another one may have seen it in a second that is still to come here. */
function silence(at: usize, now: u32): u32 {
  const seen = load<u32>(at, SEEN);
  return now > seen ? now - seen : 0;
}

function setOf(key: u64): usize {
  // Bits that neither the Maglev table goes by (the upper half) nor every key has (the lowest).
  return base + <usize>((<u32>key >> 8) & mask) * SET;
}
