// The parameters as the packet loop wants them, and where the tables are, in the state that all workers share.
//
//    0         4        8         12        16        20         24       28          32      36
//   +---------+--------+---------+---------+---------+----------+--------+-----------+-------+---------+
//   | insides | outside| outsides| mappings| sessions| fragments| events | subscriber| pairs | resting |
//   +---------+--------+---------+---------+---------+----------+--------+-----------+-------+---------+
//    40        44       48        52        (to 64)
//   +---------+--------+---------+---------+
//   | remotes | twice  | twices  | stashes |
//   +---------+--------+---------+---------+
//   insides: how many prefixes; outside: address of the outside addresses; outsides: how many; the same of those for twice NAT;
//   the others are addresses of tables, each at a cache line, 0: there is none. Inside prefixes (address, mask, how many
//   addresses come before it) follow the header. format.ts writes all this. Addresses and ports are as they lie in packets,
//   unless a name or a comment says "host".

import { PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, sharedState } from "pktflow/assembly";
import { AddressIndex } from "pktflow/assembly/lib/address-index";
import { EventRing } from "pktflow/assembly/lib/event-ring";
import { FragmentTable } from "pktflow/assembly/lib/fragment-table";
import { MappingTable } from "pktflow/assembly/lib/mapping-table";
import { SessionTable } from "pktflow/assembly/lib/session-table";
import { Subscribers } from "pktflow/assembly/lib/subscribers";
import { Mapping as Dependence, params } from "./params";

export const INSIDES: usize = 0;
export const OUTSIDE: usize = 4;
export const OUTSIDES: usize = 8;
export const MAPPINGS: usize = 12;
export const SESSIONS: usize = 16;
export const FRAGMENTS: usize = 20;
/** Twin of NAT_EVENTS in src/filters/events.ts. */
export const EVENTS: usize = 24;
export const SUBSCRIBERS: usize = 28;
export const PAIRS: usize = 32;
export const RESTING: usize = 36;
export const REMOTES: usize = 40;
export const TWICE: usize = 44;
export const TWICES: usize = 48;
export const STASHES: usize = 52;
export const HEADER: usize = 64;
export const PREFIX: usize = 12;

/** Each outside address has so many port pools: TCP's, UDP's, and identifiers of ICMP queries. */
export const KINDS: u32 = 3;

/** The kind of a tuple: the protocol, and of those on the way in this bit. */
export const KIND_IN: u64 = 0x100_00000000;
/** And of those of sessions that change both ends (twice.ts). */
export const KIND_TWICE: u64 = 0x200_00000000;

// This instance's copy of the header. The first prefix and address apart: most have no other.
let insideAt: usize = 0;
let insideEnd: usize = 0;
export let firstInside: u32 = 0;
export let firstMask: u32 = 0;
let outsideAt: usize = 0;
export let outsides: u32 = 0;
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
/** The same of the names that remote hosts have inside. */
export let remotes: usize = 0;
/** Addresses that sources get by twice NAT, and how many. */
export let twiceAt: usize = 0;
export let twices: u32 = 0;
/** Is there any twice NAT? */
export let hasTwice: bool = false;
/** May a packet be more than its session makes of it? See special.ts. */
export let hasSpecial: bool = false;
/** Address of what stash.ts keeps for the workers. */
export let stashes: usize = 0;
/** The queue of resting.ts, or 0. */
export let resting: usize = 0;

// What of a packet's addresses and ports tells its session: filtering and mapping decide how much of the remote end.
export let outAddresses: u64 = 0;
export let outPorts: u64 = 0;
export let inAddresses: u64 = 0;
export let inPorts: u64 = 0;
let mappingRemote: u32 = 0;
let mappingRemotePort: u32 = 0;

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
  resting = <usize>load<u32>(at, RESTING);
  remotes = <usize>load<u32>(at, REMOTES);
  twiceAt = <usize>load<u32>(at, TWICE);
  twices = load<u32>(at, TWICES);
  stashes = <usize>load<u32>(at, STASHES);
  hasTwice = remotes != 0 || twices != 0;
  hasSpecial = hasTwice || pairs != 0 || params.outsideMark != 0;
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

/** Does a pool hold ports of TCP? */
export function isOfTcp(pool: u32): bool {
  return pool % KINDS == 0;
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
