// A packet of the one IP becomes one of the other, with the headers above that depend on it. Ports are put in beside.

import {
  applyChange,
  applyChangePartial,
  applyChangeUdp,
  be16,
  fold,
  ICMP_CHECKSUM,
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_IDENTIFIER,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  IPV4_DONT_FRAGMENT,
  IPV4_HEADER,
  IPV4_MORE_FRAGMENTS,
  IPV4_OFFSET_MASK,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  Ipv4,
  Ipv6,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_UDP,
  sum,
  sumPseudoIpv6,
  UDP_CHECKSUM,
  worker,
  workers,
} from "pktflow/assembly";
import { checksumOffset, completeChecksum } from "pktflow/assembly/lib/segment";
import { embed } from "./addresses";
import { fragmentAt, upperAt } from "./extensions";
import { FRAGMENT_HEADER, mayBeCut, rehead, wireBytes, writeFragment, writeIpv4, writeIpv6 } from "./header";
import { params, TrafficClass } from "./params";

/** Of what has no Fragment header (RFC 7915, 5.1): each worker counts through those that are its own. */
let identification: u32 = 0;

export function openIdentification(): void {
  identification = worker();
}

export function nextIdentification(packets: u32): u16 {
  const id = identification;
  identification += workers() * packets;
  return <u16>id;
}

export function carriedClass(trafficClass: u8): u8 {
  return params.trafficClass == TrafficClass.copy ? trafficClass : 0;
}

/**
 * From IPv6 to IPv4, after walk().
 * @param protocol as over IPv4; @param source, destination, port as they lie in packets
 */
export function toIpv4(p: Packet, protocol: u8, source: u32, destination: u32, port: u16): void {
  const ip = p.ip;
  const upper = upperAt;
  const bytes = <u32>(p.ipEnd - upper);
  const tos = carriedClass(Ipv6.of(p).trafficClass);
  const ttl = Ipv6.of(p).hopLimit - 1;
  const total = IPV4_HEADER + bytes;
  let id: u16 = 0;
  let fragment: u16 = 0;
  if (fragmentAt != 0) {
    const field = be16(fragmentAt + 2);
    id = be16(fragmentAt + 6);
    fragment = (field >> 3) | ((field & 1) != 0 ? IPV4_MORE_FRAGMENTS : 0);
  } else {
    id = nextIdentification(p.datagrams);
    fragment = mayBeCut(wireBytes(p, IPV4_HEADER, bytes)) ? 0 : IPV4_DONT_FRAGMENT;
  }
  if (p.hasTransport) {
    if (protocol == PROTOCOL_ICMP) {
      if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
      const type = load<u8>(upper) == ICMPV6_ECHO_REQUEST ? ICMP_ECHO : ICMP_ECHO_REPLY;
      changeEcho(upper, type, port, sumPseudoIpv6(ip, PROTOCOL_ICMPV6, bytes) ^ 0xffff);
    } else {
      const before = sum(ip + IPV6_SOURCE, 32) ^ 0xffff;
      changePorts(p, upper, protocol, 0, port, fold(<u64>before + <u64>source + <u64>destination));
    }
  }
  writeIpv4(upper - IPV4_HEADER, tos, total, id, fragment, ttl, protocol, source, destination);
  rehead(p, upper - IPV4_HEADER, IPV4_HEADER, bytes, true, protocol);
}

/**
 * From IPv4 to IPv6. There must be room for the longer header: makeRoom().
 * @param protocol as over IPv4; @param high, low, port of the host that it gets to, as they lie in packets
 * @param fragments it gets a Fragment header, whole or not
 * @param hops that the TTL loses
 */
