// IPv6 (RFC 8200) and its extension headers.
//
//    0                      4               6             7           8              24             40
//   +----------------------+---------------+-------------+-----------+--------------+--------------+
//   | ver:4 class:8 flow:20| payload length| next header | hop limit | source (16)  | dest. (16)   |
//   +----------------------+---------------+-------------+-----------+--------------+--------------+
//
// Example: a hop limit that is about to run out.
//
//   if (p.isIpv6 && Ipv6.of(p).hopLimit <= 1) return OUTPUT_DROP;

import { Packet } from "../abi/packet";
import { setIpv6Address } from "../lib/fields";
import { be16, be32, be64, setBe16, setBe32, setBe64 } from "./bytes";

export const IPV6_PAYLOAD_LENGTH: usize = 4;
export const IPV6_NEXT_HEADER: usize = 6;
export const IPV6_HOP_LIMIT: usize = 7;
export const IPV6_SOURCE: usize = 8;
export const IPV6_DESTINATION: usize = 24;
export const IPV6_HEADER: u32 = 40;

export const NEXT_HEADER_HOP_BY_HOP: u8 = 0;
export const NEXT_HEADER_ROUTING: u8 = 43;
export const NEXT_HEADER_FRAGMENT: u8 = 44;
/** Authentication Header (RFC 4302). */
export const NEXT_HEADER_AUTHENTICATION: u8 = 51;
export const NEXT_HEADER_NONE: u8 = 59;
export const NEXT_HEADER_DESTINATION: u8 = 60;

/**
 * The Ipv6 header of a packet. Needs Packet.isIpv6; nothing is checked again. Setters keep every checksum right
 * that covers the field, whole, partial or absent (RFC 1624).
 * @example
 *   if (p.isIpv6) Ipv6.of(p).setSource(0x20010db800000000, 1); // 2001:db8::1
 *   if (p.isIpv6) Ipv6.of(p).setDestination(0x20010db800000000, 2);
 */
@unmanaged
export class Ipv6 {
  /**
   * The view of a packet's header. Needs Packet.isIpv6: not checked.
   * @param p the packet
   */
  @inline static of(p: Packet): Ipv6 {
    return changetype<Ipv6>(p);
  }
  @inline private get at(): usize {
    return changetype<Packet>(this).ip;
  }
  /** DSCP in the upper 6 bits, ECN in the lower 2. No checksum covers it. */
  @inline get trafficClass(): u8 {
    return RawIpv6.at(this.at).trafficClass;
  }
  set trafficClass(value: u8) {
    RawIpv6.at(this.at).trafficClass = value;
  }
  /** 20 bits (RFC 6437). No checksum covers it. */
  @inline get flowLabel(): u32 {
    return RawIpv6.at(this.at).flowLabel;
  }
  set flowLabel(value: u32) {
    RawIpv6.at(this.at).flowLabel = value;
  }
  /** Bytes after the 40 of this header, extension headers included. */
  @inline get payloadLength(): u16 {
    return RawIpv6.at(this.at).payloadLength;
  }
  /** The first extension header's number, or the protocol; Packet.protocol is the one after them. */
  @inline get nextHeader(): u8 {
    return RawIpv6.at(this.at).nextHeader;
  }
  /** Hops that are left. No checksum covers it. */
  @inline get hopLimit(): u8 {
    return RawIpv6.at(this.at).hopLimit;
  }
  set hopLimit(value: u8) {
    RawIpv6.at(this.at).hopLimit = value;
  }
  /** Upper 64 bits of the source address, in host order. */
  @inline get sourceHigh(): u64 {
    return RawIpv6.at(this.at).sourceHigh;
  }
  /** Lower 64 bits of the source address. */
  @inline get sourceLow(): u64 {
    return RawIpv6.at(this.at).sourceLow;
  }
  /** Upper 64 bits of the destination address. */
  @inline get destinationHigh(): u64 {
    return RawIpv6.at(this.at).destinationHigh;
  }
  /** Lower 64 bits of the destination address. */
  @inline get destinationLow(): u64 {
    return RawIpv6.at(this.at).destinationLow;
  }
  /** Sets the source address. Never fails. @param high upper 64 bits, host order @param low lower 64 bits */
  setSource(high: u64, low: u64): void {
    setIpv6Address(changetype<Packet>(this), IPV6_SOURCE, high, low);
  }
  /** Sets the destination address. Never fails. @param high upper 64 bits, host order @param low lower 64 bits */
  setDestination(high: u64, low: u64): void {
    setIpv6Address(changetype<Packet>(this), IPV6_DESTINATION, high, low);
  }
}

/**
 * The bytes of an Ipv6 header, wherever they lie: setters change them and nothing else, no checksum. For a header that is no
 * packet's own, as an ICMP error quotes one, and for who computes the checksums himself.
 * @example
 *   if (RawIpv6.at(p.ip).hopLimit == 1) return OUTPUT_DROP;
 */
