// The parameters as the packet loop wants them, and where the tables are, in the state that all workers share.
//
//    0         4        8         12        16        20         24       28          32      36
//   +---------+--------+---------+---------+---------+----------+--------+-----------+-------+-------
//   | insides | outside| outsides| mappings| sessions| fragments| events | subscriber| pairs | (to 64)
//   +---------+--------+---------+---------+---------+----------+--------+-----------+-------+-------
//   insides: how many prefixes; outside: address of the outside addresses; outsides: how many; then addresses of tables, each
//   at a cache line, 0: there is none. Inside prefixes (address, mask, how many addresses come before it) follow the header.
//   Addresses and ports are as they lie in packets, unless a name or a comment says "host".

import { PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, random, sharedState } from "pktflow/assembly";
import { AddressIndex } from "pktflow/assembly/lib/address-index";
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
import { formatPairs, pairsBytes } from "./one-to-one-table";
import { Mapping as Dependence, params } from "./params";

const INSIDES: usize = 0;
const OUTSIDE: usize = 4;
const OUTSIDES: usize = 8;
const MAPPINGS: usize = 12;
const SESSIONS: usize = 16;
const FRAGMENTS: usize = 20;
/** Twin of NAT_EVENTS in src/filters/events.ts. */
const EVENTS: usize = 24;
const SUBSCRIBERS: usize = 28;
const PAIRS: usize = 32;
const HEADER: usize = 64;
const PREFIX: usize = 12;

/** Each outside address has so many port pools: TCP's, UDP's, and identifiers of ICMP queries. */
const KINDS: u32 = 3;

/** The kind of a tuple: the protocol, and of those on the way in this bit. */
export const KIND_IN: u64 = 0x100_00000000;

// This instance's copy of the header. The first prefix and address apart: most have no other.
let insideAt: usize = 0;
let insideEnd: usize = 0;
export let firstInside: u32 = 0;
export let firstMask: u32 = 0;
let outsideAt: usize = 0;
let outsides: u32 = 0;
let outsideTable: AddressIndex = changetype<AddressIndex>(0);
export let firstOutside: u32 = 0;
export let hasMoreInsides: bool = false;
export let hasMoreOutsides: bool = false;
export let mappings: MappingTable = changetype<MappingTable>(0);
export let sessions: SessionTable = changetype<SessionTable>(0);
export let fragments: FragmentTable = changetype<FragmentTable>(0);
/** At address 0 where nobody is to be told anything. */
export let ring: EventRing = changetype<EventRing>(0);
/** At address 0 where nothing is limited. */
export let subscribers: Subscribers = changetype<Subscribers>(0);
/** Address of the table of one-to-one-table.ts, or 0. */
export let pairs: usize = 0;

// What of a packet's addresses and ports tells its session: filtering and mapping decide how much of the remote end.
export let outAddresses: u64 = 0;
export let outPorts: u64 = 0;
export let inAddresses: u64 = 0;
export let inPorts: u64 = 0;
let mappingRemote: u32 = 0;
let mappingRemotePort: u32 = 0;

