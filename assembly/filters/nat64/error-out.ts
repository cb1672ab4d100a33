// ICMPv6 errors from inside, about an IPv4 packet that came in as the IPv6 packet which they quote (RFC 7915, 5.2 and 5.3). Whoever
// gets one knows what it sent; it comes from the outside address, whoever on the way in has sent it.

import {
  be16,
  be32,
  complement,
  counter,
  fold,
  ICMP_CHECKSUM,
  ICMP_CODE,
  ICMP_ECHO_REPLY,
  ICMP_HEADER,
  ICMP_IDENTIFIER,
  ICMPV6_DESTINATION_UNREACHABLE,
  ICMPV6_ECHO_REPLY,
  ICMPV6_TIME_EXCEEDED,
  IPV4_DONT_FRAGMENT,
  IPV4_HEADER,
  IPV4_MORE_FRAGMENTS,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  Ipv6,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  RawIpv6,
  setBe32,
  sum,
  sumPseudoIpv6,
} from "pktflow/assembly";
import { completeChecksum } from "pktflow/assembly/lib/segment";
import { extract, isPrefixed } from "./addresses";
import { fragmentAt, PROTOCOL_UNKNOWN, upperAt, walk } from "./extensions";
import { FRAGMENT_HEADER, mayBeCut, rehead, writeIpv4 } from "./header";
import { isExtensible, newCode, newRest, newType, toIcmp } from "./icmp";
import { into } from "./into";
import { Counters } from "./params";
import { placeExtension, quoteBytes, quoteWords, requote } from "./quote";
import { drop } from "./refuse";
import { findOut, seenOutside, seenOutsidePort } from "./sessions";
import { outsideIndex } from "./settings";
import { carriedClass, changeEcho, nextIdentification } from "./translate";

const LONGEST: u32 = 65535;

