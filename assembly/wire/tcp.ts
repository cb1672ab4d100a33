// TCP (RFC 9293).
//
//    0            2                 4          8         12             13      14       16         18        20
//   +------------+-----------------+----------+---------+--------------+-------+--------+----------+---------+---
//   | source port| destination port| sequence | ack     | offset:4 res:4| flags | window | checksum | urgent  | opt.
//   +------------+-----------------+----------+---------+--------------+-------+--------+----------+---------+---
//
// Example: a packet that opens a connection.
//
//   if (p.isTransport(PROTOCOL_TCP) && (Tcp.of(p).flags & 0x12) == 0x02) return OUTPUT_DROP;

import { Packet } from "../abi/packet";
import { setTransportLong, setTransportOctet, setTransportWord } from "../lib/fields";
import { be16, be32, setBe16, setBe32 } from "./bytes";

export const TCP_SOURCE_PORT: usize = 0;
export const TCP_DESTINATION_PORT: usize = 2;
export const TCP_SEQUENCE: usize = 4;
export const TCP_ACKNOWLEDGMENT: usize = 8;
export const TCP_DATA_OFFSET: usize = 12;
export const TCP_FLAGS: usize = 13;
export const TCP_WINDOW: usize = 14;
export const TCP_CHECKSUM: usize = 16;
export const TCP_URGENT: usize = 18;
/** Bytes without options. */
export const TCP_HEADER: u32 = 20;

export const TCP_FIN: u8 = 0x01;
export const TCP_SYN: u8 = 0x02;
export const TCP_RST: u8 = 0x04;
export const TCP_PSH: u8 = 0x08;
export const TCP_ACK: u8 = 0x10;
export const TCP_URG: u8 = 0x20;
export const TCP_ECE: u8 = 0x40;
export const TCP_CWR: u8 = 0x80;

/**
 * The Tcp header of a packet. Needs Packet.isTransport(PROTOCOL_TCP); nothing is checked again. Setters keep every checksum right
 * that covers the field, whole, partial or absent (RFC 1624).
 */
@unmanaged
export class Tcp {
  /**
   * The view of a packet's header. Needs Packet.isTransport(PROTOCOL_TCP): not checked.
   * @param p the packet
   */
  @inline static of(p: Packet): Tcp {
    return changetype<Tcp>(p);
  }
  @inline private get at(): usize {
    return changetype<Packet>(this).transport;
  }
  /** Source port. */
  @inline get sourcePort(): u16 {
    return RawTcp.at(this.at).sourcePort;
  }
  set sourcePort(value: u16) {
    setTransportWord(changetype<Packet>(this), TCP_SOURCE_PORT, value);
  }
  /** Destination port. */
  @inline get destinationPort(): u16 {
    return RawTcp.at(this.at).destinationPort;
  }
  set destinationPort(value: u16) {
    setTransportWord(changetype<Packet>(this), TCP_DESTINATION_PORT, value);
  }
  /** Number of the first byte of data, modulo 2^32. */
  @inline get sequence(): u32 {
    return RawTcp.at(this.at).sequence;
  }
  set sequence(value: u32) {
    setTransportLong(changetype<Packet>(this), TCP_SEQUENCE, value);
  }
  /** Number of the next byte that is expected, where TCP_ACK is set. */
  @inline get acknowledgment(): u32 {
    return RawTcp.at(this.at).acknowledgment;
  }
  set acknowledgment(value: u32) {
    setTransportLong(changetype<Packet>(this), TCP_ACKNOWLEDGMENT, value);
  }
  /** Bytes, with options: 20 to 60. */
  @inline get headerLength(): u32 {
    return RawTcp.at(this.at).headerLength;
  }
  /** TCP_SYN, TCP_ACK and their like, as bits. */
  @inline get flags(): u8 {
    return RawTcp.at(this.at).flags;
  }
  set flags(value: u8) {
    setTransportOctet(changetype<Packet>(this), TCP_FLAGS, value);
  }
  /** Receive window as on the wire, not scaled (RFC 7323). */
  @inline get window(): u16 {
    return RawTcp.at(this.at).window;
  }
  set window(value: u16) {
    setTransportWord(changetype<Packet>(this), TCP_WINDOW, value);
  }
  /** Checksum in host order; with PACKET_FLAG_CSUM_PARTIAL, the pseudo-header's sum. */
  @inline get checksum(): u16 {
    return RawTcp.at(this.at).checksum;
  }
  /** Urgent pointer, where TCP_URG is set. */
  @inline get urgent(): u16 {
    return RawTcp.at(this.at).urgent;
  }
  set urgent(value: u16) {
    setTransportWord(changetype<Packet>(this), TCP_URGENT, value);
  }
}

