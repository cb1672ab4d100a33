import { Ipv4, OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
export function packet(p: Packet): Output {
  if (p.isIpv4) {
    const ip = Ipv4.of(p);
    ip.ttl = ip.ttl - 1;
  }
  return OUTPUT_NEXT;
}
