// Fragments (RFC 6146, 3.4). Only the first has ports, so it is translated as any packet, and where it went is kept with the
// datagram's name: the outside address on the way out, the host's address on the way in.

import { counter, now, Packet } from "pktflow/assembly";
import { FRAGMENT_EVICTED } from "pktflow/assembly/lib/fragment-table";
import { Counters } from "./params";
import { fragments } from "./settings";

/** What followFirst() found. */
export function firstHigh(): u64 {
  return fragments.value;
}
export function firstLow(): u64 {
  return fragments.other;
}

/** Keeps where a first fragment goes; the packet must be as it came. */
export function keepFirst(p: Packet, high: u64, low: u64): void {
  if (fragments.put(p, high, low, now()) == FRAGMENT_EVICTED) counter(Counters.fragmentsEvicted).add(1);
}

/** Is it known where the first fragment of this one's datagram went? */
export function followFirst(p: Packet): bool {
  return fragments.find(p, now());
}
