// Source NAT with ports. In: packets of both directions. Out: those from inside with an outside source endpoint, those
// to an outside endpoint with the inside destination it stands for, anything else as it came.
//
// A batch goes through in stages, so that what each packet waits for in memory is waited for at once: what is its tuple, and
// in which line of the index is that looked for; which session may it be; is it, and then the packet is rewritten. What this
// does not find, and all that is not a whole TCP or UDP packet, takes its turn through slow(), which makes sessions. All lie
// in the state that all workers share, as a reply may arrive on any worker: lib/session-table.ts.
//
//    what is kept of a packet between the stages, 32 bytes
//    0       4       8          16       24      32
//   +-------+-------+----------+--------+-------+         line: address of the one, or UNTOUCHED or SLOW; then
//   | line  | hash  | addresses| ports, |       |         tuple: address of the one that it may be
//   |       |       |          | kind   |       |
//   +-------+-------+----------+--------+-------+

import {
  BATCH_PACKETS,
  Batch,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  now,
  OUTPUT_NEXT,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MALFORMED,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_FLAGS,
  workerState,
} from "pktflow/assembly";
import { AddressIndex } from "pktflow/assembly/lib/address-index";
import { FragmentWait } from "pktflow/assembly/lib/fragment-wait";
import {
  SESSION_CHANGES,
  SESSION_GENERATION,
  SESSION_IN,
  SESSION_LIVE,
  SESSION_OUT,
  sessionOf,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { isSteady } from "pktflow/assembly/lib/session-tcp";
import { TupleIndex } from "pktflow/assembly/lib/tuple-index";
import { reapInTurn } from "./expiry";
import { format, settingsSize } from "./format";
import { formatForwards } from "./forward";
import { followHeld, followLater, isWaiting, OUTPUT_PENDING, openWaiting } from "./fragments";
import { params } from "./params";
import { INWARDS, OUTWARDS, Rewrite } from "./rewrite";
import {
  firstInside,
  firstMask,
  firstOutside,
  hasMoreInsides,
  hasMoreOutsides,
  inAddresses,
  inPorts,
  isInside,
  KIND_IN,
  open,
  openOutsides,
  outAddresses,
  outPorts,
  outsideIndex,
  pairs,
  sessions,
} from "./settings";
import { slow } from "./slow";
import { refresh, track } from "./usage";

const LINE: usize = 0;
const TUPLE: usize = 0;
const HASH: usize = 4;
const ADDRESSES: usize = 8;
const PORTS: usize = 16;
const KEPT: usize = 32;
/** Of the worker's state: packets kept, outside addresses, then fragments that wait. */
const OUTSIDES: usize = <usize>BATCH_PACKETS * KEPT;
const WAITING: usize = OUTSIDES + AddressIndex.BYTES;
const SLOW: u32 = 0;
const UNTOUCHED: u32 = 1;

let kept: usize = 0;
let touched: u32 = 0;
let pending: bool = false;

export function sharedStateSize(_at: usize): usize {
  return settingsSize();
}

export function workerStateSize(_at: usize): usize {
  return WAITING + FragmentWait.bytes(params.fragmentsHeld);
}

export function initShared(): void {
  format();
  open();
  formatForwards();
}

export function init(): void {
  open();
  kept = workerState();
  openOutsides(kept + OUTSIDES);
  openWaiting(kept + WAITING);
}

export function batch(b: Batch): void {
  const count = b.count;
  classify(b, count);
  touch(count);
  seek(count);
  touch(count);
  finish(b, count);
  if (pending) {
    pending = false;
    followLater(b, count);
  }
  if (isWaiting) followHeld();
}

/** Whose tuples are looked for, and in which line of the index. Conditions are nested, for the compiler makes numbers of && and ||. */
function classify(b: Batch, count: u32): void {
  const inside = firstInside;
  const mask = firstMask;
  const outside = firstOutside;
  const moreInsides = hasMoreInsides;
  const moreOutsides = hasMoreOutsides;
  const hasPairs = pairs != 0;
  const index = sessions.index;
  const lines = index.lines;
  const shift = index.shift;
  const s0 = index.seed(0);
  const s1 = index.seed(1);
  const s2 = index.seed(2);
  const s3 = index.seed(3);
  const s4 = index.seed(4);
  let at = kept;
  for (let i: u32 = 0; i < count; i++, at += KEPT) {
    const p = b.at(i);
    const protocol = <u32>p.protocol;
    const flags = p.flags & (PACKET_FLAG_IPV4 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED);
    store<u32>(at, SLOW, TUPLE);
    if (flags != PACKET_FLAG_IPV4 || p.l4 == 0) continue;
    if (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP) continue;
    const ip = p.ip;
    const source = load<u32>(ip, IPV4_SOURCE);
    const destination = load<u32>(ip, IPV4_DESTINATION);
    let fromInside = (source & mask) == inside;
    if (moreInsides) fromInside = isInside(source);
    let toOutside = destination == outside;
    if (moreOutsides) toOutside = outsideIndex(destination) >= 0;
    let a = <u64>source | ((<u64>destination) << 32);
    let t = <u64>load<u32>(p.transport);
    if (fromInside) {
      if (toOutside) continue;
      a &= outAddresses;
      t = (t & outPorts) | ((<u64>protocol) << 32);
    } else if (toOutside) {
      a &= inAddresses;
      t = (t & inPorts) | ((<u64>protocol) << 32) | KIND_IN;
    } else {
      if (!hasPairs) store<u32>(at, UNTOUCHED, TUPLE);
      continue;
    }
    const hash = TupleIndex.hashOf(a, t, s0, s1, s2, s3, s4);
    store<u32>(at, <u32>(lines + ((<usize>(hash >> shift)) << 6)), LINE);
    store<u32>(at, hash, HASH);
    store<u64>(at, a, ADDRESSES);
    store<u64>(at, t, PORTS);
  }
}

/** Nothing but to have what lies there come nearer, all of it at once. */
function touch(count: u32): void {
  let at = kept;
  const end = at + <usize>count * KEPT;
  let seen: u32 = 0;
  for (; at < end; at += KEPT) seen ^= load<u32>(<usize>load<u32>(at, LINE));
  touched = seen;
}

/** Which tuple of its line each may be. */
function seek(count: u32): void {
  const records = sessions.index.records.at(0);
  let at = kept;
  const end = at + <usize>count * KEPT;
  for (; at < end; at += KEPT) {
    const line = <usize>load<u32>(at, LINE);
    if (line <= UNTOUCHED) continue;
    const hits = TupleIndex.matches(line, TupleIndex.tagOf(load<u32>(at, HASH)));
    let tuple: usize = SLOW;
    if (hits != 0) {
      const entry = <usize>TupleIndex.entryAt(line, ctz<u32>(hits));
      tuple = records + ((entry >> 1) << 6) + ((entry & 1) << 4);
    }
    store<u32>(at, <u32>tuple, TUPLE);
  }
}

function finish(b: Batch, count: u32): void {
  const units = unitsOf(now());
  let at = kept;
  for (let i: u32 = 0; i < count; i++, at += KEPT) {
    const p = b.at(i);
    const tuple = <usize>load<u32>(at, TUPLE);
    let output = OUTPUT_NEXT;
    if (tuple > UNTOUCHED) {
      if (!Fast.translate(p, at, tuple, units)) output = slow(p);
    } else if (tuple == SLOW) {
      output = slow(p);
    }
    p.output = output;
    if (output == OUTPUT_PENDING) pending = true;
  }
}

/** What finish() has in line: functions that are called twice would be left out of it. */
class Fast {
  /** Translates a packet by its session. @returns false: slow() must look after it, nothing has changed */
  @inline static translate(p: Packet, at: usize, tuple: usize, units: u32): bool {
    const record = sessionOf(tuple);
    // The generation goes first: what is read between it and the second look in note() is of one session.
    const before = timerOf(record);
    const a = load<u64>(tuple) ^ load<u64>(at, ADDRESSES);
    const t = load<u64>(tuple, 8) ^ load<u64>(at, PORTS);
    if ((a | t | (~before & SESSION_LIVE)) != 0) return false;
    const changes = atomic.load<u32>(record, SESSION_CHANGES);
    // Outwards the new source is the other tuple's destination, inwards the new destination its source.
    if ((tuple & INWARDS) == OUTWARDS) {
      const address = atomic.load<u32>(record, SESSION_IN + 4);
      const port = <u16>atomic.load<u16>(record, SESSION_IN + 10);
      if (!Fast.note(p, before, record, OUTWARDS, units)) return false;
      Rewrite.ports(p, p.ip, p.transport, p.protocol, OUTWARDS, address, port, changes);
    } else {
      const address = atomic.load<u32>(record, SESSION_OUT);
      const port = <u16>atomic.load<u16>(record, SESSION_OUT + 8);
      if (!Fast.note(p, before, record, INWARDS, units)) return false;
      Rewrite.ports(p, p.ip, p.transport, p.protocol, INWARDS, address, port, ~changes);
    }
    return true;
  }

  /** Notes in a session that a packet uses it. @returns false: what was read from it is no longer so, or its time is over */
  @inline private static note(p: Packet, before: u64, record: usize, way: usize, units: u32): bool {
    const timer = timerOf(record);
    if (((before ^ timer) & SESSION_GENERATION) != 0) return false;
    const isNow = <u32>(timer >> 32) == units;
    if (!isNow && sessions.isExpired(timer, units)) return false;
    if (p.protocol == PROTOCOL_TCP) {
      const segment = load<u8>(p.transport, TCP_FLAGS);
      if (!isSteady(segment, timer)) {
        track(segment, way, record, timer, units);
        return true;
      }
    }
    if (!isNow) refresh(way, record, timer, units);
    return true;
  }
}

export function tick(): void {
  reapInTurn();
}

/** Fragments that wait have waited long enough, or their first one may have come to another worker. */
export function wake(): void {
  followHeld();
}
