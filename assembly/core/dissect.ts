// Finds the headers of a packet. In: a descriptor with data, length, vnet_hdr and device; out: l3, l4, payload, protocol,
// flags and error. Bytes come from outside: every length is held against what is there before it is used, and
// nothing beyond data + length is read. What is set has been proved:
//
//   IPV4, IPV6    the IP header with its options is whole, and the IP packet's own length lies within the packet
//   l4            a whole header of TCP (with options), UDP, ICMP over IPv4 or ICMPv6 over IPv6
//   payload       what follows the last header known: the data, or the upper layer's header where it is another protocol
//
// What most packets are has a shorter way, with the same outcome: dissect-plain.ts.

import {
  MALFORMED_BAD_FRAGMENT,
  MALFORMED_BAD_IPV4_HEADER_LENGTH,
  MALFORMED_BAD_IPV4_TOTAL_LENGTH,
  MALFORMED_BAD_IPV6_PAYLOAD_LENGTH,
  MALFORMED_BAD_TCP_DATA_OFFSET,
  MALFORMED_BAD_UDP_LENGTH,
  MALFORMED_BAD_VERSION,
  MALFORMED_NONE,
  MALFORMED_TOO_MANY_EXTENSION_HEADERS,
  MALFORMED_TRUNCATED_ETHERNET,
  MALFORMED_TRUNCATED_EXTENSION_HEADER,
  MALFORMED_TRUNCATED_ICMP,
  MALFORMED_TRUNCATED_IPV4,
  MALFORMED_TRUNCATED_IPV6,
  MALFORMED_TRUNCATED_TCP,
  MALFORMED_TRUNCATED_UDP,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_MULTICAST,
  PACKET_FLAG_NOT_IP,
  PACKET_FLAG_OPTIONS,
  PACKET_FLAG_VLAN,
} from "../abi/layout";
import { Packet } from "../abi/packet";
import { be16 } from "../wire/bytes";
import {
  ETHERNET_HEADER,
  ETHERNET_TYPE,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_QINQ,
  ETHERTYPE_VLAN,
  VLAN_TAG,
} from "../wire/ethernet";
import { ICMP_HEADER } from "../wire/icmp";
import {
  IPV4_DESTINATION,
  IPV4_FRAGMENT,
  IPV4_HEADER,
  IPV4_MORE_FRAGMENTS,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_TOTAL_LENGTH,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "../wire/ipv4";
import {
  extensionLength,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  isExtension,
  NEXT_HEADER_FRAGMENT,
  NEXT_HEADER_HOP_BY_HOP,
} from "../wire/ipv6";
import { TCP_DATA_OFFSET, TCP_HEADER } from "../wire/tcp";
import { UDP_HEADER, UDP_LENGTH } from "../wire/udp";

/** An IPv6 packet with more extension headers than this is malformed to us: a chain must end. */
const MAX_EXTENSION_HEADERS: u32 = 8;
const MAX_VLAN_TAGS: u32 = 2;
/** Longest datagram that fragments may make up. */
const MAX_DATAGRAM: u32 = 65535;
const MORE_FRAGMENTS_V6: u16 = 1;
/** VIRTIO_NET_HDR_F_NEEDS_CSUM and _DATA_VALID, bits 0 and 1, are the flags CSUM_PARTIAL and CSUM_VALID. */
const VNET_CSUM: u32 = 3;
const VNET_CSUM_SHIFT: u32 = 6;

/**
 * Finds the headers of one packet.
 * @param layer 3: it starts with the IP header; 2: with the Ethernet header
 * @returns why it is malformed, MALFORMED_NONE if it is not; the caller sets MALFORMED and error
 */
export function dissectPacket(p: Packet, layer: u32): u16 {
  p.l3 = 0;
  p.l4 = 0;
  p.payload = 0;
  p.protocol = 0;
  p.error = 0;
  p.flags = checksumFlags(p);
  if (layer == 2) return ethernet(p);
  const length = p.length;
  if (length == 0) return MALFORMED_BAD_VERSION;
  const version = load<u8>(p.data) >> 4;
  if (version == 4) return ipv4(p, 0);
  if (version == 6) return ipv6(p, 0);
  return MALFORMED_BAD_VERSION;
}

/** What is known of the transport checksum before any header has been found. */
export function checksumFlags(p: Packet): u32 {
  const known = p.flags & (PACKET_FLAG_CSUM_PARTIAL | PACKET_FLAG_CSUM_VALID);
  return known | ((<u32>p.vnetFlags & VNET_CSUM) << VNET_CSUM_SHIFT);
}

function ethernet(p: Packet): u16 {
  const data = <usize>p.data;
  const length = p.length;
  if (length < ETHERNET_HEADER) return MALFORMED_TRUNCATED_ETHERNET;
  let type = be16(data + ETHERNET_TYPE);
  let offset = ETHERNET_HEADER;
  for (let tags: u32 = 0; tags < MAX_VLAN_TAGS; tags++) {
    if (type != ETHERTYPE_VLAN && type != ETHERTYPE_QINQ) break;
    if (offset + VLAN_TAG > length) return MALFORMED_TRUNCATED_ETHERNET;
    p.flags |= PACKET_FLAG_VLAN;
    type = be16(data + offset + 2);
    offset += VLAN_TAG;
  }
  if (load<u32>(data) == 0xffffffff && load<u16>(data, 4) == 0xffff) p.flags |= PACKET_FLAG_BROADCAST;
  else if ((load<u8>(data) & 1) != 0) p.flags |= PACKET_FLAG_MULTICAST;
  if (type != ETHERTYPE_IPV4 && type != ETHERTYPE_IPV6) {
    p.flags |= PACKET_FLAG_NOT_IP;
    p.payload = <u16>offset;
    return MALFORMED_NONE;
  }
  p.l3 = <u16>offset;
  return type == ETHERTYPE_IPV4 ? ipv4(p, offset) : ipv6(p, offset);
}

function ipv4(p: Packet, offset: u32): u16 {
  const ip = <usize>p.data + offset;
  const available = p.length - offset;
  if (available < IPV4_HEADER) return MALFORMED_TRUNCATED_IPV4;
  const first = <u32>load<u8>(ip);
  if (first >> 4 != 4) return MALFORMED_BAD_VERSION;
  const headerLength = (first & 15) << 2;
  if (headerLength < IPV4_HEADER) return MALFORMED_BAD_IPV4_HEADER_LENGTH;
  if (headerLength > available) return MALFORMED_TRUNCATED_IPV4;
  const totalLength = <u32>be16(ip + IPV4_TOTAL_LENGTH);
  if (totalLength < headerLength || totalLength > available) return MALFORMED_BAD_IPV4_TOTAL_LENGTH;

  let flags = PACKET_FLAG_IPV4;
  if (headerLength > IPV4_HEADER) flags |= PACKET_FLAG_OPTIONS;
  const destination = load<u32>(ip, IPV4_DESTINATION);
  if (destination == 0xffffffff) flags |= PACKET_FLAG_BROADCAST;
  else if ((destination & 0xf0) == 0xe0) flags |= PACKET_FLAG_MULTICAST;
  const protocol = load<u8>(ip, IPV4_PROTOCOL);
  const body = offset + headerLength;
  p.protocol = protocol;
  p.payload = <u16>body;

  let error = MALFORMED_NONE;
  const fragment = be16(ip + IPV4_FRAGMENT);
  if ((fragment & (IPV4_MORE_FRAGMENTS | IPV4_OFFSET_MASK)) != 0) {
    const more = (fragment & IPV4_MORE_FRAGMENTS) != 0;
    flags |= PACKET_FLAG_FRAGMENT;
    p.flags |= flags;
    error = checkFragment(
      p,
      headerLength,
      (<u32>fragment & IPV4_OFFSET_MASK) << 3,
      totalLength - headerLength,
      more,
    );
  } else {
    p.flags |= flags;
  }
  if (error == MALFORMED_NONE && carriesTransport(p)) {
    error = transport(p, protocol, body, offset + totalLength);
  }
  return error;
}

function ipv6(p: Packet, offset: u32): u16 {
  const data = <usize>p.data;
  const ip = data + offset;
  const available = p.length - offset;
  if (available < IPV6_HEADER) return MALFORMED_TRUNCATED_IPV6;
  if (load<u8>(ip) >> 4 != 6) return MALFORMED_BAD_VERSION;
  const payloadLength = <u32>be16(ip + IPV6_PAYLOAD_LENGTH);
  if (payloadLength > available - IPV6_HEADER) return MALFORMED_BAD_IPV6_PAYLOAD_LENGTH;

  p.flags |= PACKET_FLAG_IPV6;
  if (load<u8>(ip, IPV6_DESTINATION) == 0xff) p.flags |= PACKET_FLAG_MULTICAST;
  const body = offset + IPV6_HEADER;
  return extensionHeaders(p, load<u8>(ip, IPV6_NEXT_HEADER), body, body + payloadLength);
}

/** Passes over the extension headers from `at`, then the transport header. Offsets from data, `end` of the IP packet. */
function extensionHeaders(p: Packet, kind: u8, at: u32, end: u32): u16 {
  const data = <usize>p.data;
  const first = at;
  let count: u32 = 0;
  while (isExtension(kind)) {
    // RFC 8200, 4: Hop-by-Hop Options stand right after the IPv6 header, elsewhere they are no header that we know.
    if (kind == NEXT_HEADER_HOP_BY_HOP && at != first) break;
    p.protocol = kind;
    p.payload = <u16>at;
    if (count == MAX_EXTENSION_HEADERS) return MALFORMED_TOO_MANY_EXTENSION_HEADERS;
    count += 1;
    p.flags |= PACKET_FLAG_OPTIONS;
    // All are 8 bytes at least.
    if (at + 8 > end) return MALFORMED_TRUNCATED_EXTENSION_HEADER;
    const header = data + at;
    const length = extensionLength(kind, header);
    if (at + length > end) return MALFORMED_TRUNCATED_EXTENSION_HEADER;
    const next = load<u8>(header);
    at += length;
    if (kind == NEXT_HEADER_FRAGMENT) {
      const fragment = be16(header + 2);
      const start = <u32>fragment & 0xfff8;
      const more = (fragment & MORE_FRAGMENTS_V6) != 0;
      // With neither it is an atomic fragment: a whole datagram (RFC 6946).
      if (start != 0 || more) {
        p.flags |= PACKET_FLAG_FRAGMENT;
        p.protocol = next;
        p.payload = <u16>at;
        const error = checkFragment(p, at - length - first, start, end - at, more);
        if (error != MALFORMED_NONE) return error;
        if (start != 0) return MALFORMED_NONE;
      }
    }
    kind = next;
  }
  p.protocol = kind;
  p.payload = <u16>at;
  return transport(p, kind, at, end);
}

/**
 * RFC 791, 3.2 and RFC 8200, 4.5: what a fragment must be. Sets FIRST_FRAGMENT.
 * @param before bytes ahead of the fragmented part that the reassembled packet's length field counts
 * @param start the fragment's offset in bytes
 * @param length its bytes
 */
function checkFragment(p: Packet, before: u32, start: u32, length: u32, more: bool): u16 {
  if (start == 0) p.flags |= PACKET_FLAG_FIRST_FRAGMENT;
  if (length == 0 || (more && (length & 7) != 0) || before + start + length > MAX_DATAGRAM) {
    return MALFORMED_BAD_FRAGMENT;
  }
  return MALFORMED_NONE;
}

/** A whole datagram or the first fragment. */
function carriesTransport(p: Packet): bool {
  const fragment = p.flags & (PACKET_FLAG_FRAGMENT | PACKET_FLAG_FIRST_FRAGMENT);
  return fragment != PACKET_FLAG_FRAGMENT;
}

/** The transport header at offset `at`, in an IP packet that ends at offset `end`. */
function transport(p: Packet, protocol: u8, at: u32, end: u32): u16 {
  const header = <usize>p.data + at;
  const length = end - at;
  if (protocol == PROTOCOL_TCP) {
    if (length < TCP_HEADER) return MALFORMED_TRUNCATED_TCP;
    const headerLength = (<u32>load<u8>(header, TCP_DATA_OFFSET) >> 4) << 2;
    if (headerLength < TCP_HEADER || headerLength > length) return MALFORMED_BAD_TCP_DATA_OFFSET;
    p.l4 = <u16>at;
    p.payload = <u16>(at + headerLength);
    return MALFORMED_NONE;
  }
  if (protocol == PROTOCOL_UDP) {
    if (length < UDP_HEADER) return MALFORMED_TRUNCATED_UDP;
    const udpLength = <u32>be16(header + UDP_LENGTH);
    if (udpLength < UDP_HEADER) return MALFORMED_BAD_UDP_LENGTH;
    // The first fragment's UDP length is that of the whole datagram.
    if (udpLength > length && !p.isFragment) return MALFORMED_BAD_UDP_LENGTH;
    p.l4 = <u16>at;
    p.payload = <u16>(at + UDP_HEADER);
    return MALFORMED_NONE;
  }
  // Over the other IP, their numbers are protocols that we do not know.
  if (protocol == (p.isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
    if (length < ICMP_HEADER) return MALFORMED_TRUNCATED_ICMP;
    p.l4 = <u16>at;
    p.payload = <u16>(at + ICMP_HEADER);
  }
  return MALFORMED_NONE;
}
