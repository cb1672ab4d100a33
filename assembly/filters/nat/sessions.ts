// Sessions are made here, for packets that the fast path (index.ts) found none for. A session has a mapping, which has a port of
// an outside address (RFC 4787's terms; RFC 6146's BIB and session table). lookup.ts finds them, expiry.ts ends them.

import { counter, now, PROTOCOL_ICMP, PROTOCOL_TCP } from "pktflow/assembly";
import { Mapping } from "pktflow/assembly/lib/mapping-table";
import {
  CLASS_ICMP,
  CLASS_TRANSITORY,
  CLASS_UDP,
  SESSION_CHANGES,
  SESSION_IN,
  SESSION_MAPPING,
  SESSION_SUBSCRIBER,
  sessionOf,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { COUNTED } from "pktflow/assembly/lib/session-tcp";
import { SUBSCRIBER_HALF_OPEN, SUBSCRIBER_SESSIONS } from "pktflow/assembly/lib/subscribers";
import { MAPPING_MADE, SESSION_MADE } from "./events";
import { endLocked, giveBack, isTimeToReap, reapForRoom, tell } from "./expiry";
import { forwardAddress, forwardIsTwice, forwardKey, forwardPort, target } from "./forward";
import {
  findIn,
  findInTwice,
  findOut,
  findOutTwice,
  inTuple,
  inTupleTwice,
  outTuple,
  outTupleTwice,
  see,
} from "./lookup";
import { endMapping, limit, makeMapping, mappingKey, refusal, refuseFor } from "./mappings";
import { Counters, params } from "./params";
import { changesOf, changesOfBoth } from "./rewrite";
import {
  inAddresses,
  mappingAddress,
  mappingPort,
  mappings,
  outAddresses,
  poolAddress,
  sessions,
  subscribers,
} from "./settings";
import { sessionStash } from "./stash";
import { leaveTwicePort, takeTwicePort, twiceAddress, twicePort } from "./twice";

/** Of one packet: it may lose its session to another worker while it looks for it. */
const TRIES: u32 = 4;

/** What makeLocked() did. AGAIN: another session came in between, or one just ended. */
const MADE: i32 = 1;
const NO_ROOM: i32 = 0;
const AGAIN: i32 = -1;

/**
 * The session of a packet from inside, made if there is none.
 * @param remote whom it is for in truth, as in packets: its destination, unless that is another's name (twice.ts)
 * @returns false: there is none, and why was counted
 */
export function openOut(protocol: u8, all: u64, allPorts: u32, remote: u32): bool {
  if (isFoundOut(protocol, all, allPorts, remote)) return true;
  const real = <u64>(<u32>all) | ((<u64>remote) << 32);
  const key = mappingKey(protocol, real, allPorts);
  refuseFor(Counters.tableFull);
  for (let tries = TRIES; tries != 0; tries--) {
    const bucket = mappings.lock(key);
    if (bucket == 0) break;
    const result = makeLocked(bucket, key, protocol, all, allPorts, remote);
    mappings.unlock(bucket);
    if (result == MADE) return true;
    if (result == AGAIN) continue;
    if (!isTimeToReap()) break;
    reapForRoom();
  }
  counter(refusal()).add(1);
  return false;
}

function isFoundOut(protocol: u8, all: u64, allPorts: u32, remote: u32): bool {
  return remote == <u32>(all >> 32)
    ? findOut(protocol, all, allPorts)
    : findOutTwice(protocol, all, allPorts);
}

function makeLocked(bucket: usize, key: u64, protocol: u8, all: u64, allPorts: u32, remote: u32): i32 {
  const isTwice = remote != <u32>(all >> 32);
  const a = isTwice ? all : all & outAddresses;
  const b = isTwice ? outTupleTwice(protocol, allPorts) : outTuple(protocol, allPorts);
  const tuple = sessions.find(a, b);
  if (tuple != 0) {
    // Another worker was faster; or one whose time is over was not removed yet.
    if (isFoundOut(protocol, all, allPorts, remote)) return MADE;
    const seen = timerOf(sessionOf(tuple));
    if (!sessions.isOver(seen, unitsOf(now())) || !endLocked(bucket, sessionOf(tuple), seen)) return AGAIN;
  }
  const real = <u64>(<u32>all) | ((<u64>remote) << 32);
  let mapping = mappings.find(bucket, key);
  if (changetype<usize>(mapping) == 0) {
    mapping = makeMapping(bucket, key, protocol, real, allPorts);
    if (changetype<usize>(mapping) == 0) return NO_ROOM;
  } else if (
    mapping.remoteAddress != mappingAddress(remote) ||
    mapping.remotePort != mappingPort(allPorts >> 16)
  ) {
    // Two of 2^64 keys are the same: see mappingKey.
    refuseFor(Counters.noPort);
    return NO_ROOM;
  }
  const isHalfOpen = protocol == PROTOCOL_TCP;
  const result = addSession(mapping, protocol, all, allPorts, remote, <u16>(allPorts >> 16), isHalfOpen);
  if (result != MADE && mapping.sessions == 0) endMapping(bucket, mapping, <u32>all, false);
  return result;
}

/**
 * A new session of a mapping, seen. Needs its lock.
 * @param all, allPorts of a packet from inside
 * @param remote, remotePort whom that is for outside: another than its destination, and both ends will be changed
 * @param halfOpen it counts as a connection that nobody has answered
 */
function addSession(
  mapping: Mapping,
  protocol: u8,
  all: u64,
  allPorts: u32,
  remote: u32,
  remotePort: u16,
  halfOpen: bool,
): i32 {
  const subscriber = mapping.subscriber;
  let flags: u8 = 0;
  if (subscriber != 0) {
    refuseFor(Counters.overLimit);
    if (!subscribers.take(subscriber, SUBSCRIBER_SESSIONS, limit(params.subscriberSessions))) return NO_ROOM;
    if (halfOpen) {
      flags = COUNTED;
      if (!subscribers.take(subscriber, SUBSCRIBER_HALF_OPEN, limit(params.subscriberHalfOpen))) {
        subscribers.give(subscriber, SUBSCRIBER_SESSIONS);
        return NO_ROOM;
      }
    }
  }
  const made = sessions.takeOf(sessionStash);
  let result = NO_ROOM;
  if (made != 0) {
    if (remote == <u32>(all >> 32)) write(made, mapping, protocol, all, allPorts);
    else writeTwice(made, mapping, protocol, all, allPorts, remote, remotePort);
    // Counted first: should this worker be ended in between, no mapping ends before its sessions have.
    mapping.sessions++;
    result = sessions.publish(made, firstClass(protocol), flags, unitsOf(now())) ? MADE : AGAIN;
    if (result != MADE) mapping.sessions--;
  }
  if (result != MADE) {
    refuseFor(Counters.tableFull);
    giveBack(subscriber, flags);
    return result;
  }
  see(made);
  if (mapping.sessions == 1) {
    counter(Counters.mappingsMade).add(1);
    tell(MAPPING_MADE, made, false);
  }
  counter(Counters.sessionsMade).add(1);
  tell(SESSION_MADE, made, true);
  return MADE;
}

/**
 * The session of a packet from outside to a port that `forward` names, made if there is none.
 * @returns false: there is none, and refusal() says why: a counter
 */
export function openIn(protocol: u8, all: u64, allPorts: u32, outside: u32): bool {
  const port = <u32>bswap<u16>(<u16>(allPorts >> 16));
  refuseFor(Counters.filtered);
  if (!target(protocol, outside, port, <u32>all, allPorts & 0xffff)) return false;
  const key = forwardKey;
  refuseFor(Counters.tableFull);
  for (let tries = TRIES; tries != 0; tries--) {
    const bucket = mappings.lock(key);
    if (bucket == 0) return false;
    const result = forwardIsTwice
      ? makeInTwiceLocked(bucket, key, protocol, all, allPorts)
      : makeInLocked(bucket, key, protocol, all, allPorts);
    mappings.unlock(bucket);
    if (result == MADE) return true;
    if (result == AGAIN) continue;
    if (!isTimeToReap()) return false;
    reapForRoom();
  }
  return false;
}

function makeInLocked(bucket: usize, key: u64, protocol: u8, all: u64, allPorts: u32): i32 {
  if (findIn(protocol, all, allPorts)) return MADE;
  const mapping = mappings.find(bucket, key);
  if (changetype<usize>(mapping) == 0) return NO_ROOM;
  const ended = endOld(bucket, mapping, sessions.find(all & inAddresses, inTuple(protocol, allPorts)));
  if (ended != MADE) return ended;
  // As a packet of the other direction has them.
  const turned = <u64>forwardAddress | (all << 32);
  const ports = <u32>forwardPort | (allPorts << 16);
  const result = addSession(mapping, protocol, turned, ports, <u32>all, <u16>allPorts, false);
  return result == MADE && !findIn(protocol, all, allPorts) ? AGAIN : result;
}

/** The same where the source gets an address of the inside, too. */
function makeInTwiceLocked(bucket: usize, key: u64, protocol: u8, all: u64, allPorts: u32): i32 {
  if (findInTwice(protocol, all, allPorts)) return MADE;
  const mapping = mappings.find(bucket, key);
  if (changetype<usize>(mapping) == 0) return NO_ROOM;
  const ended = endOld(bucket, mapping, sessions.find(all, inTupleTwice(protocol, allPorts)));
  if (ended != MADE) return ended;
  refuseFor(Counters.noPort);
  if (!takeTwicePort(protocol, <u32>all, <u16>allPorts)) return NO_ROOM;
  const address = twiceAddress;
  const port = twicePort;
  const turned = <u64>forwardAddress | ((<u64>address) << 32);
  const ports = <u32>forwardPort | ((<u32>port) << 16);
  const result = addSession(mapping, protocol, turned, ports, <u32>all, <u16>allPorts, false);
  if (result != MADE) leaveTwicePort(protocol, address, port);
  return result == MADE && !findInTwice(protocol, all, allPorts) ? AGAIN : result;
}

/** What has the tuple of a packet from outside, and is over, ends. @returns MADE: there is none now */
function endOld(bucket: usize, mapping: Mapping, tuple: usize): i32 {
  if (tuple == 0) return MADE;
  const old = sessionOf(tuple);
  const seen = timerOf(old);
  if (load<u32>(old, SESSION_MAPPING) != mappings.numberOf(mapping)) return NO_ROOM;
  return !sessions.isOver(seen, unitsOf(now())) || !endLocked(bucket, old, seen) ? AGAIN : MADE;
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

/** The same of a session that changes both ends: it tells everything apart, whatever `filtering` and `mapping` are. */
function writeTwice(
  at: usize,
  mapping: Mapping,
  protocol: u8,
  all: u64,
  allPorts: u32,
  remote: u32,
  remotePort: u16,
): void {
  const outside = poolAddress(mapping.pool);
  const port = <u32>bswap<u16>(mapping.port);
  const isQuery = protocol == PROTOCOL_ICMP;
  const into = <u64>remote | ((<u64>outside) << 32);
  const intoPorts = (isQuery ? 0 : <u32>remotePort) | (port << 16);
  store<u64>(at, all);
  store<u64>(at, outTupleTwice(protocol, allPorts), 8);
  store<u64>(at, into, SESSION_IN);
  store<u64>(at, inTupleTwice(protocol, intoPorts), SESSION_IN + 8);
  store<u32>(at, changesOfBoth(protocol, all, allPorts, into, intoPorts), SESSION_CHANGES);
  store<u32>(at, mappings.numberOf(mapping), SESSION_MAPPING);
  store<u32>(at, mapping.subscriber, SESSION_SUBSCRIBER);
}

function firstClass(protocol: u8): u8 {
  return protocol == PROTOCOL_TCP ? CLASS_TRANSITORY : protocol == PROTOCOL_ICMP ? CLASS_ICMP : CLASS_UDP;
}
