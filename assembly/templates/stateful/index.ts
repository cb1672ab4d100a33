import { counter, now, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, workerState } from "pktflow/assembly";
import { TokenBucket } from "pktflow/assembly/lib/token-bucket";
import { Counters, params } from "./params"; // generated from filter.yaml

/** Called once for each worker. The state is all zeros the first time. */
export function init(): void {
  TokenBucket.at(workerState()).fill(params.burst, now());
}

/** Called for each packet: by which output does it leave? */
export function packet(p: Packet): Output {
  // A packet of the kernel's may carry several datagrams (GSO).
  const bucket = TokenBucket.at(workerState());
  if (bucket.take(p.datagrams, params.rate.value, params.burst, now())) return OUTPUT_NEXT;
  counter(Counters.limited).add(1);
  return OUTPUT_DROP;
}