/** @param destination the IPv4 address that it is sent to */
export function errorOut(p: Packet, destination: u32): Output {
  const ip = p.ip;
  if (Ipv6.of(p).hopLimit <= 1) return drop(Counters.expired);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  const icmp = p.transport;
  const all = <u32>(p.ipEnd - icmp);
  if (sum(icmp, all, sumPseudoIpv6(ip, PROTOCOL_ICMPV6, all)) != 0xffff) return drop(Counters.badChecksum);
  const type = load<u8>(icmp);
  const code = load<u8>(icmp, ICMP_CODE);
  const rest = be32(icmp + 4);
  const tos = carriedClass(Ipv6.of(p).trafficClass);
  const ttl = Ipv6.of(p).hopLimit - 1;
  const hasLength = type == ICMPV6_DESTINATION_UNREACHABLE || type == ICMPV6_TIME_EXCEEDED;
  const quoted = icmp + ICMP_HEADER;
  const end = quoted + quoteBytes(hasLength ? rest >> 24 : 0, 8, all - ICMP_HEADER);
  const extension = <u32>(p.ipEnd - end);

  if (quoted + IPV6_HEADER > end || load<u8>(quoted) >> 4 != 6) return drop(Counters.malformed);
  const kind = walk(quoted, end);
  const upper = upperAt;
  if (kind == PROTOCOL_UNKNOWN) return drop(Counters.malformed);
  if (fragmentAt != 0 && (be16(fragmentAt + 2) & 0xfff8) != 0) return drop(Counters.fragment);
  if (upper + 8 > end) return drop(Counters.malformed);
  const isEcho = kind == PROTOCOL_ICMPV6;
  const protocol = isEcho ? PROTOCOL_ICMP : kind;
  if (!isEcho && kind != PROTOCOL_TCP && kind != PROTOCOL_UDP) return drop(Counters.unsupportedProtocol);
  // What came in was an answer, never a ping; nor is an error quoted that quotes again.
  if (isEcho && load<u8>(upper) != ICMPV6_ECHO_REPLY) return drop(Counters.noMapping);
  if (!isPrefixed(quoted + IPV6_SOURCE)) return drop(Counters.noMapping);
  const remote = extract(quoted + IPV6_SOURCE);
  const high = load<u64>(quoted, IPV6_DESTINATION);
  const low = load<u64>(quoted, IPV6_DESTINATION + 8);
  // Its answer would have the session's tuple.
  const ports = isEcho ? <u32>load<u16>(upper, ICMP_IDENTIFIER) : rotr<u32>(load<u32>(upper), 16);
  if (!findOut(protocol, high, low, remote, ports)) return drop(Counters.noMapping);
  const extensions = <u32>(upper - quoted) - IPV6_HEADER;
  const payload = <u32>RawIpv6.at(quoted).payloadLength;
  if (payload < extensions || IPV4_HEADER + payload - extensions > LONGEST) return drop(Counters.malformed);
  const difference = IPV6_HEADER - IPV4_HEADER + (fragmentAt == 0 ? 0 : FRAGMENT_HEADER);
  if (!toIcmp(type, code, rest, difference)) return drop(Counters.unsupportedProtocol);

  const inner = upper - IPV4_HEADER;
  writeInner(quoted, upper, end, protocol, payload - extensions, remote);
  const bytes = placeExtension(
    p,
    inner,
    end,
    isExtensible ? extension : 0,
    4,
    LONGEST - IPV4_HEADER - ICMP_HEADER,
  );
  const to = inner - ICMP_HEADER;
  store<u32>(to, 0);
  store<u8>(to, newType);
  store<u8>(to, newCode, ICMP_CODE);
  setBe32(to + 4, newRest | (quoteWords << 16));
  store<u16>(to, complement(sum(to, ICMP_HEADER + bytes)), ICMP_CHECKSUM);
  const total = IPV4_HEADER + ICMP_HEADER + bytes;
  const fragment: u16 = mayBeCut(total) ? 0 : IPV4_DONT_FRAGMENT;
  const id = nextIdentification(1);
  writeIpv4(to - IPV4_HEADER, tos, total, id, fragment, ttl, PROTOCOL_ICMP, seenOutside, destination);
  rehead(p, to - IPV4_HEADER, IPV4_HEADER, ICMP_HEADER + bytes, true, PROTOCOL_ICMP);
  const outside = outsideIndex(destination);
  // About what another host behind the translator sent.
  if (outside >= 0) return into(p, <u32>outside, true);
  counter(Counters.errors).add(1);
  return OUTPUT_NEXT;
}

/** The quoted packet as it came from outside, its header right before `upper`. */
function writeInner(quoted: usize, upper: usize, end: usize, protocol: u8, bytes: u32, remote: u32): void {
  const hopLimit = RawIpv6.at(quoted).hopLimit;
  const tos = carriedClass(RawIpv6.at(quoted).trafficClass);
  const isFragment = fragmentAt != 0;
  const field = isFragment ? be16(fragmentAt + 2) : 0;
  const id: u16 = isFragment ? be16(fragmentAt + 6) : 0;
  let fragment: u16 = mayBeCut(IPV4_HEADER + bytes) ? 0 : IPV4_DONT_FRAGMENT;
  if (isFragment) fragment = (field & 1) != 0 ? IPV4_MORE_FRAGMENTS : 0;
  if (protocol == PROTOCOL_ICMP) {
    changeEcho(
      upper,
      ICMP_ECHO_REPLY,
      seenOutsidePort,
      sumPseudoIpv6(quoted, PROTOCOL_ICMPV6, bytes) ^ 0xffff,
    );
  } else {
    const before = sum(quoted + IPV6_SOURCE, 32) ^ 0xffff;
    const change = fold(<u64>before + <u64>remote + <u64>seenOutside);
    requote(upper, end, protocol, 2, seenOutsidePort, change);
  }
  const total = IPV4_HEADER + bytes;
  writeIpv4(upper - IPV4_HEADER, tos, total, id, fragment, hopLimit, protocol, remote, seenOutside);
}
