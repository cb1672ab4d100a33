// What every router does: one hop less to live (RFC 1812, 5.3.1; RFC 8200, 3).

import { counter, Ipv4, Ipv6, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
import { Counters, Outputs } from "./params";

export function packet(p: Packet): Output {
  if (p.isMalformed) {
    counter(Counters.malformed).add(1);
    return OUTPUT_DROP;
  }
  if (p.isIpv4) {
    const ip = Ipv4.of(p);
    const ttl = ip.ttl;
    // As it came: the ICMP error about it quotes it so.
    if (ttl <= 1) return Outputs.expired;
    ip.ttl = ttl - 1;
  } else if (p.isIpv6) {
    const ip = Ipv6.of(p);
    const hopLimit = ip.hopLimit;
    if (hopLimit <= 1) return Outputs.expired;
    ip.hopLimit = hopLimit - 1;
  }
  return OUTPUT_NEXT;
}
