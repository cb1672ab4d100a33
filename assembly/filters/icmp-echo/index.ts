// An echo request becomes the reply, in its place: addresses change sides, the type changes, and the checksums follow. All else
// of it, its data to the last byte, comes back as it came (RFC 792; RFC 1122, 3.2.2.6; RFC 4443, 4.2).

import {
  applyChange,
  be64,
  change16,
  complement,
  counter,
  Ethernet,
  ICMP_CHECKSUM,
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_TYPE,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  Icmp,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_SOURCE,
  Ipv4,
  Ipv6,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
  PACKET_FLAG_MULTICAST,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  RawIpv4,
  RawIpv6,
  sum,
  sumPseudoIpv6,
  workerState,
} from "pktflow/assembly";
import { TokenBucket } from "pktflow/assembly/lib/token-bucket";
import { Counters, Outputs, params, RateUnit } from "./params";

const TTL: u8 = 64;
const MAPPED: u32 = 96;
/** The largest packet: what a token is worth where the rate is in bits. */
const LARGEST_BITS: u32 = 1500 * 8;
const MULTICAST4: u32 = 0xe0000000;

// By which the bucket was filled.
let rate: u64 = 0;
let most: u32 = 0;

export function init(): void {
  rate = params.rate.value;
  most = burst();
  TokenBucket.at(workerState()).fill(rate == 0 ? 0 : most, now());
}

/** What is saved up of a rate stays, unless it is another one. */
export function reload(): void {
  if (params.rate.value != rate || burst() != most) init();
}

function burst(): u32 {
  return params.rate.unit == RateUnit.bit ? min<u32>(params.burst, 300_000) * LARGEST_BITS : params.burst;
}

export function packet(p: Packet): Output {
  if (p.isTransport(PROTOCOL_ICMP) && p.isIpv4) {
    if (Icmp.of(p).type != ICMP_ECHO || !isOurs4(Ipv4.of(p).destination)) return OUTPUT_NEXT;
  } else if (p.isTransport(PROTOCOL_ICMPV6) && p.isIpv6) {
    const ip = Ipv6.of(p);
    if (Icmp.of(p).type != ICMPV6_ECHO_REQUEST || !isOurs6(ip.destinationHigh, ip.destinationLow))
      return OUTPUT_NEXT;
  } else return OUTPUT_NEXT;
  if (p.isFragment) return drop(Counters.fragment);
  if (isFromMany(p)) return drop(Counters.fromMany);
  if (!isRight(p)) return drop(Counters.badChecksum);
  const price: u32 = params.rate.unit == RateUnit.bit ? (<u32>(p.ipEnd - p.ip)) << 3 : 1;
  if (!TokenBucket.at(workerState()).take(price, params.rate.value, burst(), now()))
    return drop(Counters.rateLimited);
  answer(p);
  counter(Counters.answered).add(1);
  return Outputs.reply;
}

function isOurs4(address: u32): bool {
  const list = params.addresses;
  for (let i = 0; i < list.length; i++) {
    const prefix = list.at(i);
    if (prefix.family != 4) continue;
    const bits = <u32>prefix.length - MAPPED;
    const differs = address ^ bswap<u32>(load<u32>(prefix.address, 12));
    if (bits == 0 || differs >> (32 - bits) == 0) return true;
  }
  return false;
}

function isOurs6(high: u64, low: u64): bool {
  const list = params.addresses;
  for (let i = 0; i < list.length; i++) {
    const prefix = list.at(i);
    if (prefix.family != 6) continue;
    const bits = <u32>prefix.length;
    const differsHigh = high ^ be64(prefix.address);
    const differsLow = low ^ be64(prefix.address + 8);
    if (bits <= 64) {
      if (bits == 0 || differsHigh >> (64 - bits) == 0) return true;
    } else if (differsHigh == 0 && differsLow >> (128 - bits) == 0) return true;
  }
  return false;
}

/** An answer to such a source would go to many, or to nobody. */
function isFromMany(p: Packet): bool {
  if (p.has(PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST)) return true;
  if (p.isIpv4) {
    const source = Ipv4.of(p).source;
    return source >= MULTICAST4 || source >> 24 == 0 || source >> 24 == 127;
  }
  const ip = Ipv6.of(p);
  return ip.sourceHigh >> 56 == 0xff || (ip.sourceHigh == 0 && ip.sourceLow <= 1);
}

/** A request that was damaged must not become a reply that looks sound. */
function isRight(p: Packet): bool {
  if (p.has(PACKET_FLAG_CSUM_PARTIAL | PACKET_FLAG_CSUM_VALID)) return true;
  return rawSum(p) == 0xffff;
}

function rawSum(p: Packet): u32 {
  const bytes = <u32>(p.ipEnd - p.transport);
  const pseudo = p.isIpv4 ? 0 : sumPseudoIpv6(p.ip, PROTOCOL_ICMPV6, bytes);
  return sum(p.transport, bytes, pseudo);
}

function answer(p: Packet): void {
  if (p.l3 != 0) {
    const ethernet = Ethernet.at(p.data);
    const sender = ethernet.source;
    ethernet.source = ethernet.destination;
    ethernet.destination = sender;
  }
  const isIpv4 = p.isIpv4;
  if (isIpv4) {
    const ip = RawIpv4.of(p);
    const source = load<u32>(p.ip, IPV4_SOURCE);
    store<u32>(p.ip, load<u32>(p.ip, IPV4_DESTINATION), IPV4_SOURCE);
    store<u32>(p.ip, source, IPV4_DESTINATION);
    const protocol = <u16>PROTOCOL_ICMP;
    const change = change16(((<u16>ip.ttl) << 8) | protocol, ((<u16>TTL) << 8) | protocol);
    ip.ttl = TTL;
    applyChange(p.ip + IPV4_CHECKSUM, change);
  } else {
    const ip = RawIpv6.of(p);
    const high = ip.sourceHigh;
    const low = ip.sourceLow;
    memory.copy(p.ip + IPV6_SOURCE, p.ip + IPV6_DESTINATION, 16);
    ip.setDestination(high, low);
    ip.hopLimit = TTL;
  }
  const icmp = Icmp.of(p);
  const code = <u16>icmp.code;
  const reply: u8 = isIpv4 ? ICMP_ECHO_REPLY : ICMPV6_ECHO_REPLY;
  const change = change16(((<u16>icmp.type) << 8) | code, ((<u16>reply) << 8) | code);
  store<u8>(p.transport, reply, ICMP_TYPE);
  // A partial one covers the pseudo-header only, whose sum is the same with its addresses swapped.
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) return;
  const field = p.transport + ICMP_CHECKSUM;
  applyChange(field, change);
  // All zeros but for the type: their sum is zero in the other of its two forms, which an update cannot tell.
  if (load<u16>(field) == 0) store<u16>(field, complement(rawSum(p)));
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