/**
 * The bytes of a Tcp header, wherever they lie: setters change them and nothing else, no checksum. For a header that is no
 * packet's own, as an ICMP error quotes one, and for who computes the checksums himself.
 * @example
 *   if (RawTcp.at(p.transport).window == 0) return OUTPUT_DROP;
 */
@unmanaged
export class RawTcp {
  /** That of a packet. Needs Packet.isTransport(PROTOCOL_TCP). @param p the packet */
  @inline static of(p: Packet): RawTcp {
    return changetype<RawTcp>(p.transport);
  }
  /** One whose bytes were proved to be there: not checked. @param address of its first byte */
  @inline static at(address: usize): RawTcp {
    return changetype<RawTcp>(address);
  }
  /** Source port. */
  @inline get sourcePort(): u16 {
    return be16(changetype<usize>(this) + TCP_SOURCE_PORT);
  }
  @inline set sourcePort(value: u16) {
    setBe16(changetype<usize>(this) + TCP_SOURCE_PORT, value);
  }
  /** Destination port. */
  @inline get destinationPort(): u16 {
    return be16(changetype<usize>(this) + TCP_DESTINATION_PORT);
  }
  @inline set destinationPort(value: u16) {
    setBe16(changetype<usize>(this) + TCP_DESTINATION_PORT, value);
  }
  /** Number of the first byte of data, modulo 2^32. */
  @inline get sequence(): u32 {
    return be32(changetype<usize>(this) + TCP_SEQUENCE);
  }
  @inline set sequence(value: u32) {
    setBe32(changetype<usize>(this) + TCP_SEQUENCE, value);
  }
  /** Number of the next byte that is expected, where TCP_ACK is set. */
  @inline get acknowledgment(): u32 {
    return be32(changetype<usize>(this) + TCP_ACKNOWLEDGMENT);
  }
  @inline set acknowledgment(value: u32) {
    setBe32(changetype<usize>(this) + TCP_ACKNOWLEDGMENT, value);
  }
  /** Bytes, with options: 20 to 60. */
  @inline get headerLength(): u32 {
    return (<u32>load<u8>(changetype<usize>(this), TCP_DATA_OFFSET) >> 4) << 2;
  }
  /** TCP_SYN, TCP_ACK and their like, as bits. */
  @inline get flags(): u8 {
    return load<u8>(changetype<usize>(this), TCP_FLAGS);
  }
  @inline set flags(value: u8) {
    store<u8>(changetype<usize>(this), value, TCP_FLAGS);
  }
  /** Receive window as on the wire, not scaled (RFC 7323). */
  @inline get window(): u16 {
    return be16(changetype<usize>(this) + TCP_WINDOW);
  }
  @inline set window(value: u16) {
    setBe16(changetype<usize>(this) + TCP_WINDOW, value);
  }
  /** Checksum in host order; with PACKET_FLAG_CSUM_PARTIAL, the pseudo-header's sum. */
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + TCP_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + TCP_CHECKSUM, value);
  }
  /** Urgent pointer, where TCP_URG is set. */
  @inline get urgent(): u16 {
    return be16(changetype<usize>(this) + TCP_URGENT);
  }
  @inline set urgent(value: u16) {
    setBe16(changetype<usize>(this) + TCP_URGENT, value);
  }
}
