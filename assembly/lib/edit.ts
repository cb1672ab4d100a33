// Fields of a packet's headers that are changed together with every checksum that covers them (RFC 1624): of the IPv4
// header, and of TCP or UDP with its pseudo-header, whole, partial or absent. The plain views (Ipv4, Tcp, Udp) change one
// field and nothing else; this one cannot be forgotten to.
//
// Example: destination NAT to one server.
//
//   if (p.isIpv4 && p.isTransport(PROTOCOL_TCP) && Tcp.of(p).destinationPort == 80) {
//     const edit = Edit.of(p);
//     edit.destination = 0x0a000002; // 10.0.0.2
//     edit.destinationPort = 8080;
//   }
//
// A packet whose checksum is wrong before is as wrong after. What is not there to change: an ICMP error's quoted packet, and
// the pseudo-header of a source-routed packet (hasRouteLeft), whose destination is another.

import { PACKET_FLAG_CSUM_PARTIAL } from "../abi/layout";
import { Packet } from "../abi/packet";
import { be16, be32, be64, setBe16, setBe32, setBe64 } from "../wire/bytes";
import { ICMP_CHECKSUM } from "../wire/icmp";
import {
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV4_TOS,
  IPV4_TTL,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "../wire/ipv4";
import { IPV6_DESTINATION, IPV6_SOURCE } from "../wire/ipv6";
import { TCP_CHECKSUM } from "../wire/tcp";
import { UDP_CHECKSUM } from "../wire/udp";
import { applyChange, applyChangePartial, applyChangeUdp, change16, change32, change128 } from "./checksum";

@unmanaged
export class Edit {
  /** The packet, as what can be edited. Each setter says what must hold. */
  @inline static of(p: Packet): Edit {
    return changetype<Edit>(p);
  }

  /** TTL, or hop limit. Needs Packet.isIp. */
  set ttl(value: u8) {
    const p = changetype<Packet>(this);
    if (p.isIpv4) this.ipv4Octet(IPV4_TTL, value);
    else store<u8>(p.ip, value, 7);
  }

  /** The DSCP, 0 to 63; ECN stays (RFC 2474, RFC 3168). Needs Packet.isIp. */
  set dscp(value: u8) {
    const p = changetype<Packet>(this);
    const ip = p.ip;
    if (p.isIpv4) this.ipv4Octet(IPV4_TOS, (value << 2) | (load<u8>(ip, IPV4_TOS) & 3));
    // Version, traffic class and flow label share the first word: the class is in bits 27 to 20.
    else setBe32(ip, (be32(ip) & ~0x0fc00000) | ((<u32>value & 63) << 22));
  }

  /** Source address as a number, 10.0.0.1 is 0x0a000001. Needs Packet.isIpv4. */
  set source(address: u32) {
    this.ipv4Address(IPV4_SOURCE, address);
  }

  /** Destination address as a number. Needs Packet.isIpv4. */
  set destination(address: u32) {
    this.ipv4Address(IPV4_DESTINATION, address);
  }

  /** Source address from 16 bytes in network order. Needs Packet.isIpv6. */
  set source6(from: usize) {
    this.ipv6Address(IPV6_SOURCE, from);
  }

  /** Destination address from 16 bytes in network order. Needs Packet.isIpv6. */
  set destination6(from: usize) {
    this.ipv6Address(IPV6_DESTINATION, from);
  }

  /** Needs Packet.isTransport(PROTOCOL_TCP) or (PROTOCOL_UDP). */
  set sourcePort(port: u16) {
    this.port(0, port);
  }

  /** Needs Packet.isTransport(PROTOCOL_TCP) or (PROTOCOL_UDP). */
  set destinationPort(port: u16) {
    this.port(2, port);
  }

  /** An octet of the IPv4 header, by the change of the word that it is in. */
  private ipv4Octet(offset: usize, value: u8): void {
    const ip = changetype<Packet>(this).ip;
    const word = ip + (offset & ~1);
    const before = be16(word);
    store<u8>(ip + offset, value);
    applyChange(ip + IPV4_CHECKSUM, change16(before, be16(word)));
  }

  private ipv4Address(offset: usize, address: u32): void {
    const ip = changetype<Packet>(this).ip;
    const change = change32(be32(ip + offset), address);
    setBe32(ip + offset, address);
    applyChange(ip + IPV4_CHECKSUM, change);
    this.pseudoHeader(change);
  }

  private ipv6Address(offset: usize, from: usize): void {
    const at = changetype<Packet>(this).ip + offset;
    const high = be64(from);
    const low = be64(from + 8);
    const change = change128(be64(at), be64(at + 8), high, low);
    setBe64(at, high);
    setBe64(at + 8, low);
    this.pseudoHeader(change);
  }

  private port(offset: usize, port: u16): void {
    const p = changetype<Packet>(this);
    const at = p.transport + offset;
    const change = change16(be16(at), port);
    setBe16(at, port);
    // A partial checksum has the pseudo-header's sum only, which has no ports.
    if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) this.transport(change);
  }

  /** ICMP has no pseudo-header, ICMPv6 has (RFC 4443, 2.3). */
  private pseudoHeader(change: u32): void {
    const p = changetype<Packet>(this);
    if (!p.hasTransport) return;
    if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
      if (p.protocol == PROTOCOL_TCP) applyChangePartial(p.transport + TCP_CHECKSUM, change);
      else if (p.protocol == PROTOCOL_UDP) applyChangePartial(p.transport + UDP_CHECKSUM, change);
    } else {
      this.transport(change);
    }
  }

  private transport(change: u32): void {
    const p = changetype<Packet>(this);
    if (p.protocol == PROTOCOL_TCP) applyChange(p.transport + TCP_CHECKSUM, change);
    else if (p.protocol == PROTOCOL_UDP) applyChangeUdp(p.transport + UDP_CHECKSUM, change);
    else if (p.protocol == PROTOCOL_ICMPV6) applyChange(p.transport + ICMP_CHECKSUM, change);
  }
}
