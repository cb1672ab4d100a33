// Fragments (RFC 4787 REQ-14). The first has the ports, so it is translated as any packet, and where it went is kept with the
// datagram's name; the others go the same way, with other addresses and nothing else changed.

import { counter, IPV4_CHECKSUM, IPV4_SOURCE, now, OUTPUT_DROP, Output, Packet } from "pktflow/assembly";
import { FRAGMENT_EVICTED } from "pktflow/assembly/lib/fragment-table";
import { Counters } from "./params";
import { change, Rewrite } from "./rewrite";
import { fragments } from "./settings";

/** Not yet decided: the first fragment may come later in this batch. */
export const OUTPUT_PENDING: Output = 254;

/**
 * Keeps where a first fragment went.
 * @param came its source and destination before it was translated
 */
export function keepFirst(p: Packet, came: u64, output: Output): void {
  if (output == OUTPUT_DROP) return;
  const at = p.ip + IPV4_SOURCE;
  const went = load<u64>(at);
  // The others come with the addresses that this one came with.
  store<u64>(at, came);
  if (fragments.put(p, went, output, now()) == FRAGMENT_EVICTED) counter(Counters.fragmentsEvicted).add(1);
  store<u64>(at, went);
}

/** Sends a fragment without ports where its first one went. @returns OUTPUT_PENDING when that is not known */
export function follow(p: Packet): Output {
  if (!fragments.find(p, now())) return OUTPUT_PENDING;
  const went = fragments.value;
  readdress(p, <u32>went, <u32>(went >> 32));
  counter(Counters.fragments).add(1);
  return <Output>fragments.other;
}

/** Puts other addresses into the IPv4 header, and nothing else. */
export function readdress(p: Packet, source: u32, destination: u32): void {
  const ip = p.ip;
  const at = ip + IPV4_SOURCE;
  const first = change(load<u32>(at), source);
  const second = change(load<u32>(at, 4), destination);
  store<u32>(at, source);
  store<u32>(at, destination, 4);
  const once = Rewrite.changed(load<u16>(ip, IPV4_CHECKSUM), first);
  store<u16>(ip, Rewrite.changed(once, second), IPV4_CHECKSUM);
}
