// Source NAT with ports. In: packets of both directions. Out: those from inside with an outside source endpoint, those
// to an outside endpoint with the inside destination it stands for, anything else as it came.
//
// A batch goes through in stages, so that what each packet waits for in memory is waited for at once: what is its tuple, and
// in which line of the index is that looked for; which session may it be; is it, and then the packet is rewritten. What this
// does not find, and all that is not a whole TCP or UDP packet, takes its turn through slow(), which makes sessions. All lie
// in the state that all workers share, as a reply may arrive on any worker: lib/session-table.ts. Most packets have no need
// of all this, for what their flow becomes is remembered: flow-cache.ts.

import {
  BATCH_PACKETS,
  Batch,
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
  SESSION_IN,
  SESSION_LIVE,
  SESSION_OUT,
  SESSION_TIMER,
  sessionOf,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { isSteady } from "pktflow/assembly/lib/session-tcp";
import { TupleIndex } from "pktflow/assembly/lib/tuple-index";
import { approach, forget } from "./approach";
import { reapInTurn } from "./expiry";
import {
  flowCacheSize,
  isRemembering,
  missed,
  openFlowCache,
  remember,
  renew,
  rests,
  translateKnown,
} from "./flow-cache";
import { format, setTimeouts, settingsSize } from "./format";
import { formatForwards } from "./forward";
import { followHeld, followLater, isWaiting, OUTPUT_PENDING, openWaiting } from "./fragments";
import {
  ADDRESS,
  ADDRESSES,
  CHANGES,
  FORESEEN,
  HASH,
  KEPT,
  LINE,
  NEAR,
  ONCE,
  PORT,
  PORTS,
  SLOW,
  TRANSLATED_IN,
  TRANSLATED_OUT,
  TUPLE,
  UNTOUCHED,
} from "./kept";
import { foreseePort } from "./mappings";
import { params } from "./params";
import { INWARDS, OUTWARDS, Rewrite } from "./rewrite";
import {
  firstInside,
  firstMask,
  firstOutside,
  hasMoreInsides,
  hasMoreOutsides,
  hasSpecial,
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
import { isSpecial } from "./special";
import { openStashes } from "./stash";
import { refresh, track } from "./usage";

/** Of the worker's state: packets kept, outside addresses, then fragments that wait. */
const OUTSIDES: usize = <usize>BATCH_PACKETS * KEPT;
const WAITING: usize = OUTSIDES + AddressIndex.BYTES;
const PLAIN: u32 = PACKET_FLAG_IPV4 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED;

let kept: usize = 0;
let touched: u32 = 0;
let pending: bool = false;
/** Has approach() been where the packets at hand will go? */
let foreseen: bool = false;

export function sharedStateSize(_at: usize): usize {
  return settingsSize();
}

export function workerStateSize(_at: usize): usize {
  return flowsAt() + flowCacheSize();
}

function flowsAt(): usize {
  return (WAITING + FragmentWait.bytes(params.fragmentsHeld) + 63) & ~63;
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
  openStashes();
  openWaiting(kept + WAITING);
  openFlowCache(kept + flowsAt());
}

/** Mappings and sessions stay; what of them has lived longer than by the new timeouts ends. All else is read where it is used. */
export function reload(): void {
  setTimeouts(sessions);
}

export function batch(b: Batch): void {
  const count = b.count;
  renew(sessions.ended, unitsOf(now()));
  if (rests()) {
    passStages(b, count);
  } else {
    const left = translateKnown(b, count);
    if (left != 0) passStages(changetype<Batch>(missed), left);
  }
  if (pending) {
    pending = false;
    followLater(b, count);
  }
  if (isWaiting) followHeld();
}

function passStages(b: Batch, count: u32): void {
  classify(b, count);
  touch(count);
  const strangers = seek(count);
  touch(count);
  gather(b, count);
  foreseen = strangers > 1;
  if (foreseen) approach(kept, count);
  finish(b, count);
}

/** Whose tuples are looked for, and in which line of the index. Conditions are nested, for the compiler makes numbers of && and ||. */
function classify(b: Batch, count: u32): void {
  const inside = firstInside;
  const mask = firstMask;
  const outside = firstOutside;
  const index = sessions.index;
  const lines = index.lines;
  const shift = index.shift;
  const special = hasSpecial;
  const s0 = index.seed(0);
  const s1 = index.seed(1);
  const s2 = index.seed(2);
  const s3 = index.seed(3);
  const s4 = index.seed(4);
  let at = kept;
  for (let i: u32 = 0; i < count; i++, at += KEPT) {
    const p = b.at(i);
    const protocol = <u32>p.protocol;
    store<u32>(at, SLOW, TUPLE);
    store<u64>(at, 0, PORTS);
    if ((p.flags & PLAIN) != PACKET_FLAG_IPV4) continue;
    const l4 = <usize>p.l4;
    if (l4 == 0) continue;
    if (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP) continue;
    const data = <usize>p.data;
    let a = load<u64>(data + <usize>p.l3, IPV4_SOURCE);
    let t = <u64>load<u32>(data + l4);
    let fromInside = (<u32>a & mask) == inside;
    if (!fromInside && hasMoreInsides) fromInside = isInside(<u32>a);
    let toOutside = <u32>(a >> 32) == outside;
    if (!toOutside && hasMoreOutsides) toOutside = outsideIndex(<u32>(a >> 32)) >= 0;
    if (special) {
      if (isSpecial(p.mark, a, fromInside)) continue;
    }
    if (fromInside) {
      if (toOutside) continue;
      a &= outAddresses;
      t = (t & outPorts) | ((<u64>protocol) << 32);
    } else if (toOutside) {
      a &= inAddresses;
      t = (t & inPorts) | ((<u64>protocol) << 32) | KIND_IN;
    } else {
      if (pairs == 0) store<u32>(at, UNTOUCHED, TUPLE);
      continue;
    }
    const hash = TupleIndex.hashOf(a, t, s0, s1, s2, s3, s4);
    store<u32>(at, <u32>(lines + ((<usize>(hash >> shift)) << 6)), LINE);
    store<u32>(at, hash, HASH);
    store<u64>(at, a, ADDRESSES);
    store<u64>(at, t, PORTS);
  }
}

/** Nothing but to have what lies there come nearer, all of it at once. Four a round; what is kept beyond `count` is old. */
function touch(count: u32): void {
  let at = kept;
  const end = at + <usize>count * KEPT;
  let seen: u32 = 0;
  for (; at < end; at += 4 * KEPT) {
    seen ^= load<u32>(<usize>load<u32>(at, LINE)) ^ load<u32>(<usize>load<u32>(at, LINE + KEPT));
    seen ^=
      load<u32>(<usize>load<u32>(at, LINE + 2 * KEPT)) ^ load<u32>(<usize>load<u32>(at, LINE + 3 * KEPT));
  }
  touched = seen;
}

/** Which tuple of its line each may be. @returns how many have none */
function seek(count: u32): u32 {
  const index = sessions.index;
  let strangers: u32 = 0;
  let at = kept;
  const end = at + <usize>count * KEPT;
  for (; at < end; at += KEPT) {
    const line = <usize>load<u32>(at, LINE);
    if (line <= UNTOUCHED) continue;
    const tuple = index.firstLike(line, load<u32>(at, HASH));
    store<u32>(at, <u32>tuple, TUPLE);
    if (tuple == 0) strangers++;
  }
  return strangers;
}

/**
 * Keeps of each packet whose session was found what that makes of it; the others are SLOW. Plain loads, for those of
 * atomics are looked at for their alignment, so what was read of a session that has ended meanwhile is refused at the end:
 * all of it, as that is seldom.
 */
function gather(b: Batch, count: u32): void {
  const units = unitsOf(now());
  const ended = sessions.ended;
  let at = kept;
  for (let i: u32 = 0; i < count; i++, at += KEPT) {
    const tuple = <usize>load<u32>(at, TUPLE);
    if (tuple <= UNTOUCHED) continue;
    const record = sessionOf(tuple);
    const timer = load<u64>(record, SESSION_TIMER);
    const ports = load<u64>(at, PORTS);
    const a = load<u64>(tuple) ^ load<u64>(at, ADDRESSES);
    const t = load<u64>(tuple, 8) ^ ports;
    const way = tuple & INWARDS;
    store<u32>(at, SLOW, TUPLE);
    if ((a | t | (~timer & SESSION_LIVE)) != 0) continue;
    let once: u32 = 0;
    if (<u32>(timer >> 32) != units || (<u32>(ports >> 32) & 0xff) == PROTOCOL_TCP) {
      const noted = note(b.at(i), record, way, units);
      if (noted < 0) continue;
      once = <u32>noted;
    }
    const changes = load<u32>(record, SESSION_CHANGES);
    // Outwards the new source is the other tuple's destination, inwards the new destination its source.
    if (way == OUTWARDS) {
      store<u32>(at, load<u32>(record, SESSION_IN + 4), ADDRESS);
      store<u32>(at, <u32>load<u16>(record, SESSION_IN + 10), PORT);
      store<u32>(at, changes, CHANGES);
      store<u32>(at, TRANSLATED_OUT + once, TUPLE);
    } else {
      store<u32>(at, load<u32>(record, SESSION_OUT), ADDRESS);
      store<u32>(at, <u32>load<u16>(record, SESSION_OUT + 8), PORT);
      store<u32>(at, ~changes, CHANGES);
      store<u32>(at, TRANSLATED_IN + once, TUPLE);
    }
  }
  // What was read above has been read before the question: a store that releases stands between them (Armv8's order of
  // LDAR behind STLR; x86 has it anyway).
  atomic.store<u32>(kept, count, NEAR);
  if (sessions.ended != ended) refuse(count);
}

function refuse(count: u32): void {
  const end = kept + <usize>count * KEPT;
  for (let at = kept; at < end; at += KEPT) {
    if (load<u32>(at, TUPLE) == UNTOUCHED) continue;
    store<u32>(at, SLOW, TUPLE);
    // What stands in their place is no longer what the packet has.
    store<u64>(at, 0, PORTS);
  }
}

/** Notes in a session that a packet uses it. @returns below 0: its time is over, or it is another one's by now; ONCE, or 0 */
function note(p: Packet, record: usize, way: usize, units: u32): i32 {
  const timer = timerOf(record);
  const isNow = <u32>(timer >> 32) == units;
  if ((timer & SESSION_LIVE) == 0 || (!isNow && sessions.isExpired(timer, units))) return -1;
  if (p.protocol == PROTOCOL_TCP) {
    const segment = load<u8>(p.transport, TCP_FLAGS);
    if (!isSteady(segment, timer)) {
      track(segment, way, record, timer, units);
      return ONCE;
    }
  }
  if (!isNow) refresh(way, record, timer, units);
  return 0;
}

function finish(b: Batch, count: u32): void {
  let at = kept;
  for (let i: u32 = 0; i < count; i++, at += KEPT) {
    const p = b.at(i);
    const found = load<u32>(at, TUPLE);
    let output = OUTPUT_NEXT;
    if (found > UNTOUCHED) Fast.translate(p, at, found);
    else if (found == SLOW) {
      if (foreseen) foreseePort(load<i32>(at, FORESEEN));
      output = slow(p);
    }
    p.output = output;
    if (output == OUTPUT_PENDING) pending = true;
  }
  if (foreseen) forget();
}

/** For its one method, which finish() has in line: a function that is called twice would be left out of it. */
class Fast {
  /** Puts into a packet what gather() kept of its session. */
  @inline static translate(p: Packet, at: usize, found: u32): void {
    const data = <usize>p.data;
    const ip = data + <usize>p.l3;
    const transport = data + <usize>p.l4;
    const address = load<u32>(at, ADDRESS);
    const port = load<u16>(at, PORT);
    const changes = load<u32>(at, CHANGES);
    const protocol = p.protocol;
    if (isRemembering && found < ONCE + TRANSLATED_OUT) {
      const pair = load<u64>(ip, IPV4_SOURCE);
      remember(pair, load<u32>(transport), protocol, (found & 1) != 0, address, port, changes);
    }
    const way = (found & 1) == 0 ? OUTWARDS : INWARDS;
    Rewrite.ports(p, ip, transport, protocol, way, address, port, changes);
  }
}

export function tick(): void {
  reapInTurn();
}

/** Fragments that wait have waited long enough, or their first one may have come to another worker. */
export function wake(): void {
  followHeld();
}
