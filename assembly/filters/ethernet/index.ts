// Where Ethernet and IP meet. Of one filter in two paths, what comes from the link loses its header, and what goes to it gets
// one; both share what is known of neighbors.
//
//   from a TAP   [Ethernet | IP packet]  ->  [IP packet]            next
//                [Ethernet | ARP, NS]    ->  [Ethernet | answer]    answer
//   to a TAP     [IP packet]             ->  [Ethernet | IP packet] next, at once or when its neighbor has answered
//
// own.ts has this end's addresses, table.ts the neighbors, waiting.ts the packets that wait for one, ask.ts the questions, answer.ts
// what comes of ARP and neighbor discovery.

import {
  be16,
  be64,
  counter,
  ETHERNET_HEADER,
  ETHERNET_TYPE,
  ETHERTYPE_ARP,
  Ethernet,
  IPV6_DESTINATION,
  Ipv4,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
} from "pktflow/assembly";
import { arp, discovery, isDiscovery } from "./answer";
import { ask } from "./ask";
import { addHeader, groupMac4, groupMac6, MAC_BROADCAST, MAC_GROUP, takeHeader } from "./link";
import { hopHigh, hopLow, isBroadcast, macAt, mapped, nextHop, OWN_BYTES, ownMac, readOwn } from "./own";
import { Counters, params } from "./params";
import {
  find,
  firstKnown,
  forget,
  giveUp,
  highOf,
  INCOMPLETE,
  insert,
  isStale,
  keep,
  lowOf,
  macOf,
  stateOf,
  tableBytes,
  takeTurn,
  tryAgain,
  use,
  VALID,
} from "./table";
import { count, release, wait, waitingBytes } from "./waiting";

/** When release() was called last on the way. */
let released: u64 = 0;

export function workerStateSize(_: usize): usize {
  return OWN_BYTES + waitingBytes();
}

export function sharedStateSize(_: usize): usize {
  return tableBytes();
}

export function initShared(): void {
  addKnown();
}

export function init(): void {
  readOwn();
}

/**
 * Neighbors that were asked for stay known, and packets wait on for those that they waited for. Every worker sets the known ones right:
 * after the first it changes nothing.
 */
export function reload(): void {
  readOwn();
  forgetKnown();
  addKnown();
  if (count() != 0) release();
}

function addKnown(): void {
  const list = params.neighbors;
  // Of one that is written twice, the first counts.
  for (let i = list.length - 1; i >= 0; i--) {
    const address = list.at(i).ip.address;
    keep(be64(address), be64(address + 8), macAt(list.at(i).mac));
  }
}

/** Those that are not known any more, unless they answer. */
function forgetKnown(): void {
  for (let entry = firstKnown(0); entry != 0; entry = firstKnown(entry)) {
    if (!isKnown(highOf(entry), lowOf(entry))) forget(entry);
  }
}

function isKnown(high: u64, low: u64): bool {
  const list = params.neighbors;
  for (let i = 0; i < list.length; i++) {
    const address = list.at(i).ip.address;
    if (be64(address) == high && be64(address + 8) == low) return true;
  }
  return false;
}

export function wake(): void {
  release();
}

export function packet(p: Packet): Output {
  return p.isFrame ? strip(p) : add(p);
}

function strip(p: Packet): Output {
  const ethernet = Ethernet.at(p.data);
  const to = ethernet.destination;
  if (to != ownMac && (to & MAC_GROUP) == 0) return drop(Counters.otherHost);
  if ((ethernet.source & MAC_GROUP) != 0) return drop(Counters.malformed);
  // Behind a tag there is another link, with its own addresses.
  if (<u32>p.l3 != ETHERNET_HEADER) {
    const isArp = be16(<usize>p.data + ETHERNET_TYPE) == ETHERTYPE_ARP;
    return isArp ? arp(p) : drop(Counters.notIp);
  }
  if (isDiscovery(p)) return discovery(p);
  takeHeader(p);
  counter(Counters.stripped).add(1);
  return OUTPUT_NEXT;
}

function add(p: Packet): Output {
  if (p.isIpv4) return add4(p);
  if (p.isIpv6) return add6(p);
  return drop(Counters.notIp);
}

function add4(p: Packet): Output {
  const to = Ipv4.of(p).destination;
  if (to >> 28 == 14) return leave(p, groupMac4(to));
  if (isBroadcast(to)) return leave(p, MAC_BROADCAST);
  return nextHop(0, mapped(to), true) ? toNeighbor(p) : drop(Counters.noRoute);
}

function add6(p: Packet): Output {
  const high = be64(p.ip + IPV6_DESTINATION);
  const low = be64(p.ip + IPV6_DESTINATION + 8);
  if (high >> 56 == 0xff) return leave(p, groupMac6(low));
  return nextHop(high, low, false) ? toNeighbor(p) : drop(Counters.noRoute);
}

function toNeighbor(p: Packet): Output {
  const high = hopHigh;
  const low = hopLow;
  let entry = find(high, low);
  if (entry == 0) entry = insert(high, low, INCOMPLETE, 0);
  if (entry == 0) return drop(Counters.tableFull);
  const state = stateOf(entry);
  if (state <= INCOMPLETE) return wait(p, entry, high, low);
  // What waited goes first, where another worker has got the answer. Time stands still within a batch.
  if (count() != 0 && released != now()) {
    released = now();
    release();
  }
  const mac = macOf(entry);
  use(entry);
  if (state == VALID && isStale(entry) && takeTurn(entry)) {
    if (tryAgain(entry)) ask(p, high, low, p.isIpv4, mac);
    else giveUp(entry, INCOMPLETE);
  }
  return leave(p, mac);
}

function leave(p: Packet, mac: u64): Output {
  if (!addHeader(p, mac)) return drop(Counters.malformed);
  counter(Counters.added).add(1);
  return OUTPUT_NEXT;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
