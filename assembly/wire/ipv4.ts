// IPv4 (RFC 791).
//
//    0        1     2             4    6                8     9          10         12       16            20
//   +--------+-----+-------------+----+----------------+-----+----------+----------+--------+-------------+--------
//   |ver:4   | TOS | total length| id | flags:3        | TTL | protocol | checksum | source | destination | options
//   |IHL:4   |     |             |    | offset:13      |     |          |          |        |             |
//   +--------+-----+-------------+----+----------------+-----+----------+----------+--------+-------------+--------
//
// Example: is it from 10.0.0.0/8?
//
//   if (p.isIpv4 && Ipv4.of(p).source >> 24 == 10) return OUTPUT_DROP;

import { Packet } from "../abi/packet";
import { setIpv4Address, setIpv4Octet, setIpv4Word } from "../lib/fields";
import { be16, be32, setBe16, setBe32 } from "./bytes";

export const IPV4_TOS: usize = 1;
export const IPV4_TOTAL_LENGTH: usize = 2;
export const IPV4_ID: usize = 4;
export const IPV4_FRAGMENT: usize = 6;
export const IPV4_TTL: usize = 8;
export const IPV4_PROTOCOL: usize = 9;
export const IPV4_CHECKSUM: usize = 10;
export const IPV4_SOURCE: usize = 12;
export const IPV4_DESTINATION: usize = 16;
/** Bytes without options. */
export const IPV4_HEADER: u32 = 20;
export const IPV4_HEADER_MAX: u32 = 60;

export const IPV4_DONT_FRAGMENT: u16 = 0x4000;
export const IPV4_MORE_FRAGMENTS: u16 = 0x2000;
/** Of the fragment field, in units of 8 bytes. */
export const IPV4_OFFSET_MASK: u16 = 0x1fff;

export const PROTOCOL_ICMP: u8 = 1;
export const PROTOCOL_TCP: u8 = 6;
export const PROTOCOL_UDP: u8 = 17;
export const PROTOCOL_ICMPV6: u8 = 58;

/**
 * The Ipv4 header of a packet. Needs Packet.isIpv4; nothing is checked again. Setters keep every checksum right
 * that covers the field, whole, partial or absent (RFC 1624).
 */
@unmanaged
export class Ipv4 {
  /**
   * The view of a packet's header. Needs Packet.isIpv4: not checked.
   * @param p the packet
   */
  @inline static of(p: Packet): Ipv4 {
    return changetype<Ipv4>(p);
  }
  @inline private get at(): usize {
    return changetype<Packet>(this).ip;
  }
  /** Bytes, with options: 20 to 60. */
  @inline get headerLength(): u32 {
    return RawIpv4.at(this.at).headerLength;
  }
  /** DSCP in the upper 6 bits, ECN in the lower 2 (RFC 2474, RFC 3168). */
  @inline get tos(): u8 {
    return RawIpv4.at(this.at).tos;
  }
  set tos(value: u8) {
    setIpv4Octet(changetype<Packet>(this), IPV4_TOS, value);
  }
  /** Bytes of header and data. Of a super-packet, all of it. */
  @inline get totalLength(): u16 {
    return RawIpv4.at(this.at).totalLength;
  }
  /** Identification: the same in all fragments of a datagram. */
  @inline get id(): u16 {
    return RawIpv4.at(this.at).id;
  }
  set id(value: u16) {
    setIpv4Word(changetype<Packet>(this), IPV4_ID, value);
  }
  /** Flags and offset together, as on the wire: IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS, and units of 8 bytes. */
  @inline get fragment(): u16 {
    return RawIpv4.at(this.at).fragment;
  }
  set fragment(value: u16) {
    setIpv4Word(changetype<Packet>(this), IPV4_FRAGMENT, value);
  }
  /** Time to live, in hops. */
  @inline get ttl(): u8 {
    return RawIpv4.at(this.at).ttl;
  }
  set ttl(value: u8) {
    setIpv4Octet(changetype<Packet>(this), IPV4_TTL, value);
  }
  /** Protocol number of what follows: PROTOCOL_TCP and others. */
  @inline get protocol(): u8 {
    return RawIpv4.at(this.at).protocol;
  }
  /** Header checksum, in host order. */
  @inline get checksum(): u16 {
    return RawIpv4.at(this.at).checksum;
  }
  /** Source address as a number: 10.0.0.1 is 0x0a000001. */
  @inline get source(): u32 {
    return RawIpv4.at(this.at).source;
  }
  set source(value: u32) {
    setIpv4Address(changetype<Packet>(this), IPV4_SOURCE, value);
  }
  /** Destination address as a number. */
  @inline get destination(): u32 {
    return RawIpv4.at(this.at).destination;
  }
  set destination(value: u32) {
    setIpv4Address(changetype<Packet>(this), IPV4_DESTINATION, value);
  }
}

