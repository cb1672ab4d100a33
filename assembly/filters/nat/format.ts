// Where each table is in the state that all workers share, and how all of it is at the start: settings.ts has the header.

import { random, sharedState } from "pktflow/assembly";
import { EventRing } from "pktflow/assembly/lib/event-ring";
import { FragmentTable } from "pktflow/assembly/lib/fragment-table";
import { MappingTable } from "pktflow/assembly/lib/mapping-table";
import {
  CLASS_ESTABLISHED,
  CLASS_ICMP,
  CLASS_TRANSITORY,
  CLASS_UDP,
  SessionTable,
} from "pktflow/assembly/lib/session-table";
import { Subscribers } from "pktflow/assembly/lib/subscribers";
import { formatPairs, pairsBytes, putPair } from "./one-to-one-table";
import { Ipv4List, params } from "./params";
import { hasResting, restingBytes } from "./resting";
import {
  EVENTS,
  FRAGMENTS,
  HEADER,
  INSIDES,
  KINDS,
  MAPPINGS,
  OUTSIDE,
  OUTSIDES,
  PAIRS,
  PREFIX,
  REMOTES,
  RESTING,
  SESSIONS,
  STASHES,
  SUBSCRIBERS,
  TWICE,
  TWICES,
} from "./settings";
import { STASHES_BYTES } from "./stash";

// Where each table is, from the start of the state.
function mappingsOffset(): usize {
  const lists =
    HEADER +
    <usize>params.inside.length * PREFIX +
    <usize>(params.outside.length + params.twiceNat.length) * 4;
  return align64(lists);
}
function sessionsOffset(): usize {
  const pools = <u32>(params.outside.length + params.twiceNat.length) * KINDS;
  return align64(mappingsOffset() + MappingTable.bytes(mappingsCapacity(), pools));
}
function fragmentsOffset(): usize {
  return align64(sessionsOffset() + SessionTable.bytes(params.sessions));
}
function eventsOffset(): usize {
  return align64(fragmentsOffset() + FragmentTable.bytes(params.fragments));
}
function subscribersOffset(): usize {
  return align64(eventsOffset() + EventRing.bytes(params.events));
}
function pairsOffset(): usize {
  return align64(subscribersOffset() + (hasLimits() ? Subscribers.bytes(mappingsCapacity()) : 0));
}
function remotesOffset(): usize {
  return align64(pairsOffset() + pairsBytes(params.oneToOne.length));
}
function restingOffset(): usize {
  return align64(remotesOffset() + pairsBytes(params.remote.length));
}

function stashesOffset(): usize {
  return align64(restingOffset() + restingBytes());
}

export function settingsSize(): usize {
  return stashesOffset() + STASHES_BYTES;
}

/** Those of `forward` have their mappings from the beginning. */
function mappingsCapacity(): u32 {
  return params.mappings + forwardedPorts();
}

function forwardedPorts(): u32 {
  let ports: u32 = 0;
  for (let i = 0; i < params.forward.length; i++) {
    const rule = params.forward.at(i);
    ports += (<u32>rule.port.last - <u32>rule.port.first + 1) * <u32>rule.proto.length;
  }
  return ports;
}

function hasLimits(): bool {
  return (params.subscriberPorts | params.subscriberSessions | params.subscriberHalfOpen) != 0;
}

/** Once, before the workers start. */
export function format(): void {
  const at = sharedState();
  formatLists(at);
  const table = at + mappingsOffset();
  store<u32>(at, <u32>table, MAPPINGS);
  MappingTable.format(table, mappingsCapacity(), random());
  const sessionsAt = at + sessionsOffset();
  store<u32>(at, <u32>sessionsAt, SESSIONS);
  const made = SessionTable.format(sessionsAt, params.sessions, random());
  made.setTimeout(CLASS_UDP, params.udpTimeout);
  made.setTimeout(CLASS_TRANSITORY, params.tcpTransitoryTimeout);
  made.setTimeout(CLASS_ESTABLISHED, params.tcpEstablishedTimeout);
  made.setTimeout(CLASS_ICMP, params.icmpTimeout);
  const fragmentsAt = at + fragmentsOffset();
  store<u32>(at, <u32>fragmentsAt, FRAGMENTS);
  FragmentTable.format(fragmentsAt, params.fragments, random(), params.fragmentTimeout);
  if (params.events != 0) {
    store<u32>(at, <u32>(at + eventsOffset()), EVENTS);
    EventRing.format(at + eventsOffset(), params.events);
  }
  if (hasLimits()) {
    store<u32>(at, <u32>(at + subscribersOffset()), SUBSCRIBERS);
    Subscribers.format(at + subscribersOffset(), mappingsCapacity(), random());
  }
  store<u32>(at, <u32>(at + stashesOffset()), STASHES);
  if (hasResting()) store<u32>(at, <u32>(at + restingOffset()), RESTING);
  formatOneToOne(at, at + pairsOffset());
  formatRemotes(at, at + remotesOffset());
}

function formatOneToOne(at: usize, table: usize): void {
  const list = params.oneToOne;
  if (list.length == 0) return;
  store<u32>(at, <u32>table, PAIRS);
  formatPairs(table, list.length);
  for (let i = 0; i < list.length; i++) {
    const pair = list.at(i);
    putPair(table, bswap<u32>(pair.inside), bswap<u32>(pair.outside));
  }
}

function formatRemotes(at: usize, table: usize): void {
  const list = params.remote;
  if (list.length == 0) return;
  store<u32>(at, <u32>table, REMOTES);
  formatPairs(table, list.length);
  for (let i = 0; i < list.length; i++) {
    const pair = list.at(i);
    putPair(table, bswap<u32>(pair.inside), bswap<u32>(pair.outside));
  }
}

function formatLists(at: usize): void {
  let next = at + HEADER;
  let before: u32 = 0;
  for (let i = 0; i < params.inside.length; i++) {
    const prefix = params.inside.at(i);
    if (prefix.family != 4) continue;
    const length = <u32>prefix.length - 96;
    const mask = bswap<u32>(length == 0 ? 0 : ~(<u32>0) << (32 - length));
    store<u32>(next, load<u32>(prefix.address + 12) & mask);
    store<u32>(next, mask, 4);
    store<u32>(next, before, 8);
    // More than all of them is as good as all.
    const size: u64 = (<u64>1) << (32 - length);
    before = <u32>min<u64>(0xffffffff, <u64>before + size);
    next += PREFIX;
  }
  store<u32>(at, <u32>((next - at - HEADER) / PREFIX), INSIDES);
  store<u32>(at, <u32>next, OUTSIDE);
  const outsides = formatAddresses(next, params.outside);
  store<u32>(at, outsides, OUTSIDES);
  next += (<usize>outsides) << 2;
  store<u32>(at, <u32>next, TWICE);
  store<u32>(at, formatAddresses(next, params.twiceNat), TWICES);
}

/** @returns how many: one written twice would have two pools, of which only the first could be found */
function formatAddresses(at: usize, list: Ipv4List): u32 {
  let count: u32 = 0;
  for (let i = 0; i < list.length; i++) {
    const address = bswap<u32>(list.at(i));
    let known: u32 = 0;
    while (known < count && load<u32>(at + ((<usize>known) << 2)) != address) known++;
    if (known < count) continue;
    store<u32>(at + ((<usize>count) << 2), address);
    count++;
  }
  return count;
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
