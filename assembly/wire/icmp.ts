// ICMP (RFC 792) and ICMPv6 (RFC 4443): the same first eight bytes.
//
//    0      1      2          4              6                 8
//   +------+------+----------+--------------+-----------------+------
//   | type | code | checksum | identifier   | sequence        | data     of an echo; of an error, bytes 4 to 8
//   +------+------+----------+--------------+-----------------+------    depend on its type, data is what it is about
//
// Example: echo requests only.
//
//   if (p.isTransport(PROTOCOL_ICMP) && Icmp.of(p).type == ICMP_ECHO) return OUTPUT_DROP;

import { Packet } from "../abi/packet";
import { setTransportOctet, setTransportWord } from "../lib/fields";
import { be16, setBe16 } from "./bytes";

export const ICMP_TYPE: usize = 0;
export const ICMP_CODE: usize = 1;
export const ICMP_CHECKSUM: usize = 2;
export const ICMP_IDENTIFIER: usize = 4;
export const ICMP_SEQUENCE: usize = 6;
export const ICMP_HEADER: u32 = 8;

export const ICMP_ECHO_REPLY: u8 = 0;
export const ICMP_DESTINATION_UNREACHABLE: u8 = 3;
export const ICMP_SOURCE_QUENCH: u8 = 4;
export const ICMP_REDIRECT: u8 = 5;
export const ICMP_ECHO: u8 = 8;
export const ICMP_TIME_EXCEEDED: u8 = 11;
export const ICMP_PARAMETER_PROBLEM: u8 = 12;

/** ICMPv6 errors are the types below 128. */
export const ICMPV6_INFORMATIONAL: u8 = 128;
export const ICMPV6_DESTINATION_UNREACHABLE: u8 = 1;
export const ICMPV6_PACKET_TOO_BIG: u8 = 2;
export const ICMPV6_TIME_EXCEEDED: u8 = 3;
export const ICMPV6_PARAMETER_PROBLEM: u8 = 4;
export const ICMPV6_ECHO_REQUEST: u8 = 128;
export const ICMPV6_ECHO_REPLY: u8 = 129;
export const ICMPV6_REDIRECT: u8 = 137;

/**
 * The Icmp header of a packet. Needs Packet.isTransport(PROTOCOL_ICMP), or of PROTOCOL_ICMPV6; nothing is checked again. Setters keep every checksum right
 * that covers the field, whole, partial or absent (RFC 1624).
 */
@unmanaged
export class Icmp {
  /**
   * The view of a packet's header. Needs Packet.isTransport(PROTOCOL_ICMP), or of PROTOCOL_ICMPV6: not checked.
   * @param p the packet
   */
  @inline static of(p: Packet): Icmp {
    return changetype<Icmp>(p);
  }
  @inline private get at(): usize {
    return changetype<Packet>(this).transport;
  }
  /** Type of message: ICMP_ECHO and others, or ICMPV6_ECHO_REQUEST and others. */
  @inline get type(): u8 {
    return RawIcmp.at(this.at).type;
  }
  set type(value: u8) {
    setTransportOctet(changetype<Packet>(this), ICMP_TYPE, value);
  }
  /** What the type leaves open. */
  @inline get code(): u8 {
    return RawIcmp.at(this.at).code;
  }
  set code(value: u8) {
    setTransportOctet(changetype<Packet>(this), ICMP_CODE, value);
  }
  /** Checksum in host order. */
  @inline get checksum(): u16 {
    return RawIcmp.at(this.at).checksum;
  }
  /** Of an echo: who asks. */
  @inline get identifier(): u16 {
    return RawIcmp.at(this.at).identifier;
  }
  set identifier(value: u16) {
    setTransportWord(changetype<Packet>(this), ICMP_IDENTIFIER, value);
  }
  /** Of an echo: which question. */
  @inline get sequence(): u16 {
    return RawIcmp.at(this.at).sequence;
  }
  set sequence(value: u16) {
    setTransportWord(changetype<Packet>(this), ICMP_SEQUENCE, value);
  }
}

/**
 * The bytes of an Icmp header, wherever they lie: setters change them and nothing else, no checksum. For a header that is no
 * packet's own, as an ICMP error quotes one, and for who computes the checksums himself.
 * @example
 *   if (RawIcmp.at(p.transport).code == 1) return OUTPUT_DROP;
 */
@unmanaged
export class RawIcmp {
  /** That of a packet. Needs Packet.isTransport(PROTOCOL_ICMP), or of PROTOCOL_ICMPV6. @param p the packet */
  @inline static of(p: Packet): RawIcmp {
    return changetype<RawIcmp>(p.transport);
  }
  /** One whose bytes were proved to be there: not checked. @param address of its first byte */
  @inline static at(address: usize): RawIcmp {
    return changetype<RawIcmp>(address);
  }
  /** Type of message: ICMP_ECHO and others, or ICMPV6_ECHO_REQUEST and others. */
  @inline get type(): u8 {
    return load<u8>(changetype<usize>(this), ICMP_TYPE);
  }
  @inline set type(value: u8) {
    store<u8>(changetype<usize>(this), value, ICMP_TYPE);
  }
  /** What the type leaves open. */
  @inline get code(): u8 {
    return load<u8>(changetype<usize>(this), ICMP_CODE);
  }
  @inline set code(value: u8) {
    store<u8>(changetype<usize>(this), value, ICMP_CODE);
  }
  /** Checksum in host order. */
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + ICMP_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + ICMP_CHECKSUM, value);
  }
  /** Of an echo: who asks. */
  @inline get identifier(): u16 {
    return be16(changetype<usize>(this) + ICMP_IDENTIFIER);
  }
  @inline set identifier(value: u16) {
    setBe16(changetype<usize>(this) + ICMP_IDENTIFIER, value);
  }
  /** Of an echo: which question. */
  @inline get sequence(): u16 {
    return be16(changetype<usize>(this) + ICMP_SEQUENCE);
  }
  @inline set sequence(value: u16) {
    setBe16(changetype<usize>(this) + ICMP_SEQUENCE, value);
  }
}