// Where each table is, from the start of the state.
function mappingsOffset(): usize {
  const lists = HEADER + <usize>params.inside.length * PREFIX + <usize>params.outside.length * 4;
  return align64(lists);
}
function sessionsOffset(): usize {
  const pools = <u32>params.outside.length * KINDS;
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

export function settingsSize(): usize {
  return pairsOffset() + pairsBytes();
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
  if (params.oneToOne.length != 0) {
    store<u32>(at, <u32>(at + pairsOffset()), PAIRS);
    formatPairs(at + pairsOffset());
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
  outsideAt = next;
  outsides = 0;
  for (let i = 0; i < params.outside.length; i++) {
    const address = bswap<u32>(params.outside.at(i));
    // One written twice would have two pools, of which only the first could be found.
    if (listIndex(address) >= 0) continue;
    store<u32>(next, address);
    next += 4;
    outsides++;
  }
  store<u32>(at, outsides, OUTSIDES);
}

/** As outsideIndex, without a worker's table. */
export function listIndex(address: u32): i32 {
  for (let i: u32 = 0; i < outsides; i++) {
    if (load<u32>(outsideAt + ((<usize>i) << 2)) == address) return <i32>i;
  }
  return -1;
}

/** In each worker. */
export function open(): void {
  const at = sharedState();
  const insides = load<u32>(at, INSIDES);
  insideAt = at + HEADER;
  insideEnd = insideAt + <usize>insides * PREFIX;
  hasMoreInsides = insides != 1;
  if (insides != 0) {
    firstInside = load<u32>(insideAt);
    firstMask = load<u32>(insideAt, 4);
  } else {
    // No address is one that has a bit where the mask has none.
    firstInside = 1;
    firstMask = 0;
  }
  outsideAt = <usize>load<u32>(at, OUTSIDE);
  outsides = load<u32>(at, OUTSIDES);
  firstOutside = load<u32>(outsideAt);
  hasMoreOutsides = outsides > 1;
  mappings = changetype<MappingTable>(<usize>load<u32>(at, MAPPINGS));
  sessions = changetype<SessionTable>(<usize>load<u32>(at, SESSIONS));
  fragments = FragmentTable.at(<usize>load<u32>(at, FRAGMENTS));
  ring = EventRing.at(<usize>load<u32>(at, EVENTS));
  subscribers = Subscribers.at(<usize>load<u32>(at, SUBSCRIBERS));
  pairs = <usize>load<u32>(at, PAIRS);
  openModes();
}

function openModes(): void {
  const filtering = params.filtering;
  const mapping = params.mapping;
  mappingRemote = mapping == Dependence.endpointIndependent ? 0 : 0xffffffff;
  mappingRemotePort = mapping == Dependence.addressAndPortDependent ? 0xffff : 0;
  // In: filtering. Out: what either wants, for a packet to someone new opens the filter, and may need a mapping.
  const remote: u32 = filtering == Dependence.endpointIndependent ? 0 : 0xffffffff;
  const remotePort: u32 = filtering == Dependence.addressAndPortDependent ? 0xffff : 0;
  inAddresses = 0xffffffff00000000 | <u64>remote;
  inPorts = 0xffff0000 | <u64>remotePort;
  outAddresses = 0xffffffff | ((<u64>(remote | mappingRemote)) << 32);
  outPorts = 0xffff | ((<u64>(remotePort | mappingRemotePort)) << 16);
}

export function isInside(address: u32): bool {
  for (let at = insideAt; at < insideEnd; at += PREFIX) {
    if ((address & load<u32>(at, 4)) == load<u32>(at)) return true;
  }
  return false;
}

/** Index of an outside address, or -1: it is not one. */
export function outsideIndex(address: u32): i32 {
  return outsideTable.find(address);
}

/** Makes a worker's own table of the outside addresses, AddressIndex.BYTES. */
export function openOutsides(at: usize): void {
  outsideTable = AddressIndex.format(at, outsideAt, outsides);
}

/** The outside address whose ports a pool holds. */
export function poolAddress(pool: u32): u32 {
  return load<u32>(outsideAt + ((<usize>(pool / KINDS)) << 2));
}

/** The ports of an outside address for a protocol. */
export function poolOf(outside: u32, protocol: u8): u32 {
  return outside * KINDS + (protocol == PROTOCOL_TCP ? 0 : protocol == PROTOCOL_UDP ? 1 : 2);
}

// What allot() found.
export let allottedOutside: u32 = 0;
export let allottedFirst: u32 = 0;
export let allottedLast: u32 = 0;

/**
 * The outside address that an inside address always gets (paired pooling, RFC 4787 REQ-2), by Fibonacci hashing, and its ports
 * there (host order): all, or its block of them (RFC 7422).
 * @returns false: there is no block left for it
 */
export function allot(inside: u32): bool {
  const first: u32 = params.ports.first;
  const last: u32 = params.ports.last;
  allottedFirst = first;
  allottedLast = last;
  const block = params.portBlock;
  if (block == 0) {
    allottedOutside = <u32>((<u64>(bswap<u32>(inside) * 0x9e3779b1) * <u64>outsides) >> 32);
    return true;
  }
  const place = placeOf(inside);
  const blocks = (last - first + 1) / block;
  if (blocks == 0 || place / blocks >= outsides) return false;
  allottedOutside = place / blocks;
  allottedFirst = first + (place % blocks) * block;
  allottedLast = allottedFirst + block - 1;
  return true;
}

/** The how-manyth of all inside addresses, in the order of `inside`, this is. */
function placeOf(inside: u32): u32 {
  for (let at = insideAt; at < insideEnd; at += PREFIX) {
    const mask = load<u32>(at, 4);
    if ((inside & mask) == load<u32>(at)) {
      const place = <u64>load<u32>(at, 8) + <u64>bswap<u32>(inside & ~mask);
      return <u32>min<u64>(0xffffffff, place);
    }
  }
  return 0xffffffff;
}

/** The key of the mapping of an inside endpoint that does not depend on the remote end; never 0. */
export function insideKey(protocol: u8, address: u32, port: u32): u64 {
  return ((<u64>protocol) << 48) | ((<u64>address) << 16) | (<u64>port & 0xffff);
}

/** Whom a mapping is for: of a packet's destination what the mapping mode tells apart. */
export function mappingAddress(destination: u32): u32 {
  return destination & mappingRemote;
}
export function mappingPort(port: u32): u32 {
  return port & mappingRemotePort;
}

/** Has this protocol sessions? */
export function isTranslated(protocol: u8): bool {
  return protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP || protocol == PROTOCOL_ICMP;
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
