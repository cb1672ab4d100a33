// ARP and neighbor discovery that come in: questions for an own address become their answers, in place, and what they say of
// their senders is kept; answers are kept where there was a question.

import {
  ARP_BYTES,
  ARP_ETHERNET_IPV4,
  ARP_OPERATION,
  ARP_REPLY,
  ARP_REQUEST,
  ARP_SENDER_IP,
  ARP_SENDER_MAC,
  ARP_TARGET_IP,
  ARP_TARGET_MAC,
  be16,
  be32,
  be64,
  counter,
  ETHERNET_HEADER,
  Ethernet,
  ICMP_CODE,
  Icmp,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  Ipv6,
  OUTPUT_DROP,
  Output,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
  Packet,
  PROTOCOL_ICMPV6,
  setBe16,
  setBe32,
  setBe64,
  sum,
  sumPseudoIpv6,
} from "pktflow/assembly";
import {
  ADVERTISEMENT,
  DISCOVERY_BYTES,
  DISCOVERY_HOPS,
  finishDiscovery,
  OPTION_BYTES,
  OPTION_SOURCE,
  OPTION_TARGET,
  SOLICITATION,
  setMac,
} from "./ask";
import { groupMac6, MAC_GROUP } from "./link";
import { isOnLink, isOwn, isProxied, macAt, mapped, ownMac } from "./own";
import { Counters, Outputs } from "./params";
import { confirm, find, insert, setMac as keepMac, stateOf, VALID } from "./table";
import { count, release } from "./waiting";

const ADVERTISED_ROUTER: u32 = 0x80000000;
const ADVERTISED_SOLICITED: u32 = 0x40000000;
const ADVERTISED_OVERRIDE: u32 = 0x20000000;
const ALL_NODES_HIGH: u64 = 0xff02000000000000;
const ALL_NODES_LOW: u64 = 1;
const FIRST_DISCOVERY: u8 = 133;
const LAST_DISCOVERY: u8 = 137;

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}

/** Keeps where a neighbor is. @param makes whether there need not have been a question; @param isAnswer it has answered one */
function learn(high: u64, low: u64, mac: u64, makes: bool, isAnswer: bool): void {
  if ((mac & MAC_GROUP) != 0 || mac == 0) return;
  const entry = find(high, low);
  if (entry == 0) {
    // RFC 4861, 7.2.3: STALE, so that it is asked when it is used.
    if (makes && isOnLink(high, low) && insert(high, low, VALID, mac) != 0) counter(Counters.learned).add(1);
    return;
  }
  if (keepMac(entry, mac, isAnswer)) counter(Counters.learned).add(1);
  if (count() != 0) release();
}

/** An ARP packet behind a plain Ethernet header. */
export function arp(p: Packet): Output {
  const at = <usize>p.data + ETHERNET_HEADER;
  if (at + ARP_BYTES > p.end) return drop(Counters.malformed);
  if ((load<u64>(at) & 0xffffffffffff) != ARP_ETHERNET_IPV4) return drop(Counters.malformed);
  const operation = be16(at + ARP_OPERATION);
  const mac = macAt(at + ARP_SENDER_MAC);
  const sender = be32(at + ARP_SENDER_IP);
  const target = be32(at + ARP_TARGET_IP);
  if ((mac & MAC_GROUP) != 0) return drop(Counters.malformed);
  if (isOwn(0, mapped(sender))) return drop(Counters.conflict);
  const isForUs = isOwn(0, mapped(target));
  // A probe is from nobody yet (RFC 5227, 2.1.1).
  if (sender != 0) {
    const isAnswer = operation == ARP_REPLY && macAt(at + ARP_TARGET_MAC) == ownMac;
    learn(0, mapped(sender), mac, operation == ARP_REQUEST && isForUs, isAnswer);
    if (isAnswer) return drop(Counters.heard);
  }
  const isForOther = sender != 0 && isProxied(0, mapped(target));
  if (operation != ARP_REQUEST || !(isForUs || isForOther)) return drop(Counters.ignored);
  const ethernet = Ethernet.at(p.data);
  ethernet.destination = mac;
  ethernet.source = ownMac;
  setBe16(at + ARP_OPERATION, ARP_REPLY);
  setMac(at + ARP_TARGET_MAC, mac);
  setBe32(at + ARP_TARGET_IP, sender);
  setMac(at + ARP_SENDER_MAC, ownMac);
  setBe32(at + ARP_SENDER_IP, target);
  p.length = ETHERNET_HEADER + ARP_BYTES;
  p.flags &= ~PACKET_FLAG_BROADCAST;
  counter(Counters.answered).add(1);
  return Outputs.answer;
}

/** Is it neighbor discovery, which is the link's own affair: router discovery and redirects, too. */
export function isDiscovery(p: Packet): bool {
  if (!p.isIpv6 || !p.isTransport(PROTOCOL_ICMPV6)) return false;
  const type = Icmp.of(p).type;
  return type >= FIRST_DISCOVERY && type <= LAST_DISCOVERY;
}

