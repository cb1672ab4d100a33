// What every router does: one hop less to live (RFC 1812, 5.3.1; RFC 8200, 3).

import {
  applyChange,
  change16,
  counter,
  IPV4_CHECKSUM,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  RawIpv4,
  RawIpv6,
} from "pktflow/assembly";
import { Counters, Outputs } from "./params";

export function packet(p: Packet): Output {
  if (p.isMalformed) {
    counter(Counters.malformed).add(1);
    return OUTPUT_DROP;
  }
  if (p.isIpv4) {
    const ip = RawIpv4.of(p);
    const ttl = ip.ttl;
    // As it came: the ICMP error about it quotes it so.
    if (ttl <= 1) return Outputs.expired;
    // Not Ipv4.of(p).ttl, which does the same: the word is at hand, and this is all that the filter does.
    ip.ttl = ttl - 1;
    const protocol = <u16>ip.protocol;
    const change = change16(((<u16>ttl) << 8) | protocol, ((<u16>(ttl - 1)) << 8) | protocol);
    applyChange(p.ip + IPV4_CHECKSUM, change);
  } else if (p.isIpv6) {
    const ip = RawIpv6.of(p);
    const hopLimit = ip.hopLimit;
    if (hopLimit <= 1) return Outputs.expired;
    ip.hopLimit = hopLimit - 1;
  }
  return OUTPUT_NEXT;
}
