// Sessions of IPv6 hosts with IPv4 ones (RFC 6146's session table), each of a mapping, which holds a port of an outside address
// (its binding information base). Both lie in lib's tables, as nat's do. What differs: an IPv6 address has no room in a tuple.
//
//    out   hash of source and remote address | ports    | kind     in a packet from inside
//    in    remote address, outside address   | ports    | kind     in a packet from outside
//
// So a session names its host by a number, and whoever finds one by the hash holds the host's address and the remote one of the
// other tuple against the packet: no two are taken for one another. Ports and addresses are as they lie in packets.

import { counter, now, PROTOCOL_ICMP, PROTOCOL_TCP, worker, workers } from "pktflow/assembly";
import { mix } from "pktflow/assembly/lib/flow-key";
import { Mapping } from "pktflow/assembly/lib/mapping-table";
import {
  CLASS_ICMP,
  CLASS_TRANSITORY,
  CLASS_UDP,
  isCounted,
  isSame,
  SESSION_IN,
  SESSION_LIVE,
  SESSION_MAPPING,
  SESSION_OUT,
  SESSION_SUBSCRIBER,
  sessionOf,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { Counters, params } from "./params";
import {
  allot,
  hosts,
  KIND_IN,
  mappings,
  poolAddress,
  poolOf,
  remoteMask,
  remotePortMask,
  secret,
  sessions,
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

let reapFrom: u32 = 0;
let reapedAt: u64 = 0;
/** What was wrong when there was no room: a counter. */
let refusal: u32 = 0;
/** The mapping that was made keeps the host's port that was taken for it. */
let isKept: bool = false;

// The session seen last, as it was then: plain values, which stay right for the packet at hand.
export let seenRecord: usize = 0;
export let seenTimer: u64 = 0;
/** Its outside end. */
export let seenOutside: u32 = 0;
export let seenOutsidePort: u16 = 0;
/** Its host's end. */
export let seenHigh: u64 = 0;
export let seenLow: u64 = 0;
export let seenPort: u16 = 0;

function keyOf(high: u64, low: u64, remote: u32): u64 {
  return mix(mix(mix(high ^ secret) ^ low) ^ <u64>(remote & remoteMask));
}

/** @param ports source and destination port, the latter's only as far as sessions tell remote ports apart */
function outTuple(protocol: u8, ports: u32): u64 {
  return <u64>(ports & ((remotePortMask << 16) | 0xffff)) | ((<u64>protocol) << 32);
}
function inTuple(protocol: u8, ports: u32): u64 {
  return <u64>(ports & (remotePortMask | 0xffff0000)) | ((<u64>protocol) << 32) | KIND_IN;
}
function inAddresses(remote: u32, outside: u32): u64 {
  return <u64>(remote & remoteMask) | ((<u64>outside) << 32);
}

/**
 * Is there a live session for a packet from inside?
 * @param protocol as over IPv4; @param high, low its source, as it lies in the packet; @param remote the IPv4 destination
 */
export function findOut(protocol: u8, high: u64, low: u64, remote: u32, ports: u32): bool {
  const a = keyOf(high, low, remote);
  const b = outTuple(protocol, ports);
  const tuple = sessions.find(a, b);
  if (tuple == 0) return false;
  const before = timerOf(sessionOf(tuple));
  if (!see(tuple, a, b)) return false;
  if (seenHigh != high || seenLow != low) return false;
  // With the remote port left out, or the address, the tuple of the way in has as much of them.
  if (atomic.load<u32>(seenRecord, SESSION_IN) != (remote & remoteMask)) return false;
  return isLive(before);
}

/** The same for one from outside. @param ports source and destination port */
export function findIn(protocol: u8, remote: u32, outside: u32, ports: u32): bool {
  const a = inAddresses(remote, outside);
  const b = inTuple(protocol, ports);
  const tuple = sessions.find(a, b);
  if (tuple == 0) return false;
  const before = timerOf(sessionOf(tuple));
  return see(tuple, a, b) && isLive(before);
}

/** Reads a session; what was read holds if isLive() says so of the timer from before. */
function see(tuple: usize, a: u64, b: u64): bool {
  const at = sessionOf(tuple);
  if (atomic.load<u64>(tuple) != a || atomic.load<u64>(tuple, 8) != b) return false;
  const host = atomic.load<u32>(at, SESSION_SUBSCRIBER);
  // Of a record that has not been a session yet.
  if (host == 0) return false;
  const address = hosts.addressOf(host);
  seenRecord = at;
  seenHigh = atomic.load<u64>(address);
  seenLow = atomic.load<u64>(address, 8);
  seenPort = <u16>atomic.load<u16>(at, SESSION_OUT + 8);
  seenOutside = atomic.load<u32>(at, SESSION_IN + 4);
  seenOutsidePort = <u16>atomic.load<u16>(at, SESSION_IN + 10);
  return true;
}

function isLive(before: u64): bool {
  seenTimer = timerOf(seenRecord);
  return isSame(before, seenTimer) && !sessions.isExpired(seenTimer, unitsOf(now()));
}

/**
 * The session of a packet from inside, made if there is none.
 * @returns false: there is none, and why was counted
 */
export function openOut(protocol: u8, high: u64, low: u64, remote: u32, ports: u32): bool {
  if (findOut(protocol, high, low, remote, ports)) return true;
  refusal = Counters.tableFull;
  // Taken for a mapping that may have to be made; it also keeps the host's number what it is meanwhile.
  const host = hosts.takePort(high, low, 0xffffffff);
  isKept = false;
  let isMade = false;
  const key = mappingKey(protocol, host, ports);
  for (let tries: u32 = host == 0 ? 0 : TRIES; tries != 0; tries--) {
    const bucket = mappings.lock(key);
    if (bucket == 0) break;
    const result = makeLocked(bucket, key, host, protocol, high, low, remote, ports);
    mappings.unlock(bucket);
    isMade = result == MADE;
    if (isMade) break;
    if (result == AGAIN) continue;
    // No room: it is looked for, once a batch.
    if (reapedAt == now()) break;
    reapedAt = now();
    reap(reapFrom, REAP_NO_ROOM);
    reapFrom += REAP_NO_ROOM;
  }
  if (host != 0 && !isKept) hosts.givePort(high, low);
  if (!isMade) counter(refusal).add(1);
  return isMade;
}

/** Mappings do not depend on the remote end (RFC 6146, 3.5.1.1); never 0. */
function mappingKey(protocol: u8, host: u32, ports: u32): u64 {
  return ((<u64>protocol) << 48) | ((<u64>host) << 16) | <u64>(ports & 0xffff);
}

function makeLocked(
  bucket: usize,
  key: u64,
  host: u32,
  protocol: u8,
  high: u64,
  low: u64,
  remote: u32,
  ports: u32,
): i32 {
  const tuple = sessions.find(keyOf(high, low, remote), outTuple(protocol, ports));
  if (tuple != 0) {
    // Another worker was faster; or one whose time is over was not removed yet.
    if (findOut(protocol, high, low, remote, ports)) return MADE;
    const old = sessionOf(tuple);
    const seen = timerOf(old);
    if (load<u32>(old, SESSION_SUBSCRIBER) != host) return NO_ROOM;
    if (!sessions.isOver(seen, unitsOf(now())) || !endLocked(bucket, old, seen)) return AGAIN;
  }
  let mapping = mappings.find(bucket, key);
  const isNew = changetype<usize>(mapping) == 0;
  if (isNew) {
    mapping = makeMapping(bucket, key, host, protocol, high, low, ports);
    if (changetype<usize>(mapping) == 0) return NO_ROOM;
  }
  const result = addSession(mapping, protocol, high, low, remote, ports);
  if (isNew && result == MADE) {
    isKept = true;
    counter(Counters.mappingsMade).add(1);
  } else if (isNew) {
    mappings.end(bucket, mapping);
  }
  return result;
}

/** A mapping of a new port, or one at address 0: then `refusal` says why. */
function makeMapping(
  bucket: usize,
  key: u64,
  host: u32,
  protocol: u8,
  high: u64,
  low: u64,
  ports: u32,
): Mapping {
  const pool = poolOf(allot(high, low), protocol);
  const free = mappings.pool(pool);
  const wanted = <u32>bswap<u16>(<u16>ports);
  const port = free.takeLike(wanted, params.ports.first, params.ports.last, true);
  refusal = Counters.noPort;
  if (port < 0) return changetype<Mapping>(0);
  const mapping = mappings.make(bucket, key, pool, <u16>port);
  if (changetype<usize>(mapping) != 0) {
    mapping.subscriber = host;
    return mapping;
  }
  free.release(port);
  refusal = Counters.tableFull;
  return mapping;
}

/** A new session of a mapping, seen. Needs its lock. */
function addSession(mapping: Mapping, protocol: u8, high: u64, low: u64, remote: u32, ports: u32): i32 {
  refusal = Counters.tableFull;
  const at = sessions.take();
  if (at == 0) return NO_ROOM;
  const outside = poolAddress(mapping.pool);
  const outsidePort = <u32>bswap<u16>(mapping.port);
  const remotePort = protocol == PROTOCOL_ICMP ? 0 : ports >> 16;
  store<u64>(at, keyOf(high, low, remote));
  store<u64>(at, outTuple(protocol, ports), 8);
  store<u64>(at, inAddresses(remote, outside), SESSION_IN);
  store<u64>(at, inTuple(protocol, remotePort | (outsidePort << 16)), SESSION_IN + 8);
  store<u32>(at, mappings.numberOf(mapping), SESSION_MAPPING);
  store<u32>(at, mapping.subscriber, SESSION_SUBSCRIBER);
  // Counted first: should this worker be ended in between, no mapping ends before its sessions have.
  mapping.sessions++;
  if (!sessions.publish(at, firstClass(protocol), 0, unitsOf(now()))) {
    mapping.sessions--;
    return AGAIN;
  }
  counter(Counters.sessionsMade).add(1);
  seenRecord = at;
  seenTimer = timerOf(at);
  seenHigh = high;
  seenLow = low;
  seenPort = <u16>ports;
  seenOutside = outside;
  seenOutsidePort = <u16>outsidePort;
  return MADE;
}

function firstClass(protocol: u8): u8 {
  return protocol == PROTOCOL_TCP ? CLASS_TRANSITORY : protocol == PROTOCOL_ICMP ? CLASS_ICMP : CLASS_UDP;
}

/**
 * Ends a session that is over, and its mapping with the last one; and what is left of a session. Needs the lock.
 * @returns false: it was used meanwhile
 */
function endLocked(bucket: usize, at: usize, seen: u64): bool {
  if ((seen & SESSION_LIVE) == 0 && !isCounted(seen)) return sessions.expel(at, seen);
  const mapping = mappings.at(load<u32>(at, SESSION_MAPPING));
  const isEnded = (seen & SESSION_LIVE) != 0 ? sessions.remove(at, seen) : sessions.expel(at, seen);
  if (!isEnded) return false;
  counter(Counters.sessionsExpired).add(1);
  if (--mapping.sessions != 0) return true;
  const address = hosts.addressOf(mapping.subscriber);
  const high = load<u64>(address);
  const low = load<u64>(address, 8);
  mappings.end(bucket, mapping);
  hosts.givePort(high, low);
  counter(Counters.mappingsExpired).add(1);
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
    if (sessions.isOver(seen, units)) reapOne(candidate, seen);
    at = at + 1 == used ? 0 : at + 1;
  }
}

function reapOne(candidate: usize, seen: u64): void {
  const mapping = atomic.load<u32>(candidate, SESSION_MAPPING);
  if (mapping == 0) return;
  // If the session ended since, this may be another mapping's key, or none: then the timer has changed, too.
  const key = mappings.keyOf(mapping);
  if (key == 0) {
    if (!isCounted(seen)) sessions.expel(candidate, seen);
    return;
  }
  const bucket = mappings.lock(key);
  if (bucket == 0) return;
  if (timerOf(candidate) == seen) endLocked(bucket, candidate, seen);
  mappings.unlock(bucket);
}

/** Has a mapping this outside endpoint? @param port as in packets */
export function isMapped(outside: u32, protocol: u8, port: u32): bool {
  return mappings.pool(poolOf(outside, protocol)).isTaken(<u32>bswap<u16>(<u16>port));
}