/** RFC 4861, 7.1: what is not so must be dropped. */
export function discovery(p: Packet): Output {
  const ip = Ipv6.of(p);
  const icmp = p.transport;
  const end = p.ipEnd;
  const type = Icmp.of(p).type;
  if (type != SOLICITATION && type != ADVERTISEMENT) return drop(Counters.ignored);
  const bytes = <u32>(end - icmp);
  if (
    ip.hopLimit != DISCOVERY_HOPS ||
    load<u8>(icmp, ICMP_CODE) != 0 ||
    bytes < DISCOVERY_BYTES ||
    p.isFragment
  )
    return drop(Counters.malformed);
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL | PACKET_FLAG_CSUM_VALID)) {
    if (sum(icmp, bytes, sumPseudoIpv6(p.ip, PROTOCOL_ICMPV6, bytes)) != 0xffff)
      return drop(Counters.malformed);
  }
  const high = be64(icmp + 8);
  const low = be64(icmp + 16);
  if (high >> 56 == 0xff) return drop(Counters.malformed);
  const mac = optionOf(icmp + DISCOVERY_BYTES, end, type == SOLICITATION ? OPTION_SOURCE : OPTION_TARGET);
  if (mac < 0) return drop(Counters.malformed);
  return type == SOLICITATION ? solicited(p, high, low, <u64>mac) : advertised(p, high, low, <u64>mac);
}

/** An address on the link. @returns 0: it is not there; -1: an option has no length, or more than there is */
function optionOf(at: usize, end: usize, kind: u8): i64 {
  let mac: u64 = 0;
  while (at < end) {
    const length: u32 = at + 1 < end ? (<u32>load<u8>(at, 1)) << 3 : 0;
    if (length == 0 || at + length > end) return -1;
    if (load<u8>(at) == kind) mac = macAt(at + 2);
    at += length;
  }
  return <i64>mac;
}

function solicited(p: Packet, high: u64, low: u64, mac: u64): Output {
  const ip = Ipv6.of(p);
  const fromHigh = ip.sourceHigh;
  const fromLow = ip.sourceLow;
  const isFromNobody = (fromHigh | fromLow) == 0;
  if (isOwn(fromHigh, fromLow)) return drop(Counters.conflict);
  // An unspecified source is that of a host that looks whether its address is taken: it names none (RFC 4861, 7.1.1).
  if (isFromNobody && mac != 0) return drop(Counters.malformed);
  const isForOther = !isFromNobody && isProxied(high, low);
  if (!isOwn(high, low) && !isForOther) return drop(Counters.ignored);
  if (!isFromNobody && mac != 0) learn(fromHigh, fromLow, mac, true, false);
  const missing = ETHERNET_HEADER + IPV6_HEADER + DISCOVERY_BYTES + OPTION_BYTES;
  if (p.data - p.slot + missing > p.capacity) return drop(Counters.malformed);
  const ethernet = Ethernet.at(p.data);
  const at = <usize>p.data + ETHERNET_HEADER;
  if (isFromNobody) ethernet.destination = groupMac6(ALL_NODES_LOW);
  else ethernet.destination = mac != 0 ? mac : ethernet.source;
  ethernet.source = ownMac;
  setBe64(at + IPV6_DESTINATION, isFromNobody ? ALL_NODES_HIGH : fromHigh);
  setBe64(at + IPV6_DESTINATION + 8, isFromNobody ? ALL_NODES_LOW : fromLow);
  setBe64(at + IPV6_SOURCE, high);
  setBe64(at + IPV6_SOURCE + 8, low);
  let bits = ADVERTISED_ROUTER;
  if (!isForOther) bits |= ADVERTISED_OVERRIDE;
  if (!isFromNobody) bits |= ADVERTISED_SOLICITED;
  finishDiscovery(p, ADVERTISEMENT, bits, high, low, OPTION_TARGET);
  counter(Counters.answered).add(1);
  return Outputs.answer;
}

function advertised(p: Packet, high: u64, low: u64, mac: u64): Output {
  if (isOwn(high, low)) return drop(Counters.conflict);
  const bits = be32(p.transport + 4);
  const isAnswer = (bits & ADVERTISED_SOLICITED) != 0;
  if (isAnswer && p.has(PACKET_FLAG_BROADCAST)) return drop(Counters.malformed);
  const entry = find(high, low);
  // RFC 4861, 7.2.5: nobody has asked.
  if (entry == 0) return drop(Counters.ignored);
  const mayChange = stateOf(entry) != VALID || (bits & ADVERTISED_OVERRIDE) != 0;
  if (mac != 0 && mayChange) learn(high, low, mac, false, isAnswer);
  else if (isAnswer && stateOf(entry) == VALID) confirm(entry);
  return drop(Counters.heard);
}
