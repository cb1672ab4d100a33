// ICMP errors from outside, about an IPv6 packet that went out as the IPv4 packet which they quote (RFC 7915, 4.2 and 4.3). They
// come from whoever sent them, as an address in the prefix, so that traceroute shows the way.

import {
  be32,
  complement,
  counter,
  fold,
  ICMP_CHECKSUM,
  ICMP_CODE,
  ICMP_ECHO,
  ICMP_HEADER,
  ICMP_IDENTIFIER,
  ICMPV6_ECHO_REQUEST,
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_MORE_FRAGMENTS,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  Ipv4,
  NEXT_HEADER_FRAGMENT,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  RawIpv4,
  setBe32,
  sum,
  sumIpv4Header,
  sumPseudoIpv6,
} from "pktflow/assembly";
import { makeRoom } from "pktflow/assembly/lib/headroom";
import { LONGEST_ERROR } from "pktflow/assembly/lib/icmp-error";
import { completeChecksum } from "pktflow/assembly/lib/segment";
import { embed } from "./addresses";
import { FRAGMENT_HEADER, rehead, writeFragment, writeIpv6 } from "./header";
import { isExtensible, newCode, newRest, newType, toIcmpv6 } from "./icmp";
import { Counters, params } from "./params";
import { placeExtension, quoteBytes, quoteWords, requote } from "./quote";
import { drop } from "./refuse";
import { findIn, seenHigh, seenLow, seenPort } from "./sessions";
import { carriedClass, changeEcho } from "./translate";

/** Both headers grow, the quoted one by a Fragment header, too. */
const GROWTH: u32 = 2 * (IPV6_HEADER - IPV4_HEADER) + FRAGMENT_HEADER;

/** @param isHairpin it comes from inside, and was translated already */
export function errorInto(p: Packet, isHairpin: bool): Output {
  if (!isHairpin && Ipv4.of(p).ttl <= 1) return drop(Counters.expired);
  if (!makeRoom(p, GROWTH)) return drop(Counters.noSlot);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  const icmp = p.transport;
  const all = <u32>(p.ipEnd - icmp);
  if (sum(icmp, all) != 0xffff) return drop(Counters.badChecksum);
  const type = load<u8>(icmp);
  const code = load<u8>(icmp, ICMP_CODE);
  const rest = be32(icmp + 4);
  const trafficClass = carriedClass(Ipv4.of(p).tos);
  const hopLimit = Ipv4.of(p).ttl - (isHairpin ? 0 : 1);
  const source = load<u32>(p.ip, IPV4_SOURCE);
  const quoted = icmp + ICMP_HEADER;
  const end = quoted + quoteBytes((rest >> 16) & 0xff, 4, all - ICMP_HEADER);
  const extension = <u32>(p.ipEnd - end);

  if (quoted + IPV4_HEADER > end || load<u8>(quoted) >> 4 != 4) return drop(Counters.malformed);
  const header = RawIpv4.at(quoted).headerLength;
  const upper = quoted + header;
  // RFC 792 promises 64 bits of the transport header.
  if (header < IPV4_HEADER || upper + 8 > end) return drop(Counters.malformed);
  if (sumIpv4Header(quoted) != 0xffff) return drop(Counters.badChecksum);
  const field = RawIpv4.at(quoted).fragment;
  if ((field & IPV4_OFFSET_MASK) != 0) return drop(Counters.fragment);
  const protocol = load<u8>(quoted, IPV4_PROTOCOL);
  const isEcho = protocol == PROTOCOL_ICMP;
  if (!isEcho && protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP) {
    return drop(Counters.unsupportedProtocol);
  }
  // What went out was a ping, never an answer; nor is an error quoted that quotes again.
  if (isEcho && load<u8>(upper) != ICMP_ECHO) return drop(Counters.noMapping);
  const remote = load<u32>(quoted, IPV4_DESTINATION);
  const ports = isEcho ? (<u32>load<u16>(upper, ICMP_IDENTIFIER)) << 16 : rotr<u32>(load<u32>(upper), 16);
  if (!findIn(protocol, remote, load<u32>(quoted, IPV4_SOURCE), ports)) return drop(Counters.noMapping);
  const total = <u32>RawIpv4.at(quoted).totalLength;
  if (total < header) return drop(Counters.malformed);
  const isFragment = (field & IPV4_MORE_FRAGMENTS) != 0;
  const grown = isFragment ? FRAGMENT_HEADER : 0;
  if (!toIcmpv6(type, code, rest, total, IPV6_HEADER - IPV4_HEADER + grown)) {
    return drop(Counters.unsupportedProtocol);
  }

  const inner = upper - IPV6_HEADER - grown;
  writeInner(quoted, upper, end, protocol, total - header, remote, isFragment);
  const bytes = placeExtension(
    p,
    inner,
    end,
    isExtensible ? extension : 0,
    8,
    LONGEST_ERROR - IPV6_HEADER - ICMP_HEADER,
  );
  const to = inner - ICMP_HEADER;
  const ip = to - IPV6_HEADER;
  // The link's header first: the new ones lie over it.
  rehead(p, ip, IPV6_HEADER, ICMP_HEADER + bytes, false, PROTOCOL_ICMPV6);
  writeIpv6(ip, trafficClass, ICMP_HEADER + bytes, PROTOCOL_ICMPV6, hopLimit);
  embed(ip + IPV6_SOURCE, source);
  store<u64>(ip, seenHigh, IPV6_DESTINATION);
  store<u64>(ip, seenLow, IPV6_DESTINATION + 8);
  store<u32>(to, 0);
  store<u8>(to, newType);
  store<u8>(to, newCode, ICMP_CODE);
  setBe32(to + 4, newRest | (quoteWords << 24));
  const length = ICMP_HEADER + bytes;
  store<u16>(to, complement(sum(to, length, sumPseudoIpv6(ip, PROTOCOL_ICMPV6, length))), ICMP_CHECKSUM);
  counter(Counters.errors).add(1);
  return isHairpin ? params.hairpin : OUTPUT_NEXT;
}

/** The quoted packet as its host sent it, its header right before `upper`. */
function writeInner(
  quoted: usize,
  upper: usize,
  end: usize,
  protocol: u8,
  bytes: u32,
  remote: u32,
  isFragment: bool,
): void {
  const trafficClass = carriedClass(RawIpv4.at(quoted).tos);
  const ttl = RawIpv4.at(quoted).ttl;
  const id = <u32>RawIpv4.at(quoted).id;
  const before = fold(<u64>remote + <u64>load<u32>(quoted, IPV4_SOURCE)) ^ 0xffff;
  const next = protocol == PROTOCOL_ICMP ? PROTOCOL_ICMPV6 : protocol;
  const grown = isFragment ? FRAGMENT_HEADER : 0;
  const to = upper - IPV6_HEADER - grown;
  writeIpv6(to, trafficClass, bytes + grown, isFragment ? NEXT_HEADER_FRAGMENT : next, ttl);
  store<u64>(to, seenHigh, IPV6_SOURCE);
  store<u64>(to, seenLow, IPV6_SOURCE + 8);
  embed(to + IPV6_DESTINATION, remote);
  if (isFragment) writeFragment(upper - FRAGMENT_HEADER, next, 0, true, id);
  if (protocol == PROTOCOL_ICMP) {
    changeEcho(upper, ICMPV6_ECHO_REQUEST, seenPort, sumPseudoIpv6(to, PROTOCOL_ICMPV6, bytes));
  } else {
    requote(upper, end, protocol, 0, seenPort, fold(<u64>before + <u64>sum(to + IPV6_SOURCE, 32)));
  }
}
