// A packet becomes the ICMP error about it, in place: its first bytes stay where they are and become what the error
// quotes, and new headers go before them, into the slot's headroom. In: a packet that refusesError() allows.
//
//   before                  [Ethernet, tags | IP | transport | data ...                            ]
//   after    [Ethernet, tags | IP | ICMP (8) | IP | transport | data, up to 576 or 1280 bytes in all]
//
// Who sends the packet on sees a packet like any other: all fields of the descriptor are as dissect would set them.
//
// Example: whoever sends TCP is told that nobody listens.
//
//   if (!p.isTransport(PROTOCOL_TCP) || refusesError(p) != ERROR_ALLOWED) return OUTPUT_NEXT;
//   becomeError(p, p.isIpv4 ? 3 : 1, p.isIpv4 ? 3 : 4, 0, 0);
//   return Outputs.back;

import { random } from "../abi/context";
import {
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_MULTICAST,
  PACKET_FLAG_VLAN,
} from "../abi/layout";
import { Packet } from "../abi/packet";
import { setBe16, setBe32 } from "../wire/bytes";
import { Ethernet } from "../wire/ethernet";
import {
  ICMP_CHECKSUM,
  ICMP_CODE,
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_HEADER,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMP_TYPE,
  ICMPV6_INFORMATIONAL,
  ICMPV6_REDIRECT,
  Icmp,
} from "../wire/icmp";
import {
  IPV4_CHECKSUM,
  IPV4_FRAGMENT,
  IPV4_HEADER,
  IPV4_ID,
  Ipv4,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  RawIpv4,
} from "../wire/ipv4";
import {
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  Ipv6,
} from "../wire/ipv6";
import { complement, sum, sumIpv4Header, sumPseudoIpv6 } from "./checksum";
import { completeChecksum, isSuper, keepFirstSegment } from "./segment";

/** RFC 1812, 4.3.2.3: as much of the packet as fits without the error exceeding 576 bytes. */
const LONGEST_IPV4: u32 = 576;
/** RFC 4443, 2.4 c: the least MTU of IPv6. */
export const LONGEST_ERROR: u32 = 1280;
const TTL: u8 = 64;
/** RFC 1812, 4.3.2.5: precedence "internetwork control"; the packet's own type of service otherwise. */
const TOS_INTERNETWORK_CONTROL: u8 = 0xc0;
const TOS_MASK: u8 = 0x1e;

/** What refusesError() gives. */
export const ERROR_ALLOWED: u32 = 0;
export const ERROR_OF_MALFORMED: u32 = 1;
export const ERROR_OF_NOT_IP: u32 = 2;
export const ERROR_OF_LATER_FRAGMENT: u32 = 3;
export const ERROR_TO_MANY: u32 = 4;
export const ERROR_FROM_NOBODY: u32 = 5;
export const ERROR_ABOUT_ERROR: u32 = 6;

/** The last type of RFC 792 and 950; what came later is experimental, and may be an error. */
const ICMP_LAST_KNOWN: u8 = 18;
const ETHERNET_GROUP: u64 = 0x010000000000;

/**
 * May there be an error about this packet? Never about one that is an error itself, or that would be answered to many hosts or
 * to another one than its sender (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e).
 * @returns ERROR_ALLOWED, or why not
 */
export function refusesError(p: Packet): u32 {
  if (p.isMalformed) return ERROR_OF_MALFORMED;
  if (!p.isIp) return ERROR_OF_NOT_IP;
  if (p.isFragment && !p.has(PACKET_FLAG_FIRST_FRAGMENT)) return ERROR_OF_LATER_FRAGMENT;
  if (p.has(PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST)) return ERROR_TO_MANY;
  if (p.l3 != 0 && (Ethernet.at(p.data).source & ETHERNET_GROUP) != 0) return ERROR_FROM_NOBODY;
  return p.isIpv4 ? refusesIpv4(p) : refusesIpv6(p);
}

