// Who has most: a table of a few rows for any number of prefixes or flows (lib/space-saving.ts), of each worker its own; the
// report adds them up. Packets go on untouched.
//
//   | Table | SpaceSaving | the key of the packet at hand |

import {
  Batch,
  counter,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_SOURCE,
  OUTPUT_NEXT,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  random,
  Table,
  workerState,
} from "pktflow/assembly";
import { SpaceSaving } from "pktflow/assembly/lib/space-saving";
import { By, Counters, Per, params, Tables, TopRow } from "./params";

// A prefix in a row, as in parameters: 16 bytes of address, its length, its family.
const LENGTH: usize = 16;
const FAMILY: usize = 17;
const MAPPED: u32 = 96;

let top: SpaceSaving = changetype<SpaceSaving>(0);
let key: usize = 0;
let hasFrom: bool = false;
let hasTo: bool = false;
let isFlow: bool = false;
let byBytes: bool = false;
let bits4: u32 = 0;
let bits6: u32 = 0;
/** All of these in one number: what the table's rows are of. */
let what: u32 = 0;

export function workerStateSize(_: usize): usize {
  const entries = params.entries;
  return Table.bytes(entries, TopRow.rowBytes) + SpaceSaving.bytes(entries) + TopRow.keyBytes;
}

export function init(): void {
  takeParams();
  beginTable();
}

/** Numbers of other prefixes, or of packets and bytes, cannot stand in one table: it begins anew. */
export function reload(): void {
  const before = what;
  takeParams();
  if (what != before) beginTable();
}

function takeParams(): void {
  const per = params.per;
  isFlow = per == Per.flow;
  hasFrom = per != Per.to;
  hasTo = per != Per.from;
  byBytes = params.by == By.bytes;
  bits4 = isFlow ? 32 : params.prefix4;
  bits6 = isFlow ? 128 : params.prefix6;
  what = ((<u32>per) << 24) | ((byBytes ? 1 : 0) << 16) | (bits4 << 8) | bits6;
}

function beginTable(): void {
  const state = workerState();
  const entries = params.entries;
  const table = Table.open(Tables.top, state, entries, TopRow.rowBytes);
  const counts = state + Table.bytes(entries, TopRow.rowBytes);
  top = SpaceSaving.open(counts, table, entries, TopRow.keyBytes, random());
  key = counts + SpaceSaving.bytes(entries);
  memory.fill(key, 0, TopRow.keyBytes);
}

export function batch(b: Batch): void {
  let packets: u64 = 0;
  let bytes: u64 = 0;
  let others: u64 = 0;
  const evicted = top.replaced;
  for (let i: u32 = 0; i < b.count; i++) {
    const p = b.at(i);
    p.output = OUTPUT_NEXT;
    if (!p.isIp) {
      others += p.datagrams;
      continue;
    }
    const count = p.datagrams;
    // On the wire each segment has the headers.
    const size = <u32>(p.ipEnd - p.ip) + (count > 1 ? (count - 1) * (<u32>p.payload - <u32>p.l3) : 0);
    packets += count;
    bytes += size;
    readKey(p);
    const row = top.add(key, byBytes ? size : count);
    store<u64>(row, load<u64>(row, TopRow.packets) + count, TopRow.packets);
    store<u64>(row, load<u64>(row, TopRow.bytes) + size, TopRow.bytes);
  }
  top.tellOthers();
  counter(Counters.packets).add(packets);
  counter(Counters.bytes).add(bytes);
  counter(Counters.notIp).add(others);
  counter(Counters.replaced).add(top.replaced - evicted);
}

function readKey(p: Packet): void {
  const isIpv4 = p.isIpv4;
  const ip = p.ip;
  if (hasFrom) readPrefix(key + TopRow.from, ip + (isIpv4 ? IPV4_SOURCE : IPV6_SOURCE), isIpv4);
  if (hasTo) readPrefix(key + TopRow.to, ip + (isIpv4 ? IPV4_DESTINATION : IPV6_DESTINATION), isIpv4);
  if (!isFlow) return;
  store<u8>(key, p.protocol, TopRow.proto);
  // Only the first fragment of a datagram has them.
  const hasPorts = !p.isFragment && (p.isTransport(PROTOCOL_TCP) || p.isTransport(PROTOCOL_UDP));
  const ports: u32 = hasPorts ? load<u32>(p.transport) : 0;
  store<u16>(key, bswap<u16>(<u16>ports), TopRow.fromPort);
  store<u16>(key, bswap<u16>(<u16>(ports >> 16)), TopRow.toPort);
}

/** An address with the bits behind its prefix cleared; an IPv4 address as ::ffff:a.b.c.d. */
function readPrefix(at: usize, address: usize, isIpv4: bool): void {
  const length = isIpv4 ? bits4 + MAPPED : bits6;
  if (isIpv4) {
    store<u64>(at, 0);
    const low = ((<u64>load<u32>(address)) << 32) | 0xffff0000;
    store<u64>(at, low & bswap<u64>(head(length - 64)), 8);
  } else {
    store<u64>(at, load<u64>(address) & bswap<u64>(head(min<u32>(length, 64))));
    const low = length > 64 ? bswap<u64>(head(length - 64)) : 0;
    store<u64>(at, load<u64>(address, 8) & low, 8);
  }
  store<u8>(at, <u8>length, LENGTH);
  store<u8>(at, isIpv4 ? 4 : 6, FAMILY);
}

/** So many of 64 bits, from the top. */
function head(bits: u32): u64 {
  return bits == 0 ? 0 : ~(<u64>0) << (64 - bits);
}
