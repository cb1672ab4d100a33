// Mappings are made and ended here: the port of an outside address that each holds is chosen, and given back.

import { now } from "pktflow/assembly";
import { Mapping } from "pktflow/assembly/lib/mapping-table";
import { Counters, params } from "./params";
import { rest } from "./resting";
import {
  allot,
  allottedFirst,
  allottedLast,
  allottedOutside,
  insideKey,
  mappingAddress,
  mappingPort,
  mappings,
  poolOf,
  subscribers,
} from "./settings";
import { mappingStash } from "./stash";

const GOLDEN_GAMMA: u64 = 0x9e3779b97f4a7c15;
const KEYED: u64 = 1 << 63;

/** What was wrong when no session or mapping was made: a counter. */
let reason: u32 = 0;

export function refusal(): u32 {
  return reason;
}
/** Should what follows fail, this is why. */
export function refuseFor(counter: u32): void {
  reason = counter;
}

/** What PortPool.foresee said for the packet at hand, or -1. */
let foreseen: i32 = -1;

export function foreseePort(port: i32): void {
  foreseen = port;
}

/** A mapping of a new port, or one at address 0: then `refusal` says why. */
export function makeMapping(bucket: usize, key: u64, protocol: u8, all: u64, allPorts: u32): Mapping {
  const none = changetype<Mapping>(0);
  const inside = <u32>all;
  reason = Counters.noPort;
  if (!allot(inside)) return none;
  let subscriber: u32 = 0;
  if (changetype<usize>(subscribers) != 0) {
    reason = Counters.overLimit;
    subscriber = subscribers.takePort(0, <u64>inside, limit(params.subscriberPorts));
    if (subscriber == 0) return none;
  }
  const pool = poolOf(allottedOutside, protocol);
  const free = mappings.pool(pool);
  const isWhole = params.portBlock == 0;
  const port = free.takeLike(bswap<u16>(<u16>allPorts), allottedFirst, allottedLast, isWhole, foreseen);
  if (port >= 0) {
    const mapping = mappings.make(bucket, key, pool, <u16>port, mappingStash);
    if (changetype<usize>(mapping) != 0) {
      mapping.remoteAddress = mappingAddress(<u32>(all >> 32));
      mapping.remotePort = mappingPort(allPorts >> 16);
      mapping.subscriber = subscriber;
      return mapping;
    }
    free.release(port);
  }
  reason = port < 0 ? Counters.noPort : Counters.tableFull;
  if (subscriber != 0) subscribers.givePort(0, <u64>inside);
  return none;
}

/** @param wasUsed a packet may have left with its port: that rests before another gets it, see resting.ts */
export function endMapping(bucket: usize, mapping: Mapping, inside: u32, wasUsed: bool): void {
  const subscriber = mapping.subscriber;
  const outside = mappings.forget(bucket, mapping);
  if (!wasUsed || !rest(outside, now())) mappings.pool(outside >> 16).release(outside & 0xffff);
  if (subscriber != 0) subscribers.givePort(0, <u64>inside);
}

export function limit(said: u32): u32 {
  return said == 0 ? 0xffffffff : said;
}

/**
 * The key of the mapping of an inside endpoint; never 0. Where mappings depend on the remote end, that is mixed in: 48 bits
 * into 64 that hold 56 already, so two mappings may want one key, once in 2^64. The second is refused then.
 */
export function mappingKey(protocol: u8, all: u64, allPorts: u32): u64 {
  const inside = insideKey(protocol, <u32>all, allPorts);
  const remote = ((<u64>mappingAddress(<u32>(all >> 32))) << 16) | <u64>mappingPort(allPorts >> 16);
  if (remote == 0) return inside;
  const mixed = inside ^ (remote * GOLDEN_GAMMA);
  return (mixed ^ (mixed >> 29)) | KEYED;
}

/** Has a mapping this outside endpoint? */
export function isMapped(outside: u32, protocol: u8, port: u32): bool {
  return mappings.pool(poolOf(outside, protocol)).isTaken(<u32>bswap<u16>(<u16>port));
}
