// What ICMP says of connections: a query is one, of who asks with which identifier; an error is about that of the packet that it
// quotes.

import { Packet } from "../abi/packet";
import { be16 } from "../wire/bytes";
import {
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_HEADER,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PARAMETER_PROBLEM,
} from "../wire/icmp";
import {
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_OFFSET_MASK,
  IPV4_SOURCE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  RawIpv4,
} from "../wire/ipv4";
import {
  extensionLength,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  isExtension,
  NEXT_HEADER_FRAGMENT,
  RawIpv6,
} from "../wire/ipv6";
import { askedBy, setEndpoints } from "./conntrack-key";

const MOST_EXTENSION_HEADERS: u32 = 8;

/** The type of the request that a type of ICMP asks or answers, or -1. */
export function requestOf(type: u8, isIpv4: bool): i32 {
  if (!isIpv4) {
    if (type == ICMPV6_ECHO_REQUEST || type == ICMPV6_ECHO_REPLY) return ICMPV6_ECHO_REQUEST;
    return type == 139 || type == 140 ? 139 : -1;
  }
  if (type == ICMP_ECHO || type == ICMP_ECHO_REPLY) return ICMP_ECHO;
  // Timestamp, information and address mask (RFC 792, RFC 950).
  return type >= 13 && type <= 18 ? ((type + 1) & ~1) - 1 : -1;
}

export function isIcmpError(type: u8, isIpv4: bool): bool {
  if (!isIpv4) return type >= 1 && type <= ICMPV6_PARAMETER_PROBLEM;
  return (
    type == ICMP_DESTINATION_UNREACHABLE ||
    type == ICMP_SOURCE_QUENCH ||
    type == ICMP_REDIRECT ||
    type == ICMP_TIME_EXCEEDED ||
    type == ICMP_PARAMETER_PROBLEM
  );
}

/** Neighbor discovery and multicast listeners: nobody answers as if asked. */
export function isUntrackedIcmp(type: u8, isIpv4: bool): bool {
  return !isIpv4 && ((type >= 130 && type <= 137) || type == 143);
}

/**
 * Sets the key to that of the packet which an error is about: it quotes it, from its IP header on (RFC 792, RFC 4443 2.4).
 * @returns false: it does not show which it was
 */
export function setQuotedEndpoints(p: Packet, isIpv4: bool): bool {
  if (!p.hasTransport || p.isFragment) return false;
  const quoted = p.transport + ICMP_HEADER;
  const end = p.ipEnd;
  let protocol: u8 = 0;
  let at = quoted;
  if (isIpv4) {
    if (quoted + IPV4_HEADER > end) return false;
    const ip = RawIpv4.at(quoted);
    const length = ip.headerLength;
    if (load<u8>(quoted) >> 4 != 4 || length < IPV4_HEADER || (ip.fragment & IPV4_OFFSET_MASK) != 0)
      return false;
    // Whom the error tells of it is who sent the packet.
    if (load<u32>(quoted, IPV4_SOURCE) != load<u32>(p.ip, IPV4_DESTINATION)) return false;
    protocol = ip.protocol;
    at += length;
  } else {
    if (quoted + IPV6_HEADER > end || load<u8>(quoted) >> 4 != 6) return false;
    if (
      load<u64>(quoted, IPV6_SOURCE) != load<u64>(p.ip, IPV6_DESTINATION) ||
      load<u64>(quoted, IPV6_SOURCE + 8) != load<u64>(p.ip, IPV6_DESTINATION + 8)
    )
      return false;
    protocol = RawIpv6.at(quoted).nextHeader;
    at += IPV6_HEADER;
    for (let left = MOST_EXTENSION_HEADERS; isExtension(protocol); left--) {
      if (left == 0 || at + 8 > end) return false;
      if (protocol == NEXT_HEADER_FRAGMENT && (be16(at + 2) & 0xfff8) != 0) return false;
      const length = extensionLength(protocol, at);
      protocol = load<u8>(at);
      at += length;
    }
  }
  if (protocol == PROTOCOL_UDP || protocol == PROTOCOL_TCP) {
    if (at + 8 > end) return false;
    setEndpoints(quoted, isIpv4, be16(at), be16(at + 2), protocol, 0);
  } else if (protocol == (isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
    if (at + 8 > end) return false;
    const type = load<u8>(at);
    const request = requestOf(type, isIpv4);
    if (request < 0) return false;
    setEndpoints(quoted, isIpv4, be16(at + 4), be16(at + 4), protocol, request);
    askedBy(request == <i32>type);
  } else setEndpoints(quoted, isIpv4, 0, 0, protocol, 0);
  return true;
}
