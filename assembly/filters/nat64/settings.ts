// Where the tables are, in the state that all workers share, and in each worker what the packet loop wants to know at once.
//
//    0         4         8         12        16         20      24        32
//   +---------+---------+---------+---------+----------+-------+---------+-----
//   | outside | outsides| mappings| sessions| fragments| hosts | secret  | (to 64)      addresses, but for outsides: how many
//   +---------+---------+---------+---------+----------+-------+---------+-----
//   Outside addresses follow, then the tables, each at a cache line. A host is an IPv6 address that has mappings.
//
//    a worker's own
//    0                2048     2112                    2368
//   +----------------+--------+-----------------------+----------------------------+
//   | AddressIndex   | token  | pieces of one packet  | FragmentWait               |
//   |                | bucket | (pieces.ts)           |                            |
//   +----------------+--------+-----------------------+----------------------------+

import { PROTOCOL_TCP, PROTOCOL_UDP, random, sharedState, smallestMtu, workerState } from "pktflow/assembly";
import { AddressIndex } from "pktflow/assembly/lib/address-index";
import { FragmentTable } from "pktflow/assembly/lib/fragment-table";
import { FragmentWait } from "pktflow/assembly/lib/fragment-wait";
import { MappingTable } from "pktflow/assembly/lib/mapping-table";
import {
  CLASS_ESTABLISHED,
  CLASS_ICMP,
  CLASS_TRANSITORY,
  CLASS_UDP,
  SessionTable,
} from "pktflow/assembly/lib/session-table";
import { Subscribers } from "pktflow/assembly/lib/subscribers";
import { Filtering, params } from "./params";

const OUTSIDE: usize = 0;
const OUTSIDES: usize = 4;
const MAPPINGS: usize = 8;
const SESSIONS: usize = 12;
const FRAGMENTS: usize = 16;
const HOSTS: usize = 20;
const SECRET: usize = 24;
const HEADER: usize = 64;

const BUCKET: usize = AddressIndex.BYTES;
const PIECES: usize = BUCKET + 64;
/** Fragments that wait for their first one at most, on each worker. */
export const MOST_WAITING: u32 = 32;
/** Pieces that one packet becomes at most, beside itself: as many as `holds` allows. */
export const MOST_PIECES: u32 = 64;
/** The last of a worker's own, of the 4 KiB that the manifest asks for. */
const WAITING: usize = PIECES + ((<usize>MOST_PIECES) << 2);

/** Each outside address has so many port pools: TCP's, UDP's, and identifiers of ICMP queries. */
const KINDS: u32 = 3;
/** The kind of a tuple: the protocol as over IPv4, and of those on the way in this bit. */
export const KIND_IN: u64 = 0x100_00000000;
/** RFC 8200, 5. */
export const LEAST_IPV6_MTU: u32 = 1280;

export let mappings: MappingTable = changetype<MappingTable>(0);
export let sessions: SessionTable = changetype<SessionTable>(0);
export let fragments: FragmentTable = changetype<FragmentTable>(0);
export let hosts: Subscribers = changetype<Subscribers>(0);
/** This worker's own. */
export let waiting: FragmentWait = changetype<FragmentWait>(0);
export let secret: u64 = 0;
// How much of the remote end sessions tell apart.
export let remoteMask: u32 = 0;
export let remotePortMask: u32 = 0;
export let ipv4Mtu: u32 = 0;
export let ipv6Mtu: u32 = 0;
/** Longest IPv6 packet of what an IPv4 router may cut (RFC 7915, 4.1). */
export let lowestIpv6Mtu: u32 = 0;
let outsideAt: usize = 0;
let outsides: u32 = 0;
let outsideTable: AddressIndex = changetype<AddressIndex>(0);

function mappingsOffset(): usize {
  return align64(HEADER + <usize>params.outside.length * 4);
}
function sessionsOffset(): usize {
  return align64(mappingsOffset() + MappingTable.bytes(params.mappings, <u32>params.outside.length * KINDS));
}
function fragmentsOffset(): usize {
  return align64(sessionsOffset() + SessionTable.bytes(params.sessions));
}
function hostsOffset(): usize {
  return align64(fragmentsOffset() + FragmentTable.bytes(params.fragments));
}
/** There is a host for each mapping, and for each that workers are about to make. */
function hostsCapacity(): u32 {
  return params.mappings + 256;
}

export function settingsSize(): usize {
  return hostsOffset() + Subscribers.bytes(hostsCapacity());
}

