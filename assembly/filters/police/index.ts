// A policer: each packet is metered and coloured, and its colour decides. With `per`, each prefix or flow has a meter of its
// own, in a table that all workers share: sets of eight records, each set with a lock. A record's place is taken by another
// only when its buckets are full again, so forgetting it changes nothing. Records outlive other rates.
//
//    0       8       64                 128     192                            448
//   +-------+-------+------------------+-------+-----------------+-----------+
//   | lock  | seed  | the common record| lock  | 8 records       |  ... sets |
//   +-------+-------+------------------+-------+-----------------+-----------+

import {
  Batch,
  counter,
  Ipv4,
  Ipv6,
  now,
  OUTPUT_NEXT,
  Output,
  Packet,
  random,
  sharedState,
} from "pktflow/assembly";
import { flowKey, prefixKey } from "pktflow/assembly/lib/flow-key";
import { lock, unlock } from "pktflow/assembly/lib/spin-lock";
import { colour, fill, GREEN, KEY, KIND, kind, RECORD, RED, readRates, start, YELLOW } from "./meter";
import { Action, ColorAware, Counters, Per, params } from "./params";

const SEED: usize = 8;
const COMMON: usize = 64;
const SETS: usize = 128;
const SET_RECORDS: usize = 64;
const WAYS: u32 = 8;
const SET: usize = SET_RECORDS + <usize>WAYS * RECORD;

let per: u8 = 0;
let aware: u8 = 0;
let mask: u32 = 0;
let seed: u64 = 0;
/** Of records that are metered as it is now. */
let metered: u64 = 0;

export function sharedStateSize(_: usize): usize {
  return SETS + <usize>sets() * SET;
}

/** A power of two. */
function sets(): u32 {
  if (params.per == Per.filter) return 0;
  const wanted = (params.entries + WAYS - 1) / WAYS;
  return wanted <= 1 ? 1 : (<u32>1) << (32 - clz<u32>(wanted - 1));
}

export function initShared(): void {
  readRates();
  store<u64>(sharedState(), random(), SEED);
  start(sharedState() + COMMON, kind(), now());
}

export function init(): void {
  per = params.per;
  mask = sets() - 1;
  seed = load<u64>(sharedState(), SEED);
  readParams();
}

/** Other rates, for the buckets that there are. */
export function reload(): void {
  readParams();
}

function readParams(): void {
  readRates();
  metered = kind();
  aware = params.colorAware;
}

export function batch(b: Batch): void {
  const time = now();
  if (per != Per.filter) {
    for (let i: u32 = 0; i < b.count; i++) police(b.at(i), time);
    return;
  }
  // One bucket for all: its lock is taken once.
  const shared = sharedState();
  const isLocked = lock(shared);
  fillCommon(shared + COMMON, time);
  for (let i: u32 = 0; i < b.count; i++) {
    const p = b.at(i);
    p.output = leave(p, meter(p, shared + COMMON));
  }
  if (isLocked) unlock(shared);
}

function police(p: Packet, time: u64): void {
  const key =
    per == Per.flow
      ? flowKey(p, seed)
      : prefixKey(p, per == Per.to ? 1 : 0, params.prefix4, params.prefix6, seed);
  // Its place is told by its upper bits.
  const set = sharedState() + SETS + <usize>(<u32>(key >> 32) & mask) * SET;
  if (lock(set)) {
    const record = find(set + SET_RECORDS, (key & ~KIND) | metered, time);
    if (record != 0) {
      const colour = meter(p, record);
      unlock(set);
      p.output = leave(p, colour);
      return;
    }
    unlock(set);
  }
  counter(Counters.crowded).add(p.datagrams);
  const shared = sharedState();
  const isLocked = lock(shared);
  fillCommon(shared + COMMON, time);
  p.output = leave(p, meter(p, shared + COMMON));
  if (isLocked) unlock(shared);
}

/** What is metered otherwise than before begins anew. */
function fillCommon(record: usize, time: u64): void {
  if (load<u64>(record, KEY) == metered) fill(record, time);
  else start(record, metered, time);
}

/** The key's record, filled, or one that can be spared; 0: none can. */
function find(first: usize, key: u64, time: u64): usize {
  const end = first + <usize>WAYS * RECORD;
  for (let record = first; record < end; record += RECORD) {
    if (load<u64>(record, KEY) != key) continue;
    fill(record, time);
    return record;
  }
  for (let record = first; record < end; record += RECORD) {
    // Tokens of another kind: nobody finds them any more.
    if ((load<u64>(record, KEY) & KIND) == metered && !fill(record, time)) continue;
    start(record, key, time);
    return record;
  }
  return 0;
}

/** Its colour, counted. */
function meter(p: Packet, record: usize): u32 {
  let bytes: u32 = p.isIp ? <u32>(p.ipEnd - p.ip) : p.length;
  let first = bytes;
  const packets = p.datagrams;
  if (packets > 1) {
    const headers = <u32>p.payload - <u32>p.l3;
    first = headers + p.vnetGsoSize;
    bytes += (packets - 1) * headers;
  }
  const is = colour(record, first, bytes, packets, aware == ColorAware.no ? GREEN : before(p));
  counter(Counters.greenBytes + is).add(bytes);
  counter(Counters.green + is).add(packets);
  return is;
}

/** The colour that it came with. */
function before(p: Packet): u32 {
  if (aware == ColorAware.mark) return p.mark == 1 ? YELLOW : p.mark == 2 ? RED : GREEN;
  if (!p.isIp) return GREEN;
  const dscp = <u32>(p.isIpv4 ? Ipv4.of(p).tos : Ipv6.of(p).trafficClass) >> 2;
  // AFxy is 8x + 2y (RFC 2597): class 1 to 4, drop precedence 1 to 3.
  const precedence = (dscp >> 1) & 3;
  const isAssured = dscp >= 8 && dscp < 40 && (dscp & 1) == 0 && precedence != 0;
  return isAssured ? precedence - 1 : GREEN;
}

function leave(p: Packet, colour: u32): Output {
  if (colour == GREEN) return act(p, params.green);
  return act(p, colour == YELLOW ? params.yellow : params.red);
}

function act(p: Packet, action: Action): Output {
  if (!action.isMark) return action.output;
  p.mark = action.mark;
  return OUTPUT_NEXT;
}
