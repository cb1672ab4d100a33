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
import { setTransportWord } from "../lib/fields";
import { be16, setBe16 } from "./bytes";

export const UDP_SOURCE_PORT: usize = 0;
export const UDP_DESTINATION_PORT: usize = 2;
export const UDP_LENGTH: usize = 4;
export const UDP_CHECKSUM: usize = 6;
export const UDP_HEADER: u32 = 8;

/**
 * The Udp header of a packet. Needs Packet.isTransport(PROTOCOL_UDP); nothing is checked again. Setters keep every checksum right
 * that covers the field, whole, partial or absent (RFC 1624).
 */
@unmanaged
export class Udp {
  /**
   * The view of a packet's header. Needs Packet.isTransport(PROTOCOL_UDP): not checked.
   * @param p the packet
   */
  @inline static of(p: Packet): Udp {
    return changetype<Udp>(p);
  }
  @inline private get at(): usize {
    return changetype<Packet>(this).transport;
  }
  /** Source port. */
  @inline get sourcePort(): u16 {
    return RawUdp.at(this.at).sourcePort;
  }
  set sourcePort(value: u16) {
    setTransportWord(changetype<Packet>(this), UDP_SOURCE_PORT, value);
  }
  /** Destination port. */
  @inline get destinationPort(): u16 {
    return RawUdp.at(this.at).destinationPort;
  }
  set destinationPort(value: u16) {
    setTransportWord(changetype<Packet>(this), UDP_DESTINATION_PORT, value);
  }
  /** Bytes of header and data; unless it is a fragment, they lie within the IP packet. */
  @inline get length(): u16 {
    return RawUdp.at(this.at).length;
  }
  /** Checksum in host order; 0: the sender computed none (RFC 768), which setters leave so. */
  @inline get checksum(): u16 {
    return RawUdp.at(this.at).checksum;
  }
}

/**
 * The bytes of a Udp header, wherever they lie: setters change them and nothing else, no checksum. For a header that is no
 * packet's own, as an ICMP error quotes one, and for who computes the checksums himself.
 * @example
 *   if (RawUdp.at(p.transport).checksum == 0) return OUTPUT_DROP;
 */
@unmanaged
export class RawUdp {
  /** That of a packet. Needs Packet.isTransport(PROTOCOL_UDP). @param p the packet */
  @inline static of(p: Packet): RawUdp {
    return changetype<RawUdp>(p.transport);
  }
  /** One whose bytes were proved to be there: not checked. @param address of its first byte */
  @inline static at(address: usize): RawUdp {
    return changetype<RawUdp>(address);
  }
  /** Source port. */
  @inline get sourcePort(): u16 {
    return be16(changetype<usize>(this) + UDP_SOURCE_PORT);
  }
  @inline set sourcePort(value: u16) {
    setBe16(changetype<usize>(this) + UDP_SOURCE_PORT, value);
  }
  /** Destination port. */
  @inline get destinationPort(): u16 {
    return be16(changetype<usize>(this) + UDP_DESTINATION_PORT);
  }
  @inline set destinationPort(value: u16) {
    setBe16(changetype<usize>(this) + UDP_DESTINATION_PORT, value);
  }
  /** Bytes of header and data; unless it is a fragment, they lie within the IP packet. */
  @inline get length(): u16 {
    return be16(changetype<usize>(this) + UDP_LENGTH);
  }
  @inline set length(value: u16) {
    setBe16(changetype<usize>(this) + UDP_LENGTH, value);
  }
  /** Checksum in host order; 0: the sender computed none (RFC 768), which setters leave so. */
  @inline get checksum(): u16 {
    return be16(changetype<usize>(this) + UDP_CHECKSUM);
  }
  @inline set checksum(value: u16) {
    setBe16(changetype<usize>(this) + UDP_CHECKSUM, value);
  }
}
