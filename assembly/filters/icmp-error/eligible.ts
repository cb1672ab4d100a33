// About which packets an error may be sent (RFC 1812, 4.3.2.7; RFC 4443, 2.4 e): never one that could answer an error,
// or that would come from many hosts or go to another one than the sender. In: a packet whose IP header is whole.

import {
  Ethernet,
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMPV6_INFORMATIONAL,
  ICMPV6_REDIRECT,
  Icmp,
  Ipv4,
  Ipv6,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_MULTICAST,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
} from "pktflow/assembly";
import { Counters } from "./params";

/** The last type of RFC 792 and 950; what came later is experimental, and may be an error. */
const ICMP_LAST_KNOWN: u8 = 18;
const ETHERNET_GROUP: u64 = 0x010000000000;

/** @returns the counter of why there must be no error about it, or -1: there may be one */
export function refuses(p: Packet): i32 {
  if (p.isMalformed) return Counters.malformed;
  if (!p.isIp) return Counters.notIp;
  if (p.isFragment && !p.has(PACKET_FLAG_FIRST_FRAGMENT)) return Counters.laterFragment;
  if (p.has(PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST)) return Counters.toMany;
  if (p.l3 != 0 && (Ethernet.at(p.data).source & ETHERNET_GROUP) != 0) return Counters.fromNobody;
  return p.isIpv4 ? refusesIpv4(p) : refusesIpv6(p);
}

function refusesIpv4(p: Packet): i32 {
  const ip = Ipv4.of(p);
  if (!isHost(ip.destination)) return Counters.toMany;
  if (!isHost(ip.source)) return Counters.fromNobody;
  if (p.isTransport(PROTOCOL_ICMP) && isError(Icmp.of(p).type)) return Counters.aboutError;
  return -1;
}

/** Not "this network" 0/8, loopback 127/8, multicast 224/4, reserved and broadcast 240/4 (RFC 6890). */
function isHost(address: u32): bool {
  const first = address >> 24;
  return first != 0 && first != 127 && first < 224;
}

function isError(type: u8): bool {
  return (
    type == ICMP_DESTINATION_UNREACHABLE ||
    type == ICMP_SOURCE_QUENCH ||
    type == ICMP_REDIRECT ||
    type == ICMP_TIME_EXCEEDED ||
    type == ICMP_PARAMETER_PROBLEM ||
    type > ICMP_LAST_KNOWN
  );
}

function refusesIpv6(p: Packet): i32 {
  const ip = Ipv6.of(p);
  // Multicast destinations have their flag already. ::/127 is the unspecified address and loopback.
  if (ip.destinationHigh == 0 && ip.destinationLow <= 1) return Counters.toMany;
  if (ip.sourceHigh == 0 && ip.sourceLow <= 1) return Counters.fromNobody;
  if (ip.sourceHigh >> 56 == 0xff) return Counters.fromNobody;
  if (p.isTransport(PROTOCOL_ICMPV6)) {
    const type = Icmp.of(p).type;
    if (type < ICMPV6_INFORMATIONAL || type == ICMPV6_REDIRECT) return Counters.aboutError;
  }
  return -1;
}
