// Types and codes of ICMP errors (RFC 7915, 4.2 and 5.2), and the fields behind them: an MTU, a pointer, the length of the quote.

import {
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_PARAMETER_PROBLEM,
  ICMP_TIME_EXCEEDED,
  ICMPV6_DESTINATION_UNREACHABLE,
  ICMPV6_PACKET_TOO_BIG,
  ICMPV6_PARAMETER_PROBLEM,
  ICMPV6_TIME_EXCEEDED,
} from "pktflow/assembly";
import { ipv4Mtu, ipv6Mtu, LEAST_IPV6_MTU } from "./settings";

// What the error becomes.
export let newType: u8 = 0;
export let newCode: u8 = 0;
/** Bytes 4 to 7 as a number, without the length of the quote. */
export let newRest: u32 = 0;
/** May it have a length of the quote (RFC 4884)? */
export let isExtensible: bool = false;

/** Nobody's pointer: no field of the other header is meant. */
const NONE: u32 = 0xffffffff;

function becomes(type: u8, code: u8, rest: u32): bool {
  newType = type;
  newCode = code;
  newRest = rest;
  return true;
}

export function isError4(type: u8): bool {
  return type == ICMP_DESTINATION_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

/**
 * @param rest bytes 4 to 7; @param quotedBytes total length that the quoted header says
 * @param difference bytes that a packet like the quoted one is longer over IPv6
 * @returns false: it means nothing over IPv6
 */
export function toIcmpv6(type: u8, code: u8, rest: u32, quotedBytes: u32, difference: u32): bool {
  isExtensible = false;
  if (type == ICMP_TIME_EXCEEDED) {
    isExtensible = true;
    return becomes(ICMPV6_TIME_EXCEEDED, code, 0);
  }
  if (type == ICMP_PARAMETER_PROBLEM) {
    if (code != 0 && code != 2) return false;
    const pointer = pointerTo6(rest >> 24);
    return pointer != NONE && becomes(ICMPV6_PARAMETER_PROBLEM, 0, pointer);
  }
  // Protocol unreachable: the pointer is to the next header field.
  if (code == 2) return becomes(ICMPV6_PARAMETER_PROBLEM, 1, 6);
  if (code == 4) {
    const said = rest & 0xffff;
    const mtu = said != 0 ? said : plateau(quotedBytes);
    const least = min(mtu + difference, min(ipv6Mtu, ipv4Mtu + difference));
    return becomes(ICMPV6_PACKET_TOO_BIG, 0, max(LEAST_IPV6_MTU, least));
  }
  if (code == 14 || code > 15) return false;
  isExtensible = true;
  const prohibited = code == 9 || code == 10 || code == 13 || code == 15;
  return becomes(ICMPV6_DESTINATION_UNREACHABLE, code == 3 ? 4 : prohibited ? 1 : 0, 0);
}

/** The same from ICMPv6 to ICMP. */
export function toIcmp(type: u8, code: u8, rest: u32, difference: u32): bool {
  isExtensible = false;
  if (type == ICMPV6_DESTINATION_UNREACHABLE) {
    if (code > 4) return false;
    isExtensible = true;
    return becomes(ICMP_DESTINATION_UNREACHABLE, code == 4 ? 3 : code == 1 ? 10 : 1, 0);
  }
  if (type == ICMPV6_PACKET_TOO_BIG) {
    const mtu = rest > difference ? rest - difference : 0;
    const least = min(mtu, min(ipv4Mtu, ipv6Mtu - difference));
    return becomes(ICMP_DESTINATION_UNREACHABLE, 4, min<u32>(0xffff, least));
  }
  if (type == ICMPV6_TIME_EXCEEDED) {
    isExtensible = true;
    return becomes(ICMP_TIME_EXCEEDED, code, 0);
  }
  if (type != ICMPV6_PARAMETER_PROBLEM) return false;
  if (code == 1) return becomes(ICMP_DESTINATION_UNREACHABLE, 2, 0);
  if (code != 0) return false;
  const pointer = pointerTo4(rest);
  return pointer != NONE && becomes(ICMP_PARAMETER_PROBLEM, 0, pointer << 24);
}

/** RFC 7915, figure 3: from the octets of an IPv4 header. */
function pointerTo6(pointer: u32): u32 {
  if (pointer <= 1) return pointer;
  if (pointer == 2 || pointer == 3) return 4;
  if (pointer == 8) return 7;
  if (pointer == 9) return 6;
  if (pointer >= 12 && pointer <= 15) return 8;
  return pointer >= 16 && pointer <= 19 ? 24 : NONE;
}

/** RFC 7915, figure 6: from those of an IPv6 header. */
function pointerTo4(pointer: u32): u32 {
  if (pointer <= 1) return pointer;
  if (pointer == 4 || pointer == 5) return 2;
  if (pointer == 6) return 9;
  if (pointer == 7) return 8;
  if (pointer >= 8 && pointer <= 23) return 12;
  return pointer >= 24 && pointer <= 39 ? 16 : NONE;
}

/** What an IPv4 router that names no MTU may have meant (RFC 1191, 7.1): the greatest plateau below the packet. */
function plateau(bytes: u32): u32 {
  if (bytes > 32000) return 32000;
  if (bytes > 17914) return 17914;
  if (bytes > 8166) return 8166;
  if (bytes > 4352) return 4352;
  if (bytes > 2002) return 2002;
  return bytes > 1492 ? 1492 : LEAST_IPV6_MTU;
}
