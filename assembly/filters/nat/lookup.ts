// Looks for sessions: by what a packet shows, from inside or from outside. No lock; what was found is kept here as plain values.

import { now } from "pktflow/assembly";
import {
  isSame,
  SESSION_CHANGES,
  SESSION_IN,
  SESSION_OUT,
  sessionOf,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { inAddresses, inPorts, KIND_IN, KIND_TWICE, outAddresses, outPorts, sessions } from "./settings";

// The session seen last, as it was then: plain values, which stay right for the packet at hand even if another worker ends
// it meanwhile.
let record: usize = 0;
let timer: u64 = 0;
let addresses: u64 = 0;
let ports: u32 = 0;
let changes: u32 = 0;
let isTwice: bool = false;

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
/** Does it change both ends of a packet? See twice.ts. */
export function seenIsTwice(): bool {
  return isTwice;
}

/** The tuple of a packet from inside, without what its session does not tell apart. */
export function outTuple(protocol: u8, all: u32): u64 {
  return (<u64>all & outPorts) | ((<u64>protocol) << 32);
}
/** The same of a packet from outside. */
export function inTuple(protocol: u8, all: u32): u64 {
  return (<u64>all & inPorts) | ((<u64>protocol) << 32) | KIND_IN;
}
/** The tuples of a session that changes both ends tell everything apart. */
export function outTupleTwice(protocol: u8, all: u32): u64 {
  return <u64>all | ((<u64>protocol) << 32) | KIND_TWICE;
}
export function inTupleTwice(protocol: u8, all: u32): u64 {
  return outTupleTwice(protocol, all) | KIND_IN;
}

/** Is there a live session for a packet from inside with these addresses and ports, both as in the packet? */
export function findOut(protocol: u8, all: u64, allPorts: u32): bool {
  return look(all & outAddresses, outTuple(protocol, allPorts), SESSION_IN);
}
/** The same for one from outside. */
export function findIn(protocol: u8, all: u64, allPorts: u32): bool {
  return look(all & inAddresses, inTuple(protocol, allPorts), SESSION_OUT);
}
/** The same of sessions that change both ends. */
export function findOutTwice(protocol: u8, all: u64, allPorts: u32): bool {
  return look(all, outTupleTwice(protocol, allPorts), SESSION_IN);
}
export function findInTwice(protocol: u8, all: u64, allPorts: u32): bool {
  return look(all, inTupleTwice(protocol, allPorts), SESSION_OUT);
}

/** Sees the session that has a tuple, and its other one, at `other` of the record. No lock. */
export function look(a: u64, b: u64, other: usize): bool {
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
  isTwice = (b & KIND_TWICE) != 0;
  return isSame(before, timer) && !sessions.isExpired(timer, unitsOf(now()));
}

/** Sees a session that was just made, for a packet from inside. */
export function see(made: usize): void {
  record = made;
  timer = timerOf(made);
  addresses = load<u64>(made, SESSION_IN);
  ports = load<u32>(made, SESSION_IN + 8);
  changes = load<u32>(made, SESSION_CHANGES);
  isTwice = (load<u64>(made, 8) & KIND_TWICE) != 0;
}