export function toIpv6(
  p: Packet,
  protocol: u8,
  high: u64,
  low: u64,
  port: u16,
  fragments: bool,
  hops: u8,
): void {
  const ip = p.ip;
  const upper = ip + <usize>Ipv4.of(p).headerLength;
  const bytes = <u32>(p.ipEnd - upper);
  const trafficClass = carriedClass(Ipv4.of(p).tos);
  const hopLimit = Ipv4.of(p).ttl - hops;
  const id = <u32>Ipv4.of(p).id;
  const field = Ipv4.of(p).fragment;
  const remote = load<u32>(ip, 12);
  const before = fold(<u64>remote + <u64>load<u32>(ip, 16)) ^ 0xffff;
  const next = protocol == PROTOCOL_ICMP ? PROTOCOL_ICMPV6 : protocol;
  const headers = IPV6_HEADER + (fragments ? FRAGMENT_HEADER : 0);
  const to = upper - headers;
  const needsSum =
    protocol == PROTOCOL_UDP &&
    p.hasTransport &&
    !p.isFragment &&
    !p.has(PACKET_FLAG_CSUM_PARTIAL) &&
    load<u16>(upper, UDP_CHECKSUM) == 0;
  // The link's header first: the new one may lie over it.
  rehead(p, to, headers, bytes, false, next);
  writeIpv6(to, trafficClass, headers - IPV6_HEADER + bytes, fragments ? <u8>44 : next, hopLimit);
  embed(to + IPV6_SOURCE, remote);
  store<u64>(to, high, IPV6_DESTINATION);
  store<u64>(to, low, IPV6_DESTINATION + 8);
  if (fragments) {
    const offset = (<u32>field & IPV4_OFFSET_MASK) << 3;
    writeFragment(upper - FRAGMENT_HEADER, next, offset, (field & IPV4_MORE_FRAGMENTS) != 0, id);
  }
  if (!p.hasTransport) return;
  if (protocol == PROTOCOL_ICMP) {
    const type = load<u8>(upper) == ICMP_ECHO ? ICMPV6_ECHO_REQUEST : ICMPV6_ECHO_REPLY;
    // A partial one would be over nothing, for ICMP has no pseudo-header.
    if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
      store<u16>(upper, 0, ICMP_CHECKSUM);
      store<u16>(upper, <u16>~sum(upper, bytes), ICMP_CHECKSUM);
      p.flags &= ~PACKET_FLAG_CSUM_PARTIAL;
    }
    changeEcho(upper, type, port, sumPseudoIpv6(to, PROTOCOL_ICMPV6, bytes));
    return;
  }
  changePorts(p, upper, protocol, 2, port, fold(<u64>before + <u64>sum(to + IPV6_SOURCE, 32)));
  if (!needsSum) return;
  // RFC 7915, 4.5: IPv6 has no UDP without a checksum.
  store<u16>(upper, <u16>sumPseudoIpv6(to, PROTOCOL_UDP, bytes), UDP_CHECKSUM);
  completeChecksum(p);
}

/** @param change of what a partial checksum covers, too: the pseudo-header, whose length and protocol are the same over both */
function changePorts(p: Packet, upper: usize, protocol: u8, portAt: usize, port: u16, change: u32): void {
  const ofPort = fold(<u64>(<u32>load<u16>(upper + portAt) ^ 0xffff) + <u64>port);
  store<u16>(upper + portAt, port);
  const field = upper + checksumOffset(protocol);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) applyChangePartial(field, change);
  else if (protocol == PROTOCOL_UDP) applyChangeUdp(field, change + ofPort);
  else applyChange(field, change + ofPort);
}

/** @param pseudo what the pseudo-header of ICMPv6 adds, or what taking it away does */
export function changeEcho(upper: usize, type: u8, identifier: u16, pseudo: u32): void {
  const before =
    <u64>(<u32>load<u16>(upper) ^ 0xffff) + <u64>(<u32>load<u16>(upper, ICMP_IDENTIFIER) ^ 0xffff);
  store<u8>(upper, type);
  store<u16>(upper, identifier, ICMP_IDENTIFIER);
  const after = <u64>load<u16>(upper) + <u64>identifier;
  applyChange(upper + ICMP_CHECKSUM, fold(before + after + <u64>pseudo));
}
