import { counter, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, PROTOCOL_UDP, Udp } from "pktflow/assembly";
import { Counters, Outputs, params } from "./params"; // generated from filter.yaml

/** Called for each packet: by which output does it leave? */
export function packet(p: Packet): Output {
  if (p.isMalformed) {
    counter(Counters.malformed).add(1);
    return OUTPUT_DROP;
  }
  // Without this check the packet may be too short to have a UDP header.
  if (!p.isTransport(PROTOCOL_UDP)) return OUTPUT_NEXT;
  return Udp.of(p).destinationPort == params.port ? Outputs.caught : OUTPUT_NEXT;
}
