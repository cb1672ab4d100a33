// From inside: an IPv6 packet to the prefix becomes an IPv4 packet from an outside address (RFC 6146, 3.5).

import {
  counter,
  ICMP_IDENTIFIER,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_INFORMATIONAL,
  Icmp,
  IPV4_HEADER,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  Ipv6,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  Tcp,
} from "pktflow/assembly";
import { setTimer, unitsOf } from "pktflow/assembly/lib/session-table";
import { trackOutbound } from "pktflow/assembly/lib/session-tcp";
import { extract, isHost, isIpv6Host, isPrefixed, mayRepresent } from "./addresses";
import { errorOut } from "./error-out";
import { fragmentAt, segmentsLeftAt, upperAt, walk } from "./extensions";
import { firstHigh, followFirst, keepFirst } from "./fragments";
import { FRAGMENT_HEADER, wireBytes } from "./header";
import { into } from "./into";
import { Counters, NonGlobal, params } from "./params";
import { drop, refuse } from "./refuse";
import { openOut, seenOutside, seenOutsidePort, seenRecord, seenTimer } from "./sessions";
import { allot, ipv4Mtu, outsideAddress, outsideIndex } from "./settings";
import { toIpv4 } from "./translate";

/** Longest IPv4 packet. */
const LONGEST: u32 = 65535;

export function out(p: Packet): Output {
  const ip = p.ip;
  if (!isPrefixed(ip + IPV6_DESTINATION)) return p.isMalformed ? drop(Counters.malformed) : OUTPUT_NEXT;
  if (p.isMalformed) return drop(Counters.malformed);
  const remote = extract(ip + IPV6_DESTINATION);
  if (!isHost(remote)) return drop(Counters.badAddress);
  const protocol = walk(ip, p.ipEnd);
  if (segmentsLeftAt != 0) {
    return refuse(p, Counters.sourceRouted, 4, 0, <u32>(segmentsLeftAt - ip));
  }
  const translated = protocol == PROTOCOL_ICMPV6 ? PROTOCOL_ICMP : protocol;
  if (translated != PROTOCOL_TCP && translated != PROTOCOL_UDP && protocol != PROTOCOL_ICMPV6) {
    return refuse(p, Counters.unsupportedProtocol, 1, 1, 0);
  }
  if (p.hasTransport && p.transport != upperAt) return refuse(p, Counters.unsupportedProtocol, 1, 1, 0);
  if (protocol == PROTOCOL_ICMPV6) {
    // The checksum covers the datagram's length, which no fragment knows (RFC 7915, 1.2).
    if (p.isFragment) return drop(Counters.fragment);
    if (p.hasTransport && Icmp.of(p).type < ICMPV6_INFORMATIONAL) return errorOut(p, remote);
  }
  if (!isIpv6Host(ip + IPV6_SOURCE)) return drop(Counters.badAddress);
  if (!mayRepresent(remote, params.nonGlobal == NonGlobal.translate)) {
    return refuse(p, Counters.nonGlobal, 1, 1, 0);
  }
  if (Ipv6.of(p).hopLimit <= 1) return refuse(p, Counters.expired, 3, 0, 0);
  const bytes = <u32>(p.ipEnd - upperAt);
  if (wireBytes(p, IPV4_HEADER, bytes) > max<u32>(ipv4Mtu, 1260) || IPV4_HEADER + bytes > LONGEST) {
    const difference = IPV6_HEADER - IPV4_HEADER + (fragmentAt == 0 ? 0 : FRAGMENT_HEADER);
    return refuse(p, Counters.tooBig, 2, 0, max<u32>(1280, ipv4Mtu + difference));
  }
  return p.hasTransport ? whole(p, translated, remote) : later(p, translated, remote);
}

function whole(p: Packet, protocol: u8, remote: u32): Output {
  const high = load<u64>(p.ip, IPV6_SOURCE);
  const low = load<u64>(p.ip, IPV6_SOURCE + 8);
  let ports = load<u32>(p.transport);
  if (protocol == PROTOCOL_ICMP) {
    const type = Icmp.of(p).type;
    if (type != ICMPV6_ECHO_REQUEST) {
      return drop(type == 129 ? Counters.noMapping : Counters.unsupportedProtocol);
    }
    ports = load<u16>(p.transport, ICMP_IDENTIFIER);
  }
  if (!openOut(protocol, high, low, remote, ports)) return OUTPUT_DROP;
  const units = unitsOf(now());
  if (protocol == PROTOCOL_TCP) trackOutbound(Tcp.of(p).flags, seenRecord, seenTimer, units);
  else setTimer(seenRecord, seenTimer, <u8>seenTimer, <u8>(seenTimer >> 8), units);
  if (p.isFragment) keepFirst(p, <u64>seenOutside, 0);
  toIpv4(p, protocol, seenOutside, remote, seenOutsidePort);
  return turned(p, remote);
}

/** A fragment without ports: its outside address is the one that all of its sender's packets get. */
function later(p: Packet, protocol: u8, remote: u32): Output {
  const ip = p.ip;
  const known = followFirst(p);
  const outside = known
    ? <u32>firstHigh()
    : outsideAddress(allot(load<u64>(ip, IPV6_SOURCE), load<u64>(ip, IPV6_SOURCE + 8)));
  toIpv4(p, protocol, outside, remote, 0);
  counter(Counters.fragments).add(1);
  return turned(p, remote);
}

/** To another host behind the translator it goes back in (RFC 6146, 3.8). */
function turned(p: Packet, remote: u32): Output {
  const outside = outsideIndex(remote);
  return outside < 0 ? OUTPUT_NEXT : into(p, <u32>outside, true);
}
