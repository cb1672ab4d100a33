// Ports that rest: one that a mapping had is not another's until `port-reuse-delay` is over, lest the other gets what was meant
// for the one before (RFC 6888 REQ-8). A queue in the shared state, for all wait alike.
//
//    0      4      8      16                       until: in units of the session table; outside: pool << 16 | port
//   +------+------+------+-------+---------+--
//   | lock | head | tail | until | outside | ...   head and tail count on: what rests is between them
//   +------+------+------+-------+---------+--
//
// REQ-8 lets ports be given again at once where TCP's connections are followed (A), where ports are each inside address's own
// (B), and where only those get in whom the mapping has sent to (C): there none rests.

import { counter } from "pktflow/assembly";
import { unitsOf } from "pktflow/assembly/lib/session-table";
import { lock, unlock } from "pktflow/assembly/lib/spin-lock";
import { Counters, Mapping as Dependence, params } from "./params";
import { isOfTcp, mappings, resting } from "./settings";

const HEAD: usize = 4;
const TAIL: usize = 8;
const ENTRIES: usize = 16;
const ENTRY_SHIFT: usize = 3;
/** 2^27 ns, as the session table's. */
const UNIT: u64 = 1 << 27;
/** Woken at a time, so that no batch waits long. */
const WOKEN: u32 = 4096;

export function hasResting(): bool {
  if (params.portReuseDelay == 0 || params.restingPorts == 0 || params.portBlock != 0) return false;
  return params.filtering == Dependence.endpointIndependent;
}

export function restingBytes(): usize {
  return hasResting() ? ENTRIES + ((<usize>params.restingPorts) << ENTRY_SHIFT) : 0;
}

/** @param outside pool and port, which stays taken @returns false: it need not rest, the caller gives it back */
export function rest(outside: u32, now: u64): bool {
  const at = resting;
  if (at == 0 || isOfTcp(outside >> 16) || !lock(at)) return false;
  const head = load<u32>(at, HEAD);
  if (load<u32>(at, TAIL) - head >= params.restingPorts) {
    release(entryAt(at, head));
    store<u32>(at, head + 1, HEAD);
    counter(Counters.restsCutShort).add(1);
  }
  const tail = load<u32>(at, TAIL);
  const entry = entryAt(at, tail);
  store<u32>(entry, unitsOf(now + params.portReuseDelay + UNIT - 1));
  store<u32>(entry, outside, 4);
  atomic.store<u32>(at, tail + 1, TAIL);
  unlock(at);
  return true;
}

/** Gives back the ports whose rest is over. */
export function wakeRested(now: u64): void {
  const at = resting;
  if (at == 0 || load<u32>(at, HEAD) == atomic.load<u32>(at, TAIL) || !lock(at)) return;
  const units = unitsOf(now);
  let head = load<u32>(at, HEAD);
  const tail = load<u32>(at, TAIL);
  for (let left = WOKEN; left != 0 && head != tail; left--) {
    const entry = entryAt(at, head);
    if (<i32>(units - load<u32>(entry)) < 0) break;
    release(entry);
    head++;
  }
  store<u32>(at, head, HEAD);
  unlock(at);
}

function entryAt(at: usize, index: u32): usize {
  return at + ENTRIES + ((<usize>(index % params.restingPorts)) << ENTRY_SHIFT);
}

function release(entry: usize): void {
  const outside = load<u32>(entry, 4);
  mappings.pool(outside >> 16).release(outside & 0xffff);
}