function refusesIpv4(p: Packet): u32 {
  const ip = Ipv4.of(p);
  if (!isHost(ip.destination)) return ERROR_TO_MANY;
  if (!isHost(ip.source)) return ERROR_FROM_NOBODY;
  if (p.isTransport(PROTOCOL_ICMP) && isError(Icmp.of(p).type)) return ERROR_ABOUT_ERROR;
  return ERROR_ALLOWED;
}

/** Not "this network" 0/8, loopback 127/8, multicast 224/4, reserved and broadcast 240/4 (RFC 6890). */
function isHost(address: u32): bool {
  const first = address >> 24;
  return first != 0 && first != 127 && first < 224;
}

function isError(type: u8): bool {
  return (
    type == ICMP_DESTINATION_UNREACHABLE ||
    type == ICMP_SOURCE_QUENCH ||
    type == ICMP_REDIRECT ||
    type == ICMP_TIME_EXCEEDED ||
    type == ICMP_PARAMETER_PROBLEM ||
    type > ICMP_LAST_KNOWN
  );
}

function refusesIpv6(p: Packet): u32 {
  const ip = Ipv6.of(p);
  // Multicast destinations have their flag already. ::/127 is the unspecified address and loopback.
  if (ip.destinationHigh == 0 && ip.destinationLow <= 1) return ERROR_TO_MANY;
  if (ip.sourceHigh == 0 && ip.sourceLow <= 1) return ERROR_FROM_NOBODY;
  if (ip.sourceHigh >> 56 == 0xff) return ERROR_FROM_NOBODY;
  if (p.isTransport(PROTOCOL_ICMPV6)) {
    const type = Icmp.of(p).type;
    if (type < ICMPV6_INFORMATIONAL || type == ICMPV6_REDIRECT) return ERROR_ABOUT_ERROR;
  }
  return ERROR_ALLOWED;
}

/** Leaves of a packet what its sender's kernel would have put on the wire first. @returns bytes of the error, from its IP header */
export function prepareError(p: Packet): u32 {
  if (isSuper(p)) keepFirstSegment(p);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  return headersOf(p) + quoteOf(p);
}

/**
 * Makes a packet the error about it, after prepareError().
 * @param type, code of ICMP or ICMPv6; @param rest bytes 4 to 7 as a number: an MTU, a pointer
 * @param from address of the error's source, 4 or 16 bytes; 0: it comes from where the packet wanted to go
 */
export function becomeError(p: Packet, type: u8, code: u8, rest: u32, from: usize): void {
  const headers = headersOf(p);
  const quote = quoteOf(p);
  makeRoom(p, headers, quote);
  if (p.isIpv4) writeIpv4(p, quote, type, code, rest, from);
  else writeIpv6(p, quote, type, code, rest, from);
  describe(p, headers, quote);
}

function headersOf(p: Packet): u32 {
  return (p.isIpv4 ? IPV4_HEADER : IPV6_HEADER) + ICMP_HEADER;
}

function quoteOf(p: Packet): u32 {
  // A slot has room for more than this, unless a device's MTU is tiny.
  const longest = min<u32>(p.isIpv4 ? LONGEST_IPV4 : LONGEST_ERROR, p.capacity - p.l3);
  return min<u32>(<u32>(p.ipEnd - p.ip), longest - headersOf(p));
}

/**
 * Moves the link's header to the front of where the IP header will be, its addresses swapped; if filters before have
 * used up the headroom, the quote moves back first. Afterwards p.ip is where the error's IP header goes.
 */
function makeRoom(p: Packet, headers: u32, quote: u32): void {
  const link = <u32>p.l3;
  let quoted = p.ip;
  const before = <u32>quoted - p.slot;
  if (before < link + headers) {
    const moved = <usize>(p.slot + link + headers);
    memory.copy(moved, quoted, quote);
    quoted = moved;
  }
  const data = quoted - headers - link;
  if (link != 0) {
    memory.copy(data, p.data, link);
    const ethernet = Ethernet.at(data);
    const sender = ethernet.source;
    ethernet.source = ethernet.destination;
    ethernet.destination = sender;
  }
  p.data = <u32>data;
}