/**
 * The bytes of an Ipv4 header, wherever they lie: setters change them and nothing else, no checksum. For a header that is no
 * packet's own, as an ICMP error quotes one, and for who computes the checksums himself.
 * @example
 *   if (RawIpv4.at(p.ip).ttl == 1) return OUTPUT_DROP;
 */
@unmanaged
export class RawIpv4 {
  /** That of a packet. Needs Packet.isIpv4. @param p the packet */
  @inline static of(p: Packet): RawIpv4 {
    return changetype<RawIpv4>(p.ip);
  }
  /** One whose bytes were proved to be there: not checked. @param address of its first byte */
  @inline static at(address: usize): RawIpv4 {
    return changetype<RawIpv4>(address);
  }
  /** Bytes, with options: 20 to 60. */
  @inline get headerLength(): u32 {
    return (<u32>load<u8>(changetype<usize>(this)) & 15) << 2;
  }
  /** DSCP in the upper 6 bits, ECN in the lower 2 (RFC 2474, RFC 3168). */
  @inline get tos(): u8 {
    return load<u8>(changetype<usize>(this), IPV4_TOS);
  }
  @inline set tos(value: u8) {
    store<u8>(changetype<usize>(this), value, IPV4_TOS);
  }
  /** Bytes of header and data. Of a super-packet, all of it. */
  @inline get totalLength(): u16 {
    return be16(changetype<usize>(this) + IPV4_TOTAL_LENGTH);
  }
  @inline set totalLength(value: u16) {
    setBe16(changetype<usize>(this) + IPV4_TOTAL_LENGTH, value);
  }
  /** Identification: the same in all fragments of a datagram. */
  @inline get id(): u16 {
    return be16(changetype<usize>(this) + IPV4_ID);
  }
  @inline set id(value: u16) {
    setBe16(changetype<usize>(this) + IPV4_ID, value);
  }
  /** Flags and offset together, as on the wire: IPV4_DONT_FRAGMENT, IPV4_MORE_FRAGMENTS, and units of 8 bytes. */
  @inline get fragment(): u16 {
    return be16(changetype<usize>(this) + IPV4_FRAGMENT);
  }
  @inline set fragment(value: u16) {
    setBe16(changetype<usize>(this) + IPV4_FRAGMENT, value);
  }
  /** Time to live, in hops. */
  @inline get ttl(): u8 {
    return load<u8>(changetype<usize>(this), IPV4_TTL);
  }
  @inline set ttl(value: u8) {
    store<u8>(changetype<usize>(this), value, IPV4_TTL);
  }
  /** Protocol number of what follows: PROTOCOL_TCP and others. */
  @inline get protocol(): u8 {
    return load<u8>(changetype<usize>(this), IPV4_PROTOCOL);
  }
  /** Header checksum, in host order. */
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + IPV4_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + IPV4_CHECKSUM, value);
  }
  /** Source address as a number: 10.0.0.1 is 0x0a000001. */
  @inline get source(): u32 {
    return be32(changetype<usize>(this) + IPV4_SOURCE);
  }
  @inline set source(value: u32) {
    setBe32(changetype<usize>(this) + IPV4_SOURCE, value);
  }
  /** Destination address as a number. */
  @inline get destination(): u32 {
    return be32(changetype<usize>(this) + IPV4_DESTINATION);
  }
  @inline set destination(value: u32) {
    setBe32(changetype<usize>(this) + IPV4_DESTINATION, value);
  }
}

const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;
const OPTION_LOOSE_SOURCE_ROUTE: u8 = 131;
const OPTION_STRICT_SOURCE_ROUTE: u8 = 137;

/**
 * Does a source route send the packet on from its present destination (RFC 791, 3.1)? Needs Packet.isIpv4.
 * @param p the packet
 * @example
 *   if (p.isIpv4 && hasRouteLeft(p)) return OUTPUT_DROP;
 */
export function hasRouteLeft(p: Packet): bool {
  const end = p.ip + <usize>Ipv4.of(p).headerLength;
  let at = p.ip + IPV4_HEADER;
  while (at < end) {
    const type = load<u8>(at);
    if (type == OPTION_END) return false;
    if (type == OPTION_NO_OPERATION) {
      at++;
      continue;
    }
    // Type, length and, of a route, a pointer that counts from 1: all held against the header's end.
    if (at + 2 > end) return false;
    const length = load<u8>(at, 1);
    if (length < 2 || at + <usize>length > end) return false;
    const isRoute = type == OPTION_LOOSE_SOURCE_ROUTE || type == OPTION_STRICT_SOURCE_ROUTE;
    if (isRoute && length > 2 && load<u8>(at, 2) <= length) return true;
    at += length;
  }
  return false;
}
