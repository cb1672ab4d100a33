// A packet becomes the ICMP error about it, in place: its first bytes stay where they are and become what the error
// quotes, and new headers go before them, into the slot's headroom.
//
//   before                  [Ethernet, tags | IP | transport | data ...                            ]
//   after    [Ethernet, tags | IP | ICMP (8) | IP | transport | data, up to 576 or 1280 bytes in all]
//
// Who sends the packet on sees a packet like any other: all fields of the descriptor are as dissect would set them.

import {
  complement,
  counter,
  Ethernet,
  ICMP_CHECKSUM,
  ICMP_CODE,
  ICMP_HEADER,
  ICMP_TYPE,
  IPV4_CHECKSUM,
  IPV4_FRAGMENT,
  IPV4_HEADER,
  IPV4_ID,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_VLAN,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  RawIpv4,
  random,
  setBe16,
  setBe32,
  sum,
  sumIpv4Header,
  sumPseudoIpv6,
  workerState,
} from "pktflow/assembly";
import { completeChecksum, isSuper, keepFirstSegment } from "pktflow/assembly/lib/segment";
import { TokenBucket } from "pktflow/assembly/lib/token-bucket";
import { refuses } from "./eligible";
import { Code, Counters, params, RateUnit } from "./params";

/** RFC 1812, 4.3.2.3: as much of the packet as fits without the error exceeding 576 bytes. */
const LONGEST_IPV4: u32 = 576;
/** RFC 4443, 2.4 c: the least MTU of IPv6. */
const LONGEST_IPV6: u32 = 1280;
const TTL: u8 = 64;
/** RFC 1812, 4.3.2.5: precedence "internetwork control"; the packet's own type of service otherwise. */
const TOS_INTERNETWORK_CONTROL: u8 = 0xc0;
const TOS_MASK: u8 = 0x1e;

let type4: u8 = 0;
let code4: u8 = 0;
let type6: u8 = 0;
let code6: u8 = 0;
// Addresses of the parameters' bytes, 0: the packet's destination.
let from4: usize = 0;
let from6: usize = 0;

export function init(): void {
  setCodes(params.code);
  from4 = 0;
  from6 = 0;
  const sources = params.from;
  for (let i = 0; i < sources.length; i++) {
    const ip = sources.at(i);
    if (ip.family == 4) from4 = ip.address + 12;
    else from6 = ip.address;
  }
  TokenBucket.at(workerState()).fill(params.rate.value == 0 ? 0 : burst(), now());
}

export function packet(p: Packet): Output {
  const refused = refuses(p);
  if (refused >= 0) return drop(refused);
  // What it quotes is what the sender's kernel would have put on the wire first.
  if (isSuper(p)) keepFirstSegment(p);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  const isIpv4 = p.isIpv4;
  const headers = (isIpv4 ? IPV4_HEADER : IPV6_HEADER) + ICMP_HEADER;
  // A slot has room for more than this, unless a device's MTU is tiny.
  const longest = min<u32>(isIpv4 ? LONGEST_IPV4 : LONGEST_IPV6, p.capacity - p.l3);
  const quote = min<u32>(<u32>(p.ipEnd - p.ip), longest - headers);
  const price = params.rate.unit == RateUnit.bit ? (headers + quote) << 3 : 1;
  if (!TokenBucket.at(workerState()).take(price, params.rate.value, burst(), now())) {
    return drop(Counters.rateLimited);
  }
  makeRoom(p, headers, quote);
  if (isIpv4) writeIpv4(p, quote);
  else writeIpv6(p, quote);
  describe(p, headers, quote);
  counter(Counters.errors).add(1);
  return OUTPUT_NEXT;
}

/** In what the rate counts: errors, or bits. */
function burst(): u32 {
  return params.rate.unit == RateUnit.bit
    ? min<u32>(params.burst, 400_000) * (LONGEST_IPV6 << 3)
    : params.burst;
}

function setCodes(code: u8): void {
  type4 = 3;
  type6 = 1;
  code4 = code6 = 0;
  if (code == Code.hostUnreachable) {
    code4 = 1;
    code6 = 3;
  } else if (code == Code.portUnreachable) {
    code4 = 3;
    code6 = 4;
  } else if (code == Code.netProhibited) {
    code4 = 9;
    code6 = 1;
  } else if (code == Code.hostProhibited) {
    code4 = 10;
    code6 = 1;
  } else if (code == Code.adminProhibited) {
    code4 = 13;
    code6 = 1;
  } else if (code == Code.timeExceeded) {
    type4 = 11;
    type6 = 3;
  }
}

