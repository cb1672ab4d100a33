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
  counter,
  Icmp,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MALFORMED,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_FLAGS,
  Tcp,
  workerState,
} from "pktflow/assembly";
import {
  SESSION_CHANGES,
  SESSION_GENERATION,
  SESSION_IN,
  SESSION_LIVE,
  SESSION_OUT,
  SESSION_SUBSCRIBER,
  sessionOf,
  setTimer,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { isSteady, trackInbound, trackOutbound } from "pktflow/assembly/lib/session-tcp";
import { SUBSCRIBER_HALF_OPEN } from "pktflow/assembly/lib/subscribers";
import { TupleIndex } from "pktflow/assembly/lib/tuple-index";
import { isError, isReply, isRequest, translateError } from "./error";
import { formatForwards } from "./forward";
import { follow, keepFirst, OUTPUT_PENDING, readdress } from "./fragments";
import { enter, leave } from "./one-to-one";
import { Counters, params } from "./params";
import { INWARDS, OUTWARDS, portsOf, Rewrite, translate } from "./rewrite";
import {
  findIn,
  isMapped,
  openIn,
  openOut,
  reapInTurn,
  refusalIn,
  seenAddresses,
  seenChanges,
  seenPorts,
  seenRecord,
  seenTimer,
} from "./sessions";
import {
  allot,
  allottedOutside,
  firstInside,
  firstMask,
  firstOutside,
  format,
  hasMoreInsides,
  hasMoreOutsides,
  inAddresses,
  inPorts,
  isInside,
  isTranslated,
  KIND_IN,
  open,
  openOutsides,
  outAddresses,
  outPorts,
  outsideIndex,
  pairs,
  poolAddress,
  poolOf,
  sessions,
  settingsSize,
  subscribers,
} from "./settings";

const LINE: usize = 0;
const TUPLE: usize = 0;
const HASH: usize = 4;
const ADDRESSES: usize = 8;
const PORTS: usize = 16;
const KEPT: usize = 32;
const SLOW: u32 = 0;
const UNTOUCHED: u32 = 1;

let kept: usize = 0;
let touched: u32 = 0;
let pending: bool = false;

export function sharedStateSize(_at: usize): usize {
  return settingsSize();
}

export function initShared(): void {
  format();
  open();
  formatForwards();
}

export function init(): void {
  open();
  kept = workerState();
  openOutsides(kept + BATCH_PACKETS * KEPT);
}

export function batch(b: Batch): void {
  const count = b.count;
  classify(b, count);
  touch(count);
  seek(count);
  touch(count);
  finish(b, count);
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
  if (pending) finishFragments(b, count);
}

/** Those whose first fragment came behind them. Others that come before it would have to be held. */
function finishFragments(b: Batch, count: u32): void {
  pending = false;
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    if (p.output != OUTPUT_PENDING) continue;
    const output = follow(p);
    p.output = output == OUTPUT_PENDING ? drop(Counters.fragment) : output;
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

/** Used now. Seldom: a session's time is kept in units. */
function refresh(way: usize, record: usize, timer: u64, units: u32): void {
  if (way == OUTWARDS || params.inboundRefresh) setTimer(record, timer, <u8>timer, <u8>(timer >> 8), units);
}

/** Any packet, with all that may be wrong with it. */
function slow(p: Packet): Output {
  // An address that cannot be read may be an inside one, which must not leak.
  if (!p.isIpv4) return p.isMalformed && !p.isIpv6 ? drop(Counters.malformed) : OUTPUT_NEXT;
  if (pairs == 0) return dynamic(p, isInside(load<u32>(p.ip, IPV4_SOURCE)));
  // One that has an outside address of its own is outside from here on.
  const left = leave(p);
  const fromInside = !left && isInside(load<u32>(p.ip, IPV4_SOURCE));
  const toOutside = outsideIndex(load<u32>(p.ip, IPV4_DESTINATION)) >= 0;
  const output = dynamic(p, fromInside);
  if (output != OUTPUT_NEXT) return output;
  // From one side of the translator back to the same.
  const entered = enter(p);
  return (left && toOutside) || (entered && (left || fromInside)) ? params.hairpin : OUTPUT_NEXT;
}

function dynamic(p: Packet, fromInside: bool): Output {
  const ip = p.ip;
  const toOutside = outsideIndex(load<u32>(ip, IPV4_DESTINATION));
  if (!fromInside && toOutside < 0) return OUTPUT_NEXT;
  const protocol = p.protocol;
  if (!p.hasTransport) {
    if (p.isMalformed) return drop(Counters.malformed);
    return isTranslated(protocol)
      ? followOrGuess(p, fromInside, toOutside)
      : drop(Counters.unsupportedProtocol);
  }
  if (!isTranslated(protocol)) return drop(Counters.unsupportedProtocol);
  if (!p.isFragment) return whole(p, protocol, fromInside, toOutside);
  const came = addressesOf(p);
  const output = whole(p, protocol, fromInside, toOutside);
  keepFirst(p, came, output);
  return output;
}

/** A packet that has ports, or an identifier; or an ICMP error. */
function whole(p: Packet, protocol: u8, fromInside: bool, toOutside: i32): Output {
  if (protocol == PROTOCOL_ICMP && !isRequest(Icmp.of(p).type)) {
    const type = Icmp.of(p).type;
    if (isError(type)) return translateError(p, fromInside, toOutside);
    if (!isReply(type)) return drop(Counters.unsupportedProtocol);
    return fromInside ? drop(Counters.noMapping) : inbound(p, protocol, <u32>toOutside);
  }
  if (fromInside) return toOutside < 0 ? outbound(p, protocol) : hairpin(p, protocol, <u32>toOutside);
  return protocol == PROTOCOL_ICMP ? drop(Counters.noMapping) : inbound(p, protocol, <u32>toOutside);
}

/** Ends sessions whose time is over; the workers share the table out between them. */
export function tick(): void {
  reapInTurn();
}

/**
 * A fragment without ports. One to the outside world needs no more than the outside address, which is the same for all that
 * its sender sends (paired pooling), so it need not wait for its first.
 */
function followOrGuess(p: Packet, fromInside: bool, toOutside: i32): Output {
  const output = follow(p);
  if (output != OUTPUT_PENDING || !fromInside || toOutside >= 0) return output;
  const ip = p.ip;
  if (!allot(load<u32>(ip, IPV4_SOURCE))) return drop(Counters.noPort);
  readdress(p, poolAddress(poolOf(allottedOutside, PROTOCOL_TCP)), load<u32>(ip, IPV4_DESTINATION));
  counter(Counters.fragments).add(1);
  return OUTPUT_NEXT;
}

function outbound(p: Packet, protocol: u8): Output {
  if (!openOut(protocol, addressesOf(p), portsOf(p.transport, protocol, OUTWARDS))) return OUTPUT_DROP;
  pass(p, protocol, OUTWARDS);
  return OUTPUT_NEXT;
}

function inbound(p: Packet, protocol: u8, outside: u32): Output {
  const ports = portsOf(p.transport, protocol, INWARDS);
  const addresses = addressesOf(p);
  if (!findIn(protocol, addresses, ports)) {
    if (!isMapped(outside, protocol, ports >> 16)) return drop(Counters.noMapping);
    if (!openIn(protocol, addresses, ports, outside)) return drop(refusalIn());
  }
  pass(p, protocol, INWARDS);
  return OUTPUT_NEXT;
}

/** RFC 4787 REQ-9: both hosts see each other's outside endpoint; both sides' sessions must be there. */
function hairpin(p: Packet, protocol: u8, outside: u32): Output {
  // A packet to nobody makes no mapping. A query has no endpoint to go to.
  if (protocol == PROTOCOL_ICMP) return drop(Counters.noMapping);
  const ports = portsOf(p.transport, protocol, OUTWARDS);
  if (!isMapped(outside, protocol, ports >> 16)) return drop(Counters.noMapping);
  // Made even if the other side does not let the packet in: that is how both come to (RFC 5128, 3.3, hole punching).
  if (outbound(p, protocol) == OUTPUT_DROP) return OUTPUT_DROP;
  const into = portsOf(p.transport, protocol, INWARDS);
  if (!findIn(protocol, addressesOf(p), into) && !openIn(protocol, addressesOf(p), into, outside)) {
    return drop(refusalIn());
  }
  pass(p, protocol, INWARDS);
  return params.hairpin;
}

/** Translates a packet by the session seen last, which notes that. */
function pass(p: Packet, protocol: u8, way: usize): void {
  const units = unitsOf(now());
  const timer = seenTimer();
  if (protocol == PROTOCOL_TCP) track(Tcp.of(p).flags, way, seenRecord(), timer, units);
  else refresh(way, seenRecord(), timer, units);
  translate(p, protocol, way, seenAddresses(), seenPorts(), seenChanges());
}

function track(segment: u8, way: usize, record: usize, timer: u64, units: u32): void {
  if (way == OUTWARDS) {
    trackOutbound(segment, record, timer, units);
  } else if (trackInbound(segment, record, timer, units, params.inboundRefresh)) {
    subscribers.give(load<u32>(record, SESSION_SUBSCRIBER), SUBSCRIBER_HALF_OPEN);
  }
}

/** Source and destination as they lie in the packet. */
function addressesOf(p: Packet): u64 {
  return load<u64>(p.ip, IPV4_SOURCE);
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
