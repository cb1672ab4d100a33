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

/** Safe where Packet.isTransport(PROTOCOL_ICMP), or of PROTOCOL_ICMPV6: eight bytes are there. */
@unmanaged
export class Icmp {
  @inline static of(p: Packet): Icmp {
    return changetype<Icmp>(p.transport);
  }
  @inline static at(address: usize): Icmp {
    return changetype<Icmp>(address);
  }
  @inline get type(): u8 {
    return load<u8>(changetype<usize>(this), ICMP_TYPE);
  }
  @inline get code(): u8 {
    return load<u8>(changetype<usize>(this), ICMP_CODE);
  }
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + ICMP_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + ICMP_CHECKSUM, value);
  }
  @inline get identifier(): u16 {
    return be16(changetype<usize>(this) + ICMP_IDENTIFIER);
  }
  @inline set identifier(value: u16) {
    setBe16(changetype<usize>(this) + ICMP_IDENTIFIER, value);
  }
  @inline get sequence(): u16 {
    return be16(changetype<usize>(this) + ICMP_SEQUENCE);
  }
}