/**
 * Moves the link's header to the front of where the IP header will be, its addresses swapped; if filters before have
 * used up the headroom, the quote moves back first. Afterwards p.ip is where the error's IP header goes.
 */
function makeRoom(p: Packet, headers: u32, quote: u32): void {
  const link = <u32>p.l3;
  let quoted = p.ip;
  const before = <u32>quoted - p.slot;
  if (before < link + headers) {
    const moved = <usize>(p.slot + link + headers);
    memory.copy(moved, quoted, quote);
    quoted = moved;
  }
  const data = quoted - headers - link;
  if (link != 0) {
    memory.copy(data, p.data, link);
    const ethernet = Ethernet.at(data);
    const sender = ethernet.source;
    ethernet.source = ethernet.destination;
    ethernet.destination = sender;
  }
  p.data = <u32>data;
}

function writeIpv4(p: Packet, quote: u32): void {
  const ip = p.ip;
  const icmp = ip + IPV4_HEADER;
  const quoted = icmp + ICMP_HEADER;
  const tos = (RawIpv4.at(quoted).tos & TOS_MASK) | TOS_INTERNETWORK_CONTROL;
  store<u8>(ip, 0x45);
  store<u8>(ip, tos, 1);
  setBe16(ip + 2, <u16>(IPV4_HEADER + ICMP_HEADER + quote));
  store<u16>(ip, <u16>random(), IPV4_ID);
  store<u16>(ip, 0, IPV4_FRAGMENT);
  store<u8>(ip, TTL, 8);
  store<u8>(ip, PROTOCOL_ICMP, 9);
  store<u16>(ip, 0, IPV4_CHECKSUM);
  store<u32>(ip, from4 != 0 ? load<u32>(from4) : load<u32>(quoted, 16), 12);
  store<u32>(ip, load<u32>(quoted, 12), 16);
  store<u16>(ip, complement(sumIpv4Header(ip)), IPV4_CHECKSUM);
  writeIcmp(icmp, type4, code4);
  store<u16>(icmp, complement(sum(icmp, ICMP_HEADER + quote)), ICMP_CHECKSUM);
}

function writeIpv6(p: Packet, quote: u32): void {
  const ip = p.ip;
  const icmp = ip + IPV6_HEADER;
  const quoted = icmp + ICMP_HEADER;
  const length = ICMP_HEADER + quote;
  setBe32(ip, 0x60000000);
  setBe16(ip + IPV6_PAYLOAD_LENGTH, <u16>length);
  store<u8>(ip, PROTOCOL_ICMPV6, IPV6_NEXT_HEADER);
  store<u8>(ip, TTL, IPV6_HOP_LIMIT);
  memory.copy(ip + IPV6_SOURCE, from6 != 0 ? from6 : quoted + IPV6_DESTINATION, 16);
  memory.copy(ip + IPV6_DESTINATION, quoted + IPV6_SOURCE, 16);
  writeIcmp(icmp, type6, code6);
  const pseudo = sumPseudoIpv6(ip, PROTOCOL_ICMPV6, length);
  store<u16>(icmp, complement(sum(icmp, length, pseudo)), ICMP_CHECKSUM);
}

function writeIcmp(icmp: usize, type: u8, code: u8): void {
  store<u64>(icmp, 0);
  store<u8>(icmp, type, ICMP_TYPE);
  store<u8>(icmp, code, ICMP_CODE);
}

/** The error's descriptor: a plain packet, whole, with a complete checksum, whatever the one before was. */
function describe(p: Packet, headers: u32, quote: u32): void {
  const isIpv4 = p.isIpv4;
  p.length = <u32>p.l3 + headers + quote;
  p.l4 = p.l3 + <u16>(headers - ICMP_HEADER);
  p.payload = p.l3 + <u16>headers;
  p.protocol = isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6;
  p.flags = (isIpv4 ? PACKET_FLAG_IPV4 : PACKET_FLAG_IPV6) | (p.flags & PACKET_FLAG_VLAN);
  p.vnetFlags = 0;
  p.vnetGsoType = 0;
  p.vnetHdrLen = 0;
  p.vnetGsoSize = 0;
  p.vnetCsumStart = 0;
  p.vnetCsumOffset = 0;
  p.datagrams = 1;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