@unmanaged
export class RawIpv6 {
  /** That of a packet. Needs Packet.isIpv6. @param p the packet */
  @inline static of(p: Packet): RawIpv6 {
    return changetype<RawIpv6>(p.ip);
  }
  /** One whose bytes were proved to be there: not checked. @param address of its first byte */
  @inline static at(address: usize): RawIpv6 {
    return changetype<RawIpv6>(address);
  }
  /** DSCP in the upper 6 bits, ECN in the lower 2. No checksum covers it. */
  @inline get trafficClass(): u8 {
    return <u8>(be16(changetype<usize>(this)) >> 4);
  }
  @inline set trafficClass(value: u8) {
    setBe16(changetype<usize>(this), (be16(changetype<usize>(this)) & 0xf00f) | ((<u16>value) << 4));
  }
  /** 20 bits (RFC 6437). No checksum covers it. */
  @inline get flowLabel(): u32 {
    return be32(changetype<usize>(this)) & 0xfffff;
  }
  @inline set flowLabel(value: u32) {
    setBe32(changetype<usize>(this), (be32(changetype<usize>(this)) & 0xfff00000) | (value & 0xfffff));
  }
  /** Bytes after the 40 of this header, extension headers included. */
  @inline get payloadLength(): u16 {
    return be16(changetype<usize>(this) + IPV6_PAYLOAD_LENGTH);
  }
  @inline set payloadLength(value: u16) {
    setBe16(changetype<usize>(this) + IPV6_PAYLOAD_LENGTH, value);
  }
  /** The first extension header's number, or the protocol; Packet.protocol is the one after them. */
  @inline get nextHeader(): u8 {
    return load<u8>(changetype<usize>(this), IPV6_NEXT_HEADER);
  }
  /** Hops that are left. No checksum covers it. */
  @inline get hopLimit(): u8 {
    return load<u8>(changetype<usize>(this), IPV6_HOP_LIMIT);
  }
  @inline set hopLimit(value: u8) {
    store<u8>(changetype<usize>(this), value, IPV6_HOP_LIMIT);
  }
  /** Upper 64 bits of the source address, in host order. */
  @inline get sourceHigh(): u64 {
    return be64(changetype<usize>(this) + IPV6_SOURCE);
  }
  /** Lower 64 bits of the source address. */
  @inline get sourceLow(): u64 {
    return be64(changetype<usize>(this) + IPV6_SOURCE + 8);
  }
  /** Upper 64 bits of the destination address. */
  @inline get destinationHigh(): u64 {
    return be64(changetype<usize>(this) + IPV6_DESTINATION);
  }
  /** Lower 64 bits of the destination address. */
  @inline get destinationLow(): u64 {
    return be64(changetype<usize>(this) + IPV6_DESTINATION + 8);
  }
  /** Sets the source address alone. Never fails. @param high upper 64 bits, host order @param low lower 64 bits */
  @inline setSource(high: u64, low: u64): void {
    setBe64(changetype<usize>(this) + IPV6_SOURCE, high);
    setBe64(changetype<usize>(this) + IPV6_SOURCE + 8, low);
  }
  /** Sets the destination address alone. Never fails. @param high upper 64 bits, host order @param low lower 64 bits */
  @inline setDestination(high: u64, low: u64): void {
    setBe64(changetype<usize>(this) + IPV6_DESTINATION, high);
    setBe64(changetype<usize>(this) + IPV6_DESTINATION + 8, low);
  }
}

/**
 * Bytes of an extension header; its kind decides how it counts them. Needs that two bytes of it are there.
 * @param kind NEXT_HEADER_FRAGMENT and others
 * @param at its address
 * @example
 *   const kind = Ipv6.of(p).nextHeader;
 *   if (isExtension(kind)) p.mark = extensionLength(kind, p.ip + IPV6_HEADER);
 */
export function extensionLength(kind: u8, at: usize): u32 {
  const length = <u32>load<u8>(at, 1);
  if (kind == NEXT_HEADER_FRAGMENT) return 8;
  return kind == NEXT_HEADER_AUTHENTICATION ? (length + 2) << 2 : (length + 1) << 3;
}

/**
 * Is it an extension header that is passed over on the way to the transport header? Never fails.
 * @param kind a next header's number
 */
export function isExtension(kind: u8): bool {
  return (
    kind == NEXT_HEADER_HOP_BY_HOP ||
    kind == NEXT_HEADER_ROUTING ||
    kind == NEXT_HEADER_FRAGMENT ||
    kind == NEXT_HEADER_DESTINATION ||
    kind == NEXT_HEADER_AUTHENTICATION
  );
}

/**
 * Does a Routing header send the packet on from its present destination (RFC 8200, 4.4)? Needs Packet.isIpv6 and hasTransport.
 * @param p the packet
 * @example
 *   if (p.isIpv6 && p.hasTransport && hasSegmentsLeft(p)) return OUTPUT_DROP;
 */
export function hasSegmentsLeft(p: Packet): bool {
  let at = p.ip + IPV6_HEADER;
  let kind = Ipv6.of(p).nextHeader;
  // dissect walked the same chain to the transport header, so it ends there.
  while (at < p.transport) {
    if (kind == NEXT_HEADER_ROUTING && load<u8>(at, 3) != 0) return true;
    const length = extensionLength(kind, at);
    kind = load<u8>(at);
    at += length;
  }
  return false;
}
