// The parameters as the packet loop wants them, and the mapping table, in the state that all workers share.
//
//    0       4        8        12                  64
//   +-------+--------+--------+-------------------+-----------------+--------------+--------------------
//   | inside| outside|outsides| mappings: address | inside prefixes | outside      | MappingTable
//   | s     |        |        |                   | address, mask   | addresses    | (a cache line on)
//   +-------+--------+--------+-------------------+-----------------+--------------+--------------------
//   insides: how many prefixes; outside: address of the outside addresses; outsides: how many. Addresses in host order.

import { be32, PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, random, sharedState } from "pktflow/assembly";
import { MappingTable } from "pktflow/assembly/lib/mapping-table";
import { params } from "./params";

const INSIDES: usize = 0;
const OUTSIDE: usize = 4;
const OUTSIDES: usize = 8;
const MAPPINGS: usize = 12;
const HEADER: usize = 64;
const PREFIX: usize = 8;

/** Protocols with mappings; each has a port pool of its own on each outside address. */
export const KIND_TCP: u32 = 0;
export const KIND_UDP: u32 = 1;
export const KIND_ICMP: u32 = 2;
const KINDS: u32 = 3;

/** Timeout classes of the mapping table. */
export const CLASS_UDP: u8 = 0;
export const CLASS_TRANSITORY: u8 = 1;
export const CLASS_ESTABLISHED: u8 = 2;
export const CLASS_ICMP: u8 = 3;

// This instance's copy of the header.
let insideAt: usize = 0;
let insideEnd: usize = 0;
let outsideAt: usize = 0;
let outsides: u32 = 0;
export let mappings: MappingTable = changetype<MappingTable>(0);

export function settingsSize(): usize {
  return tableOffset() + MappingTable.bytes(params.mappings, <u32>params.outside.length * KINDS);
}

/** Once, before the workers start. */
export function format(): void {
  const at = sharedState();
  let next = at + HEADER;
  for (let i = 0; i < params.inside.length; i++) {
    const prefix = params.inside.at(i);
    if (prefix.family != 4) continue;
    const length = <u32>prefix.length - 96;
    const mask: u32 = length == 0 ? 0 : ~(<u32>0) << (32 - length);
    store<u32>(next, be32(prefix.address + 12) & mask);
    store<u32>(next, mask, 4);
    next += PREFIX;
  }
  store<u32>(at, <u32>((next - at - HEADER) / PREFIX), INSIDES);
  store<u32>(at, <u32>next, OUTSIDE);
  outsideAt = next;
  outsides = 0;
  for (let i = 0; i < params.outside.length; i++) {
    const address = params.outside.at(i);
    // One written twice would have two pools, of which only the first could be found.
    if (outsideIndex(address) >= 0) continue;
    store<u32>(next, address);
    next += 4;
    outsides++;
  }
  store<u32>(at, outsides, OUTSIDES);
  const table = at + tableOffset();
  store<u32>(at, <u32>table, MAPPINGS);
  const made = MappingTable.format(table, params.mappings, params.ports.first, params.ports.last, random());
  made.setTimeout(CLASS_UDP, params.udpTimeout);
  made.setTimeout(CLASS_TRANSITORY, params.tcpTransitoryTimeout);
  made.setTimeout(CLASS_ESTABLISHED, params.tcpEstablishedTimeout);
  made.setTimeout(CLASS_ICMP, params.icmpTimeout);
}

/** In each worker. */
export function open(): void {
  const at = sharedState();
  insideAt = at + HEADER;
  insideEnd = insideAt + <usize>load<u32>(at, INSIDES) * PREFIX;
  outsideAt = <usize>load<u32>(at, OUTSIDE);
  outsides = load<u32>(at, OUTSIDES);
  mappings = changetype<MappingTable>(<usize>load<u32>(at, MAPPINGS));
}

export function isInside(address: u32): bool {
  for (let at = insideAt; at < insideEnd; at += PREFIX) {
    if ((address & load<u32>(at, 4)) == load<u32>(at)) return true;
  }
  return false;
}

/** Index of an outside address, or -1: it is not one. */
export function outsideIndex(address: u32): i32 {
  for (let i: u32 = 0; i < outsides; i++) {
    if (load<u32>(outsideAt + ((<usize>i) << 2)) == address) return <i32>i;
  }
  return -1;
}

/** The outside address whose ports a pool holds. */
export function poolAddress(pool: u32): u32 {
  return load<u32>(outsideAt + ((<usize>(pool / KINDS)) << 2));
}

/** The ports of an outside address for a protocol. */
export function poolOf(outside: u32, kind: u32): u32 {
  return outside * KINDS + kind;
}

/** Paired pooling (RFC 4787 REQ-2): the pool that an inside address always gets, by Fibonacci hashing. */
export function pairedPool(inside: u32, kind: u32): u32 {
  const hash = <u64>(inside * 0x9e3779b1);
  return poolOf(<u32>((hash * <u64>outsides) >> 32), kind);
}

/** The key of an inside endpoint; never 0. */
export function insideKey(kind: u32, address: u32, port: u16): u64 {
  return ((<u64>(kind + 1)) << 48) | ((<u64>address) << 16) | <u64>port;
}
export function keyAddress(key: u64): u32 {
  return <u32>(key >> 16);
}
export function keyPort(key: u64): u16 {
  return <u16>key;
}

function tableOffset(): usize {
  const lists = HEADER + <usize>params.inside.length * PREFIX + <usize>params.outside.length * 4;
  return (lists + 63) & ~63;
}

/** The kind of an IP protocol, or -1: it has no mappings. */
export function kindOf(protocol: u8): i32 {
  if (protocol == PROTOCOL_TCP) return KIND_TCP;
  if (protocol == PROTOCOL_UDP) return KIND_UDP;
  return protocol == PROTOCOL_ICMP ? KIND_ICMP : -1;
}
