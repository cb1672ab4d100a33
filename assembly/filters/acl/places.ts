// The first stage of those of stages.ts: which packets of a batch are to go down a deep tree, of what kind they are, and where what their
// flows found may be known (flow-cache.ts). Packets of IPv4 and of IPv6 are kept apart: what a loop does for one packet, it
// does for the next.
//
//   place     0        4     8       12     16
//             +--------+-----+-------+------+-------+----    of IPv4 from the first place on, of IPv6 from the last one down;
//             | packet | set | ports | kind | found |        kind: 4 added for IPv6; found: a box, 0: there is none, or UNKNOWN
//             +--------+-----+-------+------+-------+----

import {
  BATCH_PACKETS,
  Batch,
  IPV4_SOURCE,
  IPV6_SOURCE,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_MALFORMED,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "pktflow/assembly";
import { cacheSet4, cacheSet6 } from "./flow-cache";
import { NOT_YET } from "./little";
import { KIND_ICMP, KIND_OTHER, KIND_TCP, KIND_UDP } from "./rule";

export const PLACE: usize = 32;
const PLACE_SHIFT: u32 = 5;
export const PLACE_SET: usize = 4;
export const PLACE_PORTS: usize = 8;
export const PLACE_KIND: usize = 12;
export const PLACE_FOUND: usize = 16;
export const IS_IPV6: u32 = 4;
export const PLACES_BYTES: usize = <usize>BATCH_PACKETS * PLACE;

let cache: usize = 0;
let deep: u32 = 0;
export let places: usize = 0;
/** Where the places of IPv4 end, and those of IPv6 begin. */
export let front: usize = 0;
export let back: usize = 0;

/** @param room PLACES_BYTES @param known the flow cache @param kinds which kinds' trees are deep */
export function openPlaces(room: usize, known: usize, kinds: u32): void {
  places = room;
  cache = known;
  deep = kinds;
}

const FLAGS: u32 = PACKET_FLAG_IPV4 | PACKET_FLAG_IPV6 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED;

/**
 * Finds places for the packets that have the output NOT_YET. Nothing here is a branch: a packet that has no place is written where
 * the next one will be. @returns false: no tree is deep
 */
export function place(b: Batch, count: u32): bool {
  const trees = deep;
  if (trees == 0) return false;
  let first = places;
  let last = places + PLACES_BYTES;
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    const flags = p.flags & FLAGS;
    const protocol = p.protocol;
    const isIpv4 = <u32>(flags == PACKET_FLAG_IPV4);
    const isIpv6 = <u32>(flags == PACKET_FLAG_IPV6);
    const isTcp = <u32>(protocol == PROTOCOL_TCP);
    const isUdp = <u32>(protocol == PROTOCOL_UDP);
    const isIcmp =
      (isIpv4 & <u32>(protocol == PROTOCOL_ICMP)) | (isIpv6 & <u32>(protocol == PROTOCOL_ICMPV6));
    const kind =
      KIND_OTHER -
      isTcp * (KIND_OTHER - KIND_TCP) -
      isUdp * (KIND_OTHER - KIND_UDP) -
      isIcmp * (KIND_OTHER - KIND_ICMP);
    const ofTree = kind + isIpv6 * IS_IPV6;
    const l4 = <usize>p.l4;
    const bytes = load<u32>(<usize>p.data + l4);
    // Of ICMP the code comes first.
    const code = ((bytes & 0xff00) << 8) | (bytes & 0xff);
    let ports = select<u32>(bswap<u32>(bytes), (<u32>protocol) << 16, (isTcp | isUdp) != 0);
    ports = select<u32>(code, ports, isIcmp != 0);
    const isFor =
      <u32>(p.output == NOT_YET) & (trees >> ofTree) & (<u32>(l4 != 0) | <u32>(kind == KIND_OTHER));
    put(first, p, ports, ofTree);
    put(last - PLACE, p, ports, ofTree);
    first += <usize>((isFor & isIpv4) << PLACE_SHIFT);
    last -= <usize>((isFor & isIpv6) << PLACE_SHIFT);
  }
  front = first;
  back = last;
  return true;
}

function put(at: usize, p: Packet, ports: u32, kind: u32): void {
  store<u32>(at, <u32>changetype<usize>(p));
  store<u32>(at, ports, PLACE_PORTS);
  store<u32>(at, kind, PLACE_KIND);
}

/** Notes the sets at `line`. @returns the end of what is noted */
export function placeSets(line: usize): usize {
  for (let at = places; at < front; at += PLACE, line += 4) {
    const pair = load<u64>(packetOf(at).ip, IPV4_SOURCE);
    const set = <u32>cacheSet4(cache, pair, load<u32>(at, PLACE_PORTS), load<u32>(at, PLACE_KIND));
    store<u32>(at, set, PLACE_SET);
    store<u32>(line, set);
  }
  const end = places + PLACES_BYTES;
  for (let at = back; at < end; at += PLACE, line += 4) {
    const addresses = packetOf(at).ip + IPV6_SOURCE;
    const kind = load<u32>(at, PLACE_KIND) - IS_IPV6;
    const set = <u32>cacheSet6(cache, addresses, load<u32>(at, PLACE_PORTS), kind);
    store<u32>(at, set, PLACE_SET);
    store<u32>(line, set);
  }
  return line;
}

export function packetOf(place: usize): Packet {
  return changetype<Packet>(<usize>load<u32>(place));
}
