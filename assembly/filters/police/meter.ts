// The meters of RFC 2697 (one rate, two bursts) and RFC 2698 (two rates), each on a record of 32 bytes that all workers
// share, under a lock that the caller holds.
//
//    0       8         16        24       32
//   +-------+---------+---------+--------+
//   | key   | Tc      | Te, Tp  | last   |     key, 0: unused. Credits, i64: tokens times 10^9, so that a rate a second
//   +-------+---------+---------+--------+     times ns is exact. last: ns, until when tokens have been filled in
//
// Other rates and burst sizes, which a reload brings, hold for the tokens that there are: what is over a smaller burst runs over.
// Tokens of another unit, or of another second bucket, say nothing: the key's lowest bits say which they are (kind()).
//
// A token is a bit or a packet. A super-packet stands for many packets that follow each other at once: it has the colour of
// the first, and takes tokens for all; what is then missing is owed. So the rate holds, and a burst is exceeded by less than
// one super-packet.

import { params, RateUnit } from "./params";

export const RECORD: usize = 32;
export const KEY: usize = 0;
export const KIND: u64 = 7;
const COMMITTED: usize = 8;
/** The excess bucket, or the peak bucket. */
const SECOND: usize = 16;
const LAST: usize = 24;

export const GREEN: u32 = 0;
export const YELLOW: u32 = 1;
export const RED: u32 = 2;

const TOKEN: i64 = 1_000_000_000;
/** No bucket holds as much: whoever has not been filled for so long is full. */
const MOST: u64 = 1 << 62;
const LEAST_BURST_BITS: u64 = 65536 * 8;
const LEAST_BURST_PACKETS: u64 = 64;

let cir: u64 = 0;
let pir: u64 = 0;
let inBits: bool = false;
let secondInBits: bool = false;
let fullCommitted: i64 = 0;
let fullSecond: i64 = 0;
/** ns after which a bucket is full, however empty it was. */
let longest: u64 = 0;
let longestSecond: u64 = 0;

/** Reads the parameters. */
export function readRates(): void {
  cir = params.cir.value;
  pir = params.pir.value;
  inBits = params.cir.unit == RateUnit.bit;
  secondInBits = pir != 0 ? params.pir.unit == RateUnit.bit : inBits;
  fullCommitted = burst(params.cbs, cir, inBits);
  fullSecond = pir != 0 ? burst(params.pbs, pir, secondInBits) : tokens(params.ebs, inBits);
  longest = cir == 0 ? u64.MAX_VALUE : MOST / cir;
  longestSecond = pir == 0 ? u64.MAX_VALUE : MOST / pir;
}

/** Which buckets and units there are, 1 to 6: the lowest bits of a record's key, KIND. */
export function kind(): u64 {
  if (pir == 0) return inBits ? 1 : 2;
  return <u64>(inBits ? 3 : 4) + <u64>(secondInBits ? 0 : 2);
}

function tokens(size: u64, bits: bool): i64 {
  return <i64>(bits ? size << 3 : size) * TOKEN;
}

function burst(size: u64, rate: u64, bits: bool): i64 {
  if (size != 0) return tokens(size, bits);
  const least = bits ? LEAST_BURST_BITS : LEAST_BURST_PACKETS;
  return <i64>min<u64>(max<u64>(rate / 10, least), 4_000_000_000) * TOKEN;
}

/** A record whose buckets are full. */
export function start(record: usize, key: u64, now: u64): void {
  store<u64>(record, key, KEY);
  store<i64>(record, fullCommitted, COMMITTED);
  store<i64>(record, fullSecond, SECOND);
  store<u64>(record, now, LAST);
}

/** Fills in what has come since. @returns whether the buckets are full, so that nothing would be lost with the record */
export function fill(record: usize, now: u64): bool {
  const last = load<u64>(record, LAST);
  // Workers' clocks are alike, but their batches do not come in order.
  const elapsed = now > last ? now - last : 0;
  if (elapsed != 0) store<u64>(record, now, LAST);
  let committed = load<i64>(record, COMMITTED);
  let second = load<i64>(record, SECOND);
  const inflow = elapsed >= longest ? <i64>MOST : <i64>(elapsed * cir);
  committed += inflow;
  let over: i64 = 0;
  if (committed > fullCommitted) {
    over = committed - fullCommitted;
    committed = fullCommitted;
  }
  if (pir != 0) over = elapsed >= longestSecond ? <i64>MOST : <i64>(elapsed * pir);
  second = min<i64>(fullSecond, second + over);
  store<i64>(record, committed, COMMITTED);
  store<i64>(record, second, SECOND);
  return committed == fullCommitted && second == fullSecond;
}

/**
 * The colour of a packet, whose tokens are taken. The record has been filled.
 * @param first bytes of it, or of the first packet of a super-packet; @param bytes of all; @param packets in all
 * @param before the colour it came with, GREEN where the meter is colour-blind
 */
export function colour(record: usize, first: u32, bytes: u32, packets: u32, before: u32): u32 {
  const committed = load<i64>(record, COMMITTED);
  const second = load<i64>(record, SECOND);
  const needs = price(first, 1, inBits);
  const takes = price(bytes, packets, inBits);
  if (pir == 0) {
    if (before == GREEN && committed >= needs) {
      store<i64>(record, committed - takes, COMMITTED);
      return GREEN;
    }
    if (before <= YELLOW && second >= needs) {
      store<i64>(record, second - takes, SECOND);
      return YELLOW;
    }
    return RED;
  }
  if (before == RED || second < price(first, 1, secondInBits)) return RED;
  store<i64>(record, second - price(bytes, packets, secondInBits), SECOND);
  if (before == YELLOW || committed < needs) return YELLOW;
  store<i64>(record, committed - takes, COMMITTED);
  return GREEN;
}

function price(bytes: u32, packets: u32, bits: bool): i64 {
  return (bits ? (<i64>bytes) << 3 : <i64>packets) * TOKEN;
}
