// What is the same in IPv4 and IPv6, or in TCP and UDP, set without asking which it is: TTL or hop limit, DSCP, ports,
// addresses. As with the setters of the views (Ipv4, Ipv6, Tcp, Udp, Icmp), every checksum that covers a field follows it.
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

import { Packet } from "../abi/packet";
import { be32, be64, setBe32 } from "../wire/bytes";
import { IPV4_DESTINATION, IPV4_SOURCE, IPV4_TOS, IPV4_TTL } from "../wire/ipv4";
import { IPV6_DESTINATION, IPV6_HOP_LIMIT, IPV6_SOURCE } from "../wire/ipv6";
import { setIpv4Address, setIpv4Octet, setIpv6Address, setTransportWord } from "./fields";

@unmanaged
export class Edit {
  /** The packet, as what can be edited. Needs nothing: each setter says what must hold. @param p the packet */
  @inline static of(p: Packet): Edit {
    return changetype<Edit>(p);
  }

  /** TTL, or hop limit. Needs Packet.isIp. */
  set ttl(value: u8) {
    const p = changetype<Packet>(this);
    if (p.isIpv4) setIpv4Octet(p, IPV4_TTL, value);
    else store<u8>(p.ip, value, IPV6_HOP_LIMIT);
  }

  /** The DSCP, 0 to 63; ECN stays (RFC 2474, RFC 3168). Needs Packet.isIp. */
  set dscp(value: u8) {
    const p = changetype<Packet>(this);
    const ip = p.ip;
    if (p.isIpv4) setIpv4Octet(p, IPV4_TOS, (value << 2) | (load<u8>(ip, IPV4_TOS) & 3));
    // Version, traffic class and flow label share the first word: the class is in bits 27 to 20.
    else setBe32(ip, (be32(ip) & ~0x0fc00000) | ((<u32>value & 63) << 22));
  }

  /** Source address as a number, 10.0.0.1 is 0x0a000001. Needs Packet.isIpv4. */
  set source(address: u32) {
    setIpv4Address(changetype<Packet>(this), IPV4_SOURCE, address);
  }

  /** Destination address as a number. Needs Packet.isIpv4. */
  set destination(address: u32) {
    setIpv4Address(changetype<Packet>(this), IPV4_DESTINATION, address);
  }

  /** Source address from 16 bytes in network order, at an address. Needs Packet.isIpv6. */
  set source6(from: usize) {
    setIpv6Address(changetype<Packet>(this), IPV6_SOURCE, be64(from), be64(from + 8));
  }

  /** Destination address from 16 bytes in network order, at an address. Needs Packet.isIpv6. */
  set destination6(from: usize) {
    setIpv6Address(changetype<Packet>(this), IPV6_DESTINATION, be64(from), be64(from + 8));
  }

  /** Source port. Needs Packet.isTransport(PROTOCOL_TCP) or (PROTOCOL_UDP). */
  set sourcePort(port: u16) {
    setTransportWord(changetype<Packet>(this), 0, port);
  }

  /** Destination port. Needs Packet.isTransport(PROTOCOL_TCP) or (PROTOCOL_UDP). */
  set destinationPort(port: u16) {
    setTransportWord(changetype<Packet>(this), 2, port);
  }
}
