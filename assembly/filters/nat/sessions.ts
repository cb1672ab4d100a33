// Sessions are made and ended here: for packets that the fast path (index.ts) found none for. A session has a mapping, which
// has a port of an outside address (RFC 4787's terms; RFC 6146's BIB and session table).

import { counter, now, PROTOCOL_ICMP, PROTOCOL_TCP, worker, workers } from "pktflow/assembly";
import { Mapping } from "pktflow/assembly/lib/mapping-table";
import {
  CLASS_ICMP,
  CLASS_TRANSITORY,
  CLASS_UDP,
  isSame,
  SESSION_CHANGES,
  SESSION_IN,
  SESSION_LIVE,
  SESSION_MAPPING,
  SESSION_OUT,
  SESSION_SUBSCRIBER,
  sessionOf,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { COUNTED } from "pktflow/assembly/lib/session-tcp";
import { SUBSCRIBER_HALF_OPEN, SUBSCRIBER_SESSIONS } from "pktflow/assembly/lib/subscribers";
import { MAPPING_ENDED, MAPPING_MADE, SESSION_ENDED, SESSION_MADE, say } from "./events";
import { forwardAddress, forwardKey, forwardPort, target } from "./forward";
import { Counters, params } from "./params";
import { changesOf } from "./rewrite";
import {
  allot,
  allottedFirst,
  allottedLast,
  allottedOutside,
  inAddresses,
  inPorts,
  insideKey,
  KIND_IN,
  mappingAddress,
  mappingPort,
  mappings,
  outAddresses,
  outPorts,
  poolAddress,
  poolOf,
  sessions,
  subscribers,
} from "./settings";

/** Sessions looked at in a tick, and once a batch when there is no room: some 80 us and 10 us. */
const REAP_TICK: u32 = 8192;
const REAP_NO_ROOM: u32 = 1024;
/** Of one packet: it may lose its session to another worker while it looks for it. */
const TRIES: u32 = 4;

/** What makeLocked() did. AGAIN: another session came in between, or one just ended. */
const MADE: i32 = 1;
const NO_ROOM: i32 = 0;
const AGAIN: i32 = -1;

const GOLDEN_GAMMA: u64 = 0x9e3779b97f4a7c15;
const KEYED: u64 = 1 << 63;

let reapFrom: u32 = 0;
let reapedAt: u64 = 0;

// What was wrong when sessionOut() gave none: a counter.
let refusal: u32 = 0;

// The session seen last, as it was then: plain values, which stay right for the packet at hand even if another worker ends
// it meanwhile.
let record: usize = 0;
let timer: u64 = 0;
let addresses: u64 = 0;
let ports: u32 = 0;
let changes: u32 = 0;

export function seenRecord(): usize {
  return record;
}
export function seenTimer(): u64 {
  return timer;
}
/** The tuple of the other direction: what the packet becomes. */
export function seenAddresses(): u64 {
  return addresses;
}
export function seenPorts(): u32 {
  return ports;
}
export function seenChanges(): u32 {
  return changes;
}

/** The tuple of a packet from inside, without what its session does not tell apart. */
export function outTuple(protocol: u8, all: u32): u64 {
  return (<u64>all & outPorts) | ((<u64>protocol) << 32);
}
/** The same of a packet from outside. */
export function inTuple(protocol: u8, all: u32): u64 {
  return (<u64>all & inPorts) | ((<u64>protocol) << 32) | KIND_IN;
}

/** Is there a live session for a packet from inside with these addresses and ports, both as in the packet? */
export function findOut(protocol: u8, all: u64, allPorts: u32): bool {
  return look(all & outAddresses, outTuple(protocol, allPorts), SESSION_IN);
}
/** The same for one from outside. */
export function findIn(protocol: u8, all: u64, allPorts: u32): bool {
  return look(all & inAddresses, inTuple(protocol, allPorts), SESSION_OUT);
}

/** Sees the session that has a tuple, and its other one, at `other` of the record. No lock. */
function look(a: u64, b: u64, other: usize): bool {
  const tuple = sessions.find(a, b);
  if (tuple == 0) return false;
  const at = sessionOf(tuple);
  const before = timerOf(at);
  // Again, now that the generation is known.
  if (atomic.load<u64>(tuple) != a || atomic.load<u64>(tuple, 8) != b) return false;
  record = at;
  addresses = atomic.load<u64>(at + other);
  ports = atomic.load<u32>(at + other, 8);
  changes = atomic.load<u32>(at, SESSION_CHANGES);
  timer = timerOf(at);
  return isSame(before, timer) && !sessions.isExpired(timer, unitsOf(now()));
}

/**
 * The session of a packet from inside, made if there is none.
 * @returns false: there is none, and why was counted
 */
export function openOut(protocol: u8, all: u64, allPorts: u32): bool {
  if (findOut(protocol, all, allPorts)) return true;
  const key = mappingKey(protocol, all, allPorts);
  refusal = Counters.tableFull;
  for (let tries = TRIES; tries != 0; tries--) {
    const bucket = mappings.lock(key);
    if (bucket == 0) break;
    const result = makeLocked(bucket, key, protocol, all, allPorts);
    mappings.unlock(bucket);
    if (result == MADE) return true;
    if (result == AGAIN) continue;
    // No room: it is looked for, once a batch.
    if (reapedAt == now()) break;
    reapedAt = now();
    reap(reapFrom, REAP_NO_ROOM);
    reapFrom += REAP_NO_ROOM;
  }
  counter(refusal).add(1);
  return false;
}

function makeLocked(bucket: usize, key: u64, protocol: u8, all: u64, allPorts: u32): i32 {
  const a = all & outAddresses;
  const b = outTuple(protocol, allPorts);
  const tuple = sessions.find(a, b);
  if (tuple != 0) {
    // Another worker was faster; or one whose time is over was not removed yet.
    if (look(a, b, SESSION_IN)) return MADE;
    const seen = timerOf(sessionOf(tuple));
    if (!sessions.isExpired(seen, unitsOf(now())) || !endLocked(bucket, sessionOf(tuple), seen)) return AGAIN;
  }
  let mapping = mappings.find(bucket, key);
  if (changetype<usize>(mapping) == 0) {
    mapping = makeMapping(bucket, key, protocol, all, allPorts);
    if (changetype<usize>(mapping) == 0) return NO_ROOM;
  } else if (
    mapping.remoteAddress != mappingAddress(<u32>(all >> 32)) ||
    mapping.remotePort != mappingPort(allPorts >> 16)
  ) {
    // Two of 2^64 keys are the same: see mappingKey.
    refusal = Counters.noPort;
    return NO_ROOM;
  }
  const result = addSession(mapping, protocol, all, allPorts, protocol == PROTOCOL_TCP);
  if (result != MADE && mapping.sessions == 0) endMapping(bucket, mapping, <u32>all);
  return result;
}

/**
 * A new session of a mapping, seen. Needs its lock.
 * @param all, allPorts of a packet from inside
 * @param halfOpen it counts as a connection that nobody has answered
 */
function addSession(mapping: Mapping, protocol: u8, all: u64, allPorts: u32, halfOpen: bool): i32 {
  const subscriber = mapping.subscriber;
  let flags: u8 = 0;
  if (subscriber != 0) {
    refusal = Counters.overLimit;
    if (!subscribers.take(subscriber, SUBSCRIBER_SESSIONS, limit(params.subscriberSessions))) return NO_ROOM;
    if (halfOpen) {
      flags = COUNTED;
      if (!subscribers.take(subscriber, SUBSCRIBER_HALF_OPEN, limit(params.subscriberHalfOpen))) {
        subscribers.give(subscriber, SUBSCRIBER_SESSIONS);
        return NO_ROOM;
      }
    }
  }
  const made = sessions.take();
  let result = NO_ROOM;
  if (made != 0) {
    write(made, mapping, protocol, all, allPorts);
    result = sessions.publish(made, firstClass(protocol), flags, unitsOf(now())) ? MADE : AGAIN;
  }
  if (result != MADE) {
    refusal = Counters.tableFull;
    giveBack(subscriber, flags);
    return result;
  }
  record = made;
  timer = timerOf(made);
  addresses = load<u64>(made, SESSION_IN);
  ports = load<u32>(made, SESSION_IN + 8);
  changes = load<u32>(made, SESSION_CHANGES);
  if (mapping.sessions++ == 0) {
    counter(Counters.mappingsMade).add(1);
    tell(MAPPING_MADE, made, false);
  }
  counter(Counters.sessionsMade).add(1);
  tell(SESSION_MADE, made, true);
  return MADE;
}

function giveBack(subscriber: u32, flags: u8): void {
  if (subscriber == 0) return;
  subscribers.give(subscriber, SUBSCRIBER_SESSIONS);
  if ((flags & COUNTED) != 0) subscribers.give(subscriber, SUBSCRIBER_HALF_OPEN);
}

/**
 * The session of a packet from outside to a port that `forward` names, made if there is none.
 * @returns false: there is none, and `refusalIn` says why: a counter
 */
export function openIn(protocol: u8, all: u64, allPorts: u32, outside: u32): bool {
  const port = <u32>bswap<u16>(<u16>(allPorts >> 16));
  const remote = <u32>all;
  refusal = Counters.filtered;
  if (!target(protocol, outside, port, remote, allPorts & 0xffff)) return false;
  const key = forwardKey;
  // As a packet of the other direction has them.
  const turned = <u64>forwardAddress | (all << 32);
  const turnedPorts = <u32>forwardPort | (allPorts << 16);
  refusal = Counters.tableFull;
  for (let tries = TRIES; tries != 0; tries--) {
    const bucket = mappings.lock(key);
    if (bucket == 0) return false;
    const result = makeInLocked(bucket, key, protocol, all, allPorts, turned, turnedPorts);
    mappings.unlock(bucket);
    if (result == MADE) return true;
    if (result == AGAIN) continue;
    if (reapedAt == now()) return false;
    reapedAt = now();
    reap(reapFrom, REAP_NO_ROOM);
    reapFrom += REAP_NO_ROOM;
  }
  return false;
}

export function refusalIn(): u32 {
  return refusal;
}

function makeInLocked(
  bucket: usize,
  key: u64,
  protocol: u8,
  all: u64,
  allPorts: u32,
  turned: u64,
  turnedPorts: u32,
): i32 {
  if (findIn(protocol, all, allPorts)) return MADE;
  const mapping = mappings.find(bucket, key);
  if (changetype<usize>(mapping) == 0) return NO_ROOM;
  const tuple = sessions.find(all & inAddresses, inTuple(protocol, allPorts));
  if (tuple != 0) {
    const old = sessionOf(tuple);
    const seen = timerOf(old);
    if (load<u32>(old, SESSION_MAPPING) != mappings.numberOf(mapping)) return NO_ROOM;
    if (!sessions.isExpired(seen, unitsOf(now())) || !endLocked(bucket, old, seen)) return AGAIN;
  }
  const result = addSession(mapping, protocol, turned, turnedPorts, false);
  return result == MADE && !findIn(protocol, all, allPorts) ? AGAIN : result;
}

/** Says to whoever reads the events what became of a session, or of its mapping. */
function tell(kind: u8, at: usize, withRemote: bool): void {
  say(
    kind,
    load<u8>(at, 12),
    load<u32>(at),
    load<u16>(at, 8),
    load<u32>(at, SESSION_IN + 4),
    load<u16>(at, SESSION_IN + 10),
    withRemote ? load<u32>(at, 4) : 0,
    withRemote ? load<u16>(at, 10) : 0,
  );
}

/** A mapping of a new port, or one at address 0: then `refusal` says why. */
function makeMapping(bucket: usize, key: u64, protocol: u8, all: u64, allPorts: u32): Mapping {
  const none = changetype<Mapping>(0);
  const inside = <u32>all;
  refusal = Counters.noPort;
  if (!allot(inside)) return none;
  let subscriber: u32 = 0;
  if (changetype<usize>(subscribers) != 0) {
    refusal = Counters.overLimit;
    subscriber = subscribers.takePort(0, <u64>inside, limit(params.subscriberPorts));
    if (subscriber == 0) return none;
  }
  const pool = poolOf(allottedOutside, protocol);
  const free = mappings.pool(pool);
  const port = free.takeLike(bswap<u16>(<u16>allPorts), allottedFirst, allottedLast, params.portBlock == 0);
  if (port >= 0) {
    const mapping = mappings.make(bucket, key, pool, <u16>port);
    if (changetype<usize>(mapping) != 0) {
      mapping.remoteAddress = mappingAddress(<u32>(all >> 32));
      mapping.remotePort = mappingPort(allPorts >> 16);
      mapping.subscriber = subscriber;
      return mapping;
    }
    free.release(port);
  }
  refusal = port < 0 ? Counters.noPort : Counters.tableFull;
  if (subscriber != 0) subscribers.givePort(0, <u64>inside);
  return none;
}

function endMapping(bucket: usize, mapping: Mapping, inside: u32): void {
  const subscriber = mapping.subscriber;
  mappings.end(bucket, mapping);
  if (subscriber != 0) subscribers.givePort(0, <u64>inside);
}

function limit(said: u32): u32 {
  return said == 0 ? 0xffffffff : said;
}

/** Fills a session's record; publish() makes it one. */
function write(at: usize, mapping: Mapping, protocol: u8, all: u64, allPorts: u32): void {
  const outside = poolAddress(mapping.pool);
  const port = <u32>bswap<u16>(mapping.port);
  const isQuery = protocol == PROTOCOL_ICMP;
  store<u64>(at, all & outAddresses);
  store<u64>(at, outTuple(protocol, allPorts), 8);
  // From outside, source and destination are the other way round.
  store<u64>(at, ((all >> 32) | ((<u64>outside) << 32)) & inAddresses, SESSION_IN);
  store<u64>(at, inTuple(protocol, (isQuery ? 0 : allPorts >> 16) | (port << 16)), SESSION_IN + 8);
  store<u32>(at, changesOf(protocol, <u32>all, outside, allPorts, port), SESSION_CHANGES);
  store<u32>(at, mappings.numberOf(mapping), SESSION_MAPPING);
  store<u32>(at, mapping.subscriber, SESSION_SUBSCRIBER);
}

/** Ends a session, and its mapping with the last one. Needs the lock. @returns false: it was used meanwhile */
function endLocked(bucket: usize, at: usize, seen: u64): bool {
  const mapping = mappings.at(load<u32>(at, SESSION_MAPPING));
  // Read before its record may become another's.
  const inside = load<u32>(at);
  const protocol = load<u8>(at, 12);
  const insidePort = load<u16>(at, 8);
  const outside = load<u32>(at, SESSION_IN + 4);
  const outsidePort = load<u16>(at, SESSION_IN + 10);
  const remote = load<u32>(at, 4);
  const remotePort = load<u16>(at, 10);
  if (!sessions.remove(at, seen)) return false;
  counter(Counters.sessionsExpired).add(1);
  say(SESSION_ENDED, protocol, inside, insidePort, outside, outsidePort, remote, remotePort);
  giveBack(mapping.subscriber, <u8>(seen >> 8));
  if (--mapping.sessions != 0) return true;
  endMapping(bucket, mapping, inside);
  counter(Counters.mappingsExpired).add(1);
  say(MAPPING_ENDED, protocol, inside, insidePort, outside, outsidePort, 0, 0);
  return true;
}

/** Ends sessions whose time is over; the workers share the table out between them. */
export function reapInTurn(): void {
  reap(reapFrom + worker() * REAP_TICK, REAP_TICK);
  reapFrom += workers() * REAP_TICK;
}

/** Among `count` records from `from` on, around the end. */
function reap(from: u32, count: u32): void {
  const records = sessions.records;
  const used = records.used;
  if (used == 0) return;
  const units = unitsOf(now());
  let at = from % used;
  for (let left = min(count, used); left != 0; left--) {
    const candidate = records.at(at);
    const seen = timerOf(candidate);
    if ((seen & SESSION_LIVE) != 0 && sessions.isExpired(seen, units)) reapOne(candidate, seen);
    at = at + 1 == used ? 0 : at + 1;
  }
}

function reapOne(candidate: usize, seen: u64): void {
  const mapping = atomic.load<u32>(candidate, SESSION_MAPPING);
  if (mapping == 0) return;
  // If the session ended since, this may be another mapping's key, or none: then the timer has changed, too.
  const key = mappings.keyOf(mapping);
  if (key == 0) return;
  const bucket = mappings.lock(key);
  if (bucket == 0) return;
  if (timerOf(candidate) == seen) endLocked(bucket, candidate, seen);
  mappings.unlock(bucket);
}

/** Has a mapping this outside endpoint? */
export function isMapped(outside: u32, protocol: u8, port: u32): bool {
  return mappings.pool(poolOf(outside, protocol)).isTaken(<u32>bswap<u16>(<u16>port));
}

/**
 * The key of the mapping of an inside endpoint; never 0. Where mappings depend on the remote end, that is mixed in: 48 bits
 * into 64 that hold 56 already, so two mappings may want one key, once in 2^64. The second is refused then.
 */
function mappingKey(protocol: u8, all: u64, allPorts: u32): u64 {
  const inside = insideKey(protocol, <u32>all, allPorts);
  const remote = ((<u64>mappingAddress(<u32>(all >> 32))) << 16) | <u64>mappingPort(allPorts >> 16);
  if (remote == 0) return inside;
  const mixed = inside ^ (remote * GOLDEN_GAMMA);
  return (mixed ^ (mixed >> 29)) | KEYED;
}

function firstClass(protocol: u8): u8 {
  return protocol == PROTOCOL_TCP ? CLASS_TRANSITORY : protocol == PROTOCOL_ICMP ? CLASS_ICMP : CLASS_UDP;
}