function writeIpv4(p: Packet, quote: u32, type: u8, code: u8, rest: u32, from: usize): void {
  const ip = p.ip;
  const icmp = ip + IPV4_HEADER;
  const quoted = icmp + ICMP_HEADER;
  const tos = (RawIpv4.at(quoted).tos & TOS_MASK) | TOS_INTERNETWORK_CONTROL;
  store<u8>(ip, 0x45);
  store<u8>(ip, tos, 1);
  setBe16(ip + 2, <u16>(IPV4_HEADER + ICMP_HEADER + quote));
  store<u16>(ip, <u16>random(), IPV4_ID);
  store<u16>(ip, 0, IPV4_FRAGMENT);
  store<u8>(ip, TTL, 8);
  store<u8>(ip, PROTOCOL_ICMP, 9);
  store<u16>(ip, 0, IPV4_CHECKSUM);
  store<u32>(ip, from != 0 ? load<u32>(from) : load<u32>(quoted, 16), 12);
  store<u32>(ip, load<u32>(quoted, 12), 16);
  store<u16>(ip, complement(sumIpv4Header(ip)), IPV4_CHECKSUM);
  writeIcmp(icmp, type, code, rest);
  store<u16>(icmp, complement(sum(icmp, ICMP_HEADER + quote)), ICMP_CHECKSUM);
}

function writeIpv6(p: Packet, quote: u32, type: u8, code: u8, rest: u32, from: usize): void {
  const ip = p.ip;
  const icmp = ip + IPV6_HEADER;
  const quoted = icmp + ICMP_HEADER;
  const length = ICMP_HEADER + quote;
  setBe32(ip, 0x60000000);
  setBe16(ip + IPV6_PAYLOAD_LENGTH, <u16>length);
  store<u8>(ip, PROTOCOL_ICMPV6, IPV6_NEXT_HEADER);
  store<u8>(ip, TTL, IPV6_HOP_LIMIT);
  memory.copy(ip + IPV6_SOURCE, from != 0 ? from : quoted + IPV6_DESTINATION, 16);
  memory.copy(ip + IPV6_DESTINATION, quoted + IPV6_SOURCE, 16);
  writeIcmp(icmp, type, code, rest);
  const pseudo = sumPseudoIpv6(ip, PROTOCOL_ICMPV6, length);
  store<u16>(icmp, complement(sum(icmp, length, pseudo)), ICMP_CHECKSUM);
}

function writeIcmp(icmp: usize, type: u8, code: u8, rest: u32): void {
  store<u32>(icmp, 0);
  setBe32(icmp + 4, rest);
  store<u8>(icmp, type, ICMP_TYPE);
  store<u8>(icmp, code, ICMP_CODE);
}

/** The error's descriptor: a plain packet, whole, with a complete checksum, whatever the one before was. */
function describe(p: Packet, headers: u32, quote: u32): void {
  const isIpv4 = p.isIpv4;
  p.length = <u32>p.l3 + headers + quote;
  p.l4 = p.l3 + <u16>(headers - ICMP_HEADER);
  p.payload = p.l3 + <u16>headers;
  p.protocol = isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
  p.flags = (isIpv4 ? PACKET_FLAG_IPV4 : PACKET_FLAG_IPV6) | (p.flags & PACKET_FLAG_VLAN);
  p.vnetFlags = 0;
  p.vnetGsoType = 0;
  p.vnetHdrLen = 0;
  p.vnetGsoSize = 0;
  p.vnetCsumStart = 0;
  p.vnetCsumOffset = 0;
  p.datagrams = 1;
}
