// One IP header in the place of the other (RFC 7915, 4.1 and 5.1). What is above stays where it is, and the new header is written
// right before it; the link's header moves along.
//
//   IPv4   [link | IPv4, options          | upper layer ...]            IPv6   [link | IPv6 (40), extensions | upper layer ...]
//   IPv6 [link | IPv6 (40), Fragment (8)  | upper layer ...]            IPv4              [link | IPv4 (20)  | upper layer ...]

import {
  complement,
  IPV4_CHECKSUM,
  IPV4_HEADER,
  IPV6_HEADER,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_MULTICAST,
  PACKET_FLAG_OPTIONS,
  Packet,
  setBe16,
  setBe32,
  sumIpv4Header,
} from "pktflow/assembly";
import {
  VNET_GSO_ECN,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_NEEDS_CSUM,
} from "pktflow/assembly/wire/virtio-net";

export const FRAGMENT_HEADER: u32 = 8;
const ETHERTYPE_AT: usize = 2;
const ETHERTYPE_IPV4_BYTES: u16 = 0x0008;
const ETHERTYPE_IPV6_BYTES: u16 = 0xdd86;
const HOW: u32 =
  PACKET_FLAG_IPV4 | PACKET_FLAG_IPV6 | PACKET_FLAG_OPTIONS | PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST;

/**
 * Writes an IPv4 header without options, and its checksum.
 * @param total bytes of the packet; @param fragment flags and offset; @param source, destination as they lie in packets
 */
export function writeIpv4(
  at: usize,
  tos: u8,
  total: u32,
  id: u16,
  fragment: u16,
  ttl: u8,
  protocol: u8,
  source: u32,
  destination: u32,
): void {
  store<u8>(at, 0x45);
  store<u8>(at, tos, 1);
  setBe16(at + 2, <u16>total);
  setBe16(at + 4, id);
  setBe16(at + 6, fragment);
  store<u8>(at, ttl, 8);
  store<u8>(at, protocol, 9);
  store<u16>(at, 0, IPV4_CHECKSUM);
  store<u32>(at, source, 12);
  store<u32>(at, destination, 16);
  store<u16>(at, complement(sumIpv4Header(at)), IPV4_CHECKSUM);
}

/** Writes an IPv6 header but for its addresses; no flow label. @param payload bytes after it */
export function writeIpv6(at: usize, trafficClass: u8, payload: u32, next: u8, hopLimit: u8): void {
  setBe32(at, 0x60000000 | ((<u32>trafficClass) << 20));
  setBe16(at + 4, <u16>payload);
  store<u8>(at, next, 6);
  store<u8>(at, hopLimit, 7);
}

/** Writes a Fragment header (RFC 8200, 4.5). @param offset bytes, a multiple of 8 */
export function writeFragment(at: usize, next: u8, offset: u32, more: bool, id: u32): void {
  store<u8>(at, next);
  store<u8>(at, 0, 1);
  setBe16(at + 2, <u16>(offset | (more ? 1 : 0)));
  setBe32(at + 4, id);
}

/**
 * Puts the link's header before where the new IP header goes, and describes the packet anew.
 * @param ip where it goes; @param headers its bytes with extensions; @param upper bytes after it
 * @param protocol of the upper layer; the packet has a transport header if it had one
 */
export function rehead(p: Packet, ip: usize, headers: u32, upper: u32, isIpv4: bool, protocol: u8): void {
  const link = <u32>p.l3;
  const had = <u32>p.l4;
  const inUpper = had == 0 ? 0 : <u32>p.payload - had;
  if (link != 0) {
    memory.copy(ip - link, p.data, link);
    store<u16>(ip - ETHERTYPE_AT, isIpv4 ? ETHERTYPE_IPV4_BYTES : ETHERTYPE_IPV6_BYTES);
  }
  p.data = <u32>ip - link;
  p.length = link + headers + upper;
  const at = link + headers;
  p.l4 = had == 0 ? 0 : <u16>at;
  p.payload = <u16>(at + inUpper);
  p.protocol = protocol;
  p.flags = (p.flags & ~HOW) | (isIpv4 ? PACKET_FLAG_IPV4 : PACKET_FLAG_IPV6);
  if (!isIpv4 && headers != IPV6_HEADER) p.flags |= PACKET_FLAG_OPTIONS;
  // Whose the partial checksum is has not changed, but where it lies.
  if ((p.vnetFlags & VNET_NEEDS_CSUM) != 0 && had != 0) {
    p.vnetCsumStart = <u16>(<u32>p.vnetCsumStart + at - had);
  }
  const type = p.vnetGsoType & ~VNET_GSO_ECN;
  const ecn = p.vnetGsoType & VNET_GSO_ECN;
  if (type == VNET_GSO_TCPV6 && isIpv4) p.vnetGsoType = VNET_GSO_TCPV4 | ecn;
  else if (type == VNET_GSO_TCPV4 && !isIpv4) p.vnetGsoType = VNET_GSO_TCPV6 | ecn;
}

/** Bytes of the largest packet that this one is on the wire, with an IP header of so many bytes: of a super-packet, a segment. */
export function wireBytes(p: Packet, headers: u32, upper: u32): u32 {
  if (p.vnetGsoType == 0 || p.l4 == 0) return headers + upper;
  return min(headers + upper, headers + <u32>p.payload - <u32>p.l4 + <u32>p.vnetGsoSize);
}

/** RFC 7915, 5.1: what IPv4 routers may cut is at most as long as 1280 bytes of IPv6 are. */
export function mayBeCut(bytes: u32): bool {
  return bytes <= 1280 - IPV6_HEADER + IPV4_HEADER;
}
