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
import { be16, be32, setBe16 } from "./bytes";

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

/** Safe where Packet.isTransport(PROTOCOL_TCP): the header with its options is whole. */
@unmanaged
export class Tcp {
  @inline static of(p: Packet): Tcp {
    return changetype<Tcp>(p.transport);
  }
  @inline static at(address: usize): Tcp {
    return changetype<Tcp>(address);
  }
  @inline get sourcePort(): u16 {
    return be16(changetype<usize>(this) + TCP_SOURCE_PORT);
  }
  @inline set sourcePort(port: u16) {
    setBe16(changetype<usize>(this) + TCP_SOURCE_PORT, port);
  }
  @inline get destinationPort(): u16 {
    return be16(changetype<usize>(this) + TCP_DESTINATION_PORT);
  }
  @inline set destinationPort(port: u16) {
    setBe16(changetype<usize>(this) + TCP_DESTINATION_PORT, port);
  }
  @inline get sequence(): u32 {
    return be32(changetype<usize>(this) + TCP_SEQUENCE);
  }
  @inline get acknowledgment(): u32 {
    return be32(changetype<usize>(this) + TCP_ACKNOWLEDGMENT);
  }
  /** Bytes, with options. */
  @inline get headerLength(): u32 {
    return (<u32>load<u8>(changetype<usize>(this), TCP_DATA_OFFSET) >> 4) << 2;
  }
  @inline get flags(): u8 {
    return load<u8>(changetype<usize>(this), TCP_FLAGS);
  }
  @inline get window(): u16 {
    return be16(changetype<usize>(this) + TCP_WINDOW);
  }
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + TCP_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + TCP_CHECKSUM, value);
  }
}
