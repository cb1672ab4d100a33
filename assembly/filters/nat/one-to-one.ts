// Addresses with one of their own outside (`one-to-one`; basic NAT, RFC 3022, 2.1): both ways, no state, whatever the protocol, so
// fragments need no care, and in ICMP errors the quoted packet's address is changed too.

import {
  applyChange,
  applyChangePartial,
  applyChangeUdp,
  counter,
  ICMP_CHECKSUM,
  Icmp,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_OFFSET_MASK,
  IPV4_SOURCE,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  RawIpv4,
} from "pktflow/assembly";
import { isError } from "./error";
import { insideOf, outsideOf } from "./one-to-one-table";
import { Counters } from "./params";
import { change, checksumOffset } from "./rewrite";
import { pairs } from "./settings";

/** @returns whether the packet's source was one, and now is its outside address */
export function leave(p: Packet): bool {
  const address = outsideOf(pairs, load<u32>(p.ip, IPV4_SOURCE));
  if (address == 0) return false;
  replace(p, IPV4_SOURCE, IPV4_DESTINATION, address);
  return true;
}

/** @returns whether the packet's destination was the outside address of one, and now is that */
export function enter(p: Packet): bool {
  const address = insideOf(pairs, load<u32>(p.ip, IPV4_DESTINATION));
  if (address == 0) return false;
  replace(p, IPV4_DESTINATION, IPV4_SOURCE, address);
  return true;
}

/** @param quotedAt where the same address stands in a packet of the other direction, as an ICMP error quotes it */
function replace(p: Packet, at: usize, quotedAt: usize, address: u32): void {
  const ip = p.ip;
  const old = load<u32>(ip + at);
  const difference = change(old, address);
  store<u32>(ip + at, address);
  applyChange(ip + IPV4_CHECKSUM, difference);
  counter(Counters.oneToOne).add(1);
  if (!p.hasTransport) return;
  const protocol = p.protocol;
  const field = p.transport + checksumOffset(protocol);
  if (protocol == PROTOCOL_ICMP) {
    if (isError(Icmp.of(p).type)) requote(p, quotedAt, old, address);
  } else if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
    applyChangePartial(field, difference);
  } else if (protocol == PROTOCOL_TCP) {
    applyChange(field, difference);
  } else if (protocol == PROTOCOL_UDP) {
    applyChangeUdp(field, difference);
  }
}

/** The packet that an ICMP error quotes, where its address is this one. What is cut off has no checksum to change. */
function requote(p: Packet, at: usize, old: u32, address: u32): void {
  const end = p.ipEnd;
  const ip = <usize>p.data + p.payload;
  if (p.isFragment || ip + IPV4_HEADER > end || load<u8>(ip) >> 4 != 4 || load<u32>(ip + at) != old) return;
  const header = RawIpv4.at(ip).headerLength;
  const difference = change(old, address);
  let all = difference;
  store<u32>(ip + at, address);
  all += applied(ip + IPV4_CHECKSUM, difference, false);
  const protocol = RawIpv4.at(ip).protocol;
  const field = ip + header + checksumOffset(protocol);
  const isFirst = (RawIpv4.at(ip).fragment & IPV4_OFFSET_MASK) == 0;
  if (isFirst && header >= IPV4_HEADER && field + 2 <= end) {
    if (protocol == PROTOCOL_TCP || protocol == PROTOCOL_UDP) {
      all += applied(field, difference, protocol == PROTOCOL_UDP);
    }
  }
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) applyChange(p.transport + ICMP_CHECKSUM, all);
}

/** @returns what changing the checksum itself changes */
function applied(field: usize, difference: u32, isUdp: bool): u32 {
  const before = load<u16>(field);
  if (isUdp) applyChangeUdp(field, difference);
  else applyChange(field, difference);
  return change(before, load<u16>(field));
}
