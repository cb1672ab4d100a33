// UDP (RFC 768).
//
//    0            2                 4        6          8
//   +------------+-----------------+--------+----------+------
//   | source port| destination port| length | checksum | data
//   +------------+-----------------+--------+----------+------
//
// Example: DNS queries.
//
//   if (p.isTransport(PROTOCOL_UDP) && Udp.of(p).destinationPort == 53) return OUTPUT_DROP;

import { Packet } from "../abi/packet";
import { be16, setBe16 } from "./bytes";

export const UDP_SOURCE_PORT: usize = 0;
export const UDP_DESTINATION_PORT: usize = 2;
export const UDP_LENGTH: usize = 4;
export const UDP_CHECKSUM: usize = 6;
export const UDP_HEADER: u32 = 8;

/** Safe where Packet.isTransport(PROTOCOL_UDP); unless it is a fragment, `length` lies within the IP packet. */
@unmanaged
export class Udp {
  @inline static of(p: Packet): Udp {
    return changetype<Udp>(p.transport);
  }
  @inline static at(address: usize): Udp {
    return changetype<Udp>(address);
  }
  @inline get sourcePort(): u16 {
    return be16(changetype<usize>(this) + UDP_SOURCE_PORT);
  }
  @inline set sourcePort(port: u16) {
    setBe16(changetype<usize>(this) + UDP_SOURCE_PORT, port);
  }
  @inline get destinationPort(): u16 {
    return be16(changetype<usize>(this) + UDP_DESTINATION_PORT);
  }
  @inline set destinationPort(port: u16) {
    setBe16(changetype<usize>(this) + UDP_DESTINATION_PORT, port);
  }
  /** Bytes of header and data. */
  @inline get length(): u16 {
    return be16(changetype<usize>(this) + UDP_LENGTH);
  }
  /** 0: the sender computed none. */
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + UDP_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + UDP_CHECKSUM, value);
  }
}