/** Once, before the workers start. */
export function format(): void {
  const at = sharedState();
  let next = at + HEADER;
  let count: u32 = 0;
  for (let i = 0; i < params.outside.length; i++) {
    const address = bswap<u32>(params.outside.at(i));
    // One written twice would have two pools, of which only the first could be found.
    if (isListed(at + HEADER, count, address)) continue;
    store<u32>(next, address);
    next += 4;
    count++;
  }
  store<u32>(at, <u32>(at + HEADER), OUTSIDE);
  store<u32>(at, count, OUTSIDES);
  store<u64>(at, random(), SECRET);
  store<u32>(at, <u32>(at + mappingsOffset()), MAPPINGS);
  MappingTable.format(at + mappingsOffset(), params.mappings, random());
  store<u32>(at, <u32>(at + sessionsOffset()), SESSIONS);
  setTimeouts(SessionTable.format(at + sessionsOffset(), params.sessions, random()));
  store<u32>(at, <u32>(at + fragmentsOffset()), FRAGMENTS);
  FragmentTable.format(at + fragmentsOffset(), params.fragments, random(), params.fragmentTimeout);
  store<u32>(at, <u32>(at + hostsOffset()), HOSTS);
  Subscribers.format(at + hostsOffset(), hostsCapacity(), random());
}

/** For the sessions that there are, too. Each worker writes the same. */
function setTimeouts(made: SessionTable): void {
  made.setTimeout(CLASS_UDP, params.udpTimeout);
  made.setTimeout(CLASS_TRANSITORY, params.tcpTransitoryTimeout);
  made.setTimeout(CLASS_ESTABLISHED, params.tcpEstablishedTimeout);
  made.setTimeout(CLASS_ICMP, params.icmpTimeout);
}

function isListed(at: usize, count: u32, address: u32): bool {
  for (let i: u32 = 0; i < count; i++) if (load<u32>(at + ((<usize>i) << 2)) == address) return true;
  return false;
}

/** In each worker. */
export function open(): void {
  const at = sharedState();
  outsideAt = <usize>load<u32>(at, OUTSIDE);
  outsides = load<u32>(at, OUTSIDES);
  outsideTable = AddressIndex.format(workerState(), outsideAt, outsides);
  mappings = changetype<MappingTable>(<usize>load<u32>(at, MAPPINGS));
  sessions = changetype<SessionTable>(<usize>load<u32>(at, SESSIONS));
  fragments = FragmentTable.at(<usize>load<u32>(at, FRAGMENTS));
  hosts = Subscribers.at(<usize>load<u32>(at, HOSTS));
  secret = load<u64>(at, SECRET);
  waiting = FragmentWait.format(workerState() + WAITING);
  remoteMask = params.filtering == Filtering.endpointIndependent ? 0 : 0xffffffff;
  remotePortMask = params.filtering == Filtering.addressAndPortDependent ? 0xffff : 0;
  openMtus();
}

/** In each worker. Mappings, sessions, and fragments that wait stay. */
export function reopen(): void {
  setTimeouts(sessions);
  openMtus();
}

function openMtus(): void {
  const least = smallestMtu();
  ipv4Mtu = params.ipv4Mtu == 0 ? least : <u32>params.ipv4Mtu;
  ipv6Mtu = max(LEAST_IPV6_MTU, params.ipv6Mtu == 0 ? least : <u32>params.ipv6Mtu);
  lowestIpv6Mtu = min<u32>(<u32>params.lowestIpv6Mtu, ipv6Mtu);
}

export function bucketAt(): usize {
  return workerState() + BUCKET;
}
export function piecesAt(): usize {
  return workerState() + PIECES;
}

/** Index of an outside address, as it lies in packets, or -1: it is not one. */
export function outsideIndex(address: u32): i32 {
  return outsideTable.find(address);
}

/** The outside address that a host always gets (paired pooling, RFC 4787 REQ-2; RFC 6146, 3.5.1.1): its index. */
export function allot(high: u64, low: u64): u32 {
  const mixed = (high ^ rotl<u64>(low, 32)) * 0x9e3779b97f4a7c15;
  return <u32>(((mixed >> 32) * <u64>outsides) >> 32);
}

export function outsideAddress(outside: u32): u32 {
  return load<u32>(outsideAt + ((<usize>outside) << 2));
}
/** The outside address whose ports a pool holds. */
export function poolAddress(pool: u32): u32 {
  return outsideAddress(pool / KINDS);
}
/** The ports of an outside address for a protocol. */
export function poolOf(outside: u32, protocol: u8): u32 {
  return outside * KINDS + (protocol == PROTOCOL_TCP ? 0 : protocol == PROTOCOL_UDP ? 1 : 2);
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
