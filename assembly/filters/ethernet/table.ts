// The neighbors that are known, or asked for: shared by all workers. An entry is found without a lock; to make or remove one
// takes it. What is known of a neighbor is one word, so no reader sees half of it.
//
//    0                          8           16       24      32          48
//   +--------------------------+-----------+--------+-------+-----------+-------+
//   | MAC:48 generation:8      | confirmed | asked  | tries | high, low | used  |     times in ns
//   | state:8                  |           |        |       |           |       |
//   +--------------------------+-----------+--------+-------+-----------+-------+
//
// States are RFC 4861's, 7.3.2, fewer: REACHABLE, STALE and PROBE are VALID by age of `confirmed`.

import { now, sharedState } from "pktflow/assembly";
import { lock, unlock } from "pktflow/assembly/lib/spin-lock";
import { params } from "./params";

export const FREE: u32 = 0;
export const INCOMPLETE: u32 = 1;
export const VALID: u32 = 2;
export const PERMANENT: u32 = 3;

const CONFIRMED: usize = 8;
const ASKED: usize = 16;
const TRIES: usize = 24;
const HIGH: usize = 32;
const LOW: usize = 40;
const USED: usize = 48;
const ENTRY: u32 = 64;
const HEADER: u32 = 64;
/** Places that an address may have. */
const PLACES: u32 = 16;
const GENERATION: u64 = 0x100;
// splitmix64's.
const M1: u64 = 0x9e3779b97f4a7c15;
const M2: u64 = 0xbf58476d1ce4e5b9;

/** Of the parameter, rounded up to a power of two. */
function places(): u32 {
  return 1 << (32 - <u32>clz<u32>(params.entries - 1));
}

export function tableBytes(): usize {
  return HEADER + <usize>places() * ENTRY;
}

function placeOf(high: u64, low: u64, i: u32): usize {
  let x = (high ^ (low * M1)) * M2;
  x ^= x >> 32;
  return sharedState() + HEADER + <usize>((<u32>x + i) & (places() - 1)) * ENTRY;
}

export function stateOf(entry: usize): u32 {
  return <u32>atomic.load<u64>(entry) & 0xff;
}

export function macOf(entry: usize): u64 {
  return atomic.load<u64>(entry) >> 16;
}

/** @returns the entry of an address; 0: it has none */
export function find(high: u64, low: u64): usize {
  for (let i: u32 = 0; i < PLACES; i++) {
    const entry = placeOf(high, low, i);
    if (load<u64>(entry, HIGH) == high && load<u64>(entry, LOW) == low && stateOf(entry) != FREE)
      return entry;
  }
  return 0;
}

/** Makes an entry, in the place of one that was not used for long if need be. @returns 0: there is no place */
export function insert(high: u64, low: u64, state: u32, mac: u64): usize {
  if (!lock(sharedState())) return 0;
  let entry = find(high, low);
  if (entry == 0) {
    entry = placeFor(high, low);
    if (entry != 0) {
      const generation = (atomic.load<u64>(entry) + GENERATION) & 0xff00;
      atomic.store<u64>(entry, generation);
      store<u64>(entry, high, HIGH);
      store<u64>(entry, low, LOW);
      store<u64>(entry, 0, CONFIRMED);
      store<u64>(entry, 0, ASKED);
      store<u32>(entry, 0, TRIES);
      store<u64>(entry, now(), USED);
      atomic.store<u64>(entry, (mac << 16) | generation | <u64>state);
    }
  }
  unlock(sharedState());
  return entry;
}

/** Keeps a neighbor that need not be asked. */
export function keep(high: u64, low: u64, mac: u64): void {
  const entry = insert(high, low, PERMANENT, mac);
  if (entry == 0 || !lock(sharedState())) return;
  const word = atomic.load<u64>(entry);
  const isStill = load<u64>(entry, HIGH) == high && load<u64>(entry, LOW) == low;
  if (isStill) atomic.store<u64>(entry, (mac << 16) | (word & 0xff00) | PERMANENT);
  unlock(sharedState());
}

/** It may be asked for again. */
export function forget(entry: usize): void {
  if (!lock(sharedState())) return;
  const word = atomic.load<u64>(entry);
  if ((<u32>word & 0xff) == PERMANENT) atomic.store<u64>(entry, (word & 0xff00) | FREE);
  unlock(sharedState());
}

/** The first entry after one that need not be asked, of all after address 0; 0: there is none. */
export function firstKnown(after: usize): usize {
  const first = sharedState() + HEADER;
  const end = first + <usize>places() * ENTRY;
  for (let entry = after == 0 ? first : after + ENTRY; entry < end; entry += ENTRY) {
    if (stateOf(entry) == PERMANENT) return entry;
  }
  return 0;
}

export function highOf(entry: usize): u64 {
  return load<u64>(entry, HIGH);
}
export function lowOf(entry: usize): u64 {
  return load<u64>(entry, LOW);
}

function placeFor(high: u64, low: u64): usize {
  let oldest: usize = 0;
  for (let i: u32 = 0; i < PLACES; i++) {
    const entry = placeOf(high, low, i);
    const state = stateOf(entry);
    if (state == FREE) return entry;
    if (state == PERMANENT) continue;
    // One that is asked for has packets that wait.
    if (state == INCOMPLETE && now() - load<u64>(entry, ASKED) < params.retransmit * 2) continue;
    if (oldest == 0 || load<u64>(entry, USED) < load<u64>(oldest, USED)) oldest = entry;
  }
  return oldest;
}

/** Whether it changed. @param isConfirmed the neighbor itself has answered */
export function setMac(entry: usize, mac: u64, isConfirmed: bool): bool {
  const word = atomic.load<u64>(entry);
  if ((<u32>word & 0xff) == PERMANENT) return false;
  if (isConfirmed) confirm(entry);
  if (word >> 16 == mac && (<u32>word & 0xff) == VALID) return false;
  atomic.store<u64>(entry, (mac << 16) | (word & 0xff00) | VALID);
  return true;
}

export function confirm(entry: usize): void {
  store<u64>(entry, now(), CONFIRMED);
  store<u32>(entry, 0, TRIES);
}

export function isStale(entry: usize): bool {
  return now() - load<u64>(entry, CONFIRMED) > params.reachable;
}

export function use(entry: usize): void {
  store<u64>(entry, now(), USED);
}

/** Nobody has answered: it is asked for anew, or not at all. */
export function giveUp(entry: usize, state: u32): void {
  if (!lock(sharedState())) return;
  if (stateOf(entry) != PERMANENT) atomic.store<u64>(entry, (atomic.load<u64>(entry) & 0xff00) | <u64>state);
  store<u64>(entry, 0, ASKED);
  store<u32>(entry, 0, TRIES);
  unlock(sharedState());
}

/** When the entry may be asked for again. */
export function dueOf(entry: usize): u64 {
  const asked = atomic.load<u64>(entry + ASKED);
  return asked == 0 ? 0 : asked + params.retransmit;
}

/** Takes the turn to ask, which one worker has at a time. @returns false: it is not time yet, or another has it */
export function takeTurn(entry: usize): bool {
  const asked = atomic.load<u64>(entry + ASKED);
  if (asked != 0 && now() - asked < params.retransmit) return false;
  return atomic.cmpxchg<u64>(entry + ASKED, asked, now()) == asked;
}

/** Counts a try. @returns false: there have been as many as may be */
export function tryAgain(entry: usize): bool {
  const tries = load<u32>(entry, TRIES);
  if (tries >= <u32>params.tries) return false;
  store<u32>(entry, tries + 1, TRIES);
  return true;
}
