// What tunnels over IP have in common: the outer header, written and verified; what of the inner one it takes over; what
// becomes of a packet that is too long. A filter that is a tunnel's end says once what its outer header is (setTunnel), makes
// room for its own header, and lets wrap() put the outer one before it.
//
//   encapsulate   [IP | data]  ->  [outer IP | tunnel's header | IP | data]
//
// RFC 2003 and RFC 4213 (over IPv4), RFC 2473 (over IPv6), RFC 6040 (ECN), RFC 6438 (the flow label).

import { random, smallestMtu } from "../abi/context";
import { emit, freshPacket, giveBack } from "../abi/hold";
import { OUTPUT_NEXT, PACKET_FLAG_CSUM_PARTIAL, PACKET_FLAG_IPV4, PACKET_FLAG_IPV6 } from "../abi/layout";
import { Packet } from "../abi/packet";
import { dissectAgain } from "../core/dissect-again";
import { setBe16, setBe32 } from "../wire/bytes";
import {
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER,
  IPV4_ID,
  IPV4_SOURCE,
  IPV4_TOTAL_LENGTH,
  IPV4_TTL,
  Ipv4,
} from "../wire/ipv4";
import {
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  Ipv6,
} from "../wire/ipv6";
import { complement, sumIpv4Header } from "./checksum";
import { decapsulatedEcn, setEcn, trafficClass } from "./ecn";
import {
  addFragmentHeader,
  cutFragment4,
  cutFragment6,
  FRAGMENT_HEADER,
  fragmentData4,
  fragmentData6,
  fragmentFits,
  mayFragment,
} from "./fragment";
import { pull, push } from "./headroom";
import { completeChecksum } from "./segment";

/** Of `ttl` and `tos`: as the inner header has it. */
const INHERIT: u32 = 256;
/** A filter's parameter for it. */
const DSCP_INHERIT: u8 = 255;
/** When the outer IPv4 header forbids to fragment: always, as the inner one does, never. */
export const DF_SET: u8 = 0;
export const DF_INHERIT: u8 = 1;
export const DF_CLEAR: u8 = 2;

/** Longest packet that an IP header can say. */
const LONGEST: u32 = 65535;

let isOver4: bool = false;
let localAt: usize = 0;
let remoteAt: usize = 0;
let ttl: u32 = 64;
let tos: u32 = 256;
let df: u8 = 0;

/**
 * Says what the outer header is, as filters' parameters have it. Traps where the ends are of two families: there is nobody
 * else to tell, and the manifest says so.
 * @param local, remote address of 16 bytes, IPv4 as ::ffff:a.b.c.d; @param family, remoteFamily 4 or 6
 * @param hops TTL or hop limit; 0: the inner one's; @param dscp 0 to 63; 255: the inner one's; @param dontFragment DF_...
 */
export function setTunnel(
  local: usize,
  family: u8,
  remote: usize,
  remoteFamily: u8,
  hops: u8,
  dscp: u8,
  dontFragment: u8,
): void {
  if (family != remoteFamily) unreachable();
  isOver4 = family == 4;
  localAt = local;
  remoteAt = remote;
  ttl = hops == 0 ? INHERIT : hops;
  tos = dscp == DSCP_INHERIT ? INHERIT : (<u32>dscp) << 2;
  df = dontFragment;
}

/** Bytes of the outer header. */
export function outerHeader(): u32 {
  return isOver4 ? IPV4_HEADER : IPV6_HEADER;
}

/** Is this packet from the tunnel's other end, to this one? */
export function isFromPeer(p: Packet): bool {
  if (isOver4) {
    if (!p.isIpv4) return false;
    const ip = p.ip;
    return (
      load<u32>(ip, IPV4_SOURCE) == load<u32>(remoteAt, 12) &&
      load<u32>(ip, IPV4_DESTINATION) == load<u32>(localAt, 12)
    );
  }
  return p.isIpv6 && isSame(p.ip + IPV6_SOURCE, remoteAt) && isSame(p.ip + IPV6_DESTINATION, localAt);
}

function isSame(a: usize, b: usize): bool {
  return load<u64>(a) == load<u64>(b) && load<u64>(a, 8) == load<u64>(b, 8);
}

// Of the packet that read() was called for last.
let innerClass: u8 = 0;
let innerHops: u8 = 0;
let innerForbids: bool = false;
let innerLabel: u32 = 0;

/** Reads what the outer header may take over, before headers go in front of the packet. No IP packet: nothing. */
export function readInner(p: Packet): void {
  innerClass = 0;
  innerHops = 64;
  innerForbids = false;
  innerLabel = isOver4 ? 0 : p.flowHash & 0xfffff;
  if (!p.isIp) return;
  innerClass = trafficClass(p);
  innerHops = p.isIpv4 ? Ipv4.of(p).ttl : Ipv6.of(p).hopLimit;
  innerForbids = p.isIpv6 || (Ipv4.of(p).fragment & IPV4_DONT_FRAGMENT) != 0;
}

/**
 * Puts the outer header before a packet on layer 3, whose own headers are in front already; after readInner(). The descriptor
 * says then what dissect would of the outer packet, but for a transport header.
 * @param mayCut it will be fragmented: DF is clear whatever was said
 * @returns false: it is longer than an IP packet can be, or than its slot
 */
export function wrap(p: Packet, protocol: u8, mayCut: bool): bool {
  const header = outerHeader();
  if (p.length + header > LONGEST || !push(p, header)) return false;
  const ip = <usize>p.data;
  // RFC 6040, 4.1: the normal mode copies ECN.
  const tosByte = tos == INHERIT ? innerClass : <u8>((tos & 0xfc) | (innerClass & 3));
  const hops = ttl == INHERIT ? innerHops : <u8>ttl;
  p.l3 = 0;
  p.l4 = 0;
  p.payload = <u16>header;
  p.protocol = protocol;
  p.flags = isOver4 ? PACKET_FLAG_IPV4 : PACKET_FLAG_IPV6;
  p.error = 0;
  if (!isOver4) {
    setBe32(ip, 0x60000000 | ((<u32>tosByte) << 20) | innerLabel);
    setBe16(ip + IPV6_PAYLOAD_LENGTH, <u16>(p.length - IPV6_HEADER));
    store<u8>(ip, protocol, IPV6_NEXT_HEADER);
    store<u8>(ip, hops, IPV6_HOP_LIMIT);
    memory.copy(ip + IPV6_SOURCE, localAt, 16);
    memory.copy(ip + IPV6_DESTINATION, remoteAt, 16);
    return true;
  }
  const forbids = !mayCut && (df == DF_SET || (df == DF_INHERIT && innerForbids));
  store<u16>(ip, 0x45 | ((<u16>tosByte) << 8));
  setBe16(ip + IPV4_TOTAL_LENGTH, <u16>p.length);
  // RFC 6864: what must not be fragmented needs no identification.
  store<u16>(ip, forbids ? 0 : <u16>(random() >> 48), IPV4_ID);
  setBe16(ip + IPV4_FRAGMENT, forbids ? IPV4_DONT_FRAGMENT : 0);
  store<u8>(ip, hops, IPV4_TTL);
  store<u8>(ip, protocol, 9);
  store<u16>(ip, 0, IPV4_CHECKSUM);
  store<u32>(ip, load<u32>(localAt, 12), IPV4_SOURCE);
  store<u32>(ip, load<u32>(remoteAt, 12), IPV4_DESTINATION);
  store<u16>(ip, complement(sumIpv4Header(ip)), IPV4_CHECKSUM);
  return true;
}

/** A packet as its IP header says it, without what a link has put behind it. Needs Packet.isIp. */
export function trim(p: Packet): void {
  p.length = <u32>(p.ipEnd - <usize>p.data);
}

/** What becomes of a packet that is longer than the tunnel's MTU. */
export const FIT_REFUSED: u32 = 0;
export const FIT_INNER: u32 = 1;
export const FIT_OUTER: u32 = 2;

/** What IPv6 asks every link to carry. */
const LEAST_MTU6: u32 = 1280;

/**
 * How a packet that is too long for the tunnel goes through it, as the kernel's tunnels do: one that may be fragmented is, before
 * it goes in; an IPv6 packet of 1280 bytes at most must get through, and is fragmented outside (RFC 2473, 7.1; RFC 4213, 3.2);
 * about any other its sender is told. @param outer fragments whatever is too long outside
 */
export function wayToFit(p: Packet, outer: bool): u32 {
  if (outer || (p.isIpv6 && p.length <= LEAST_MTU6)) return FIT_OUTER;
  return mayFragment(p) ? FIT_INNER : FIT_REFUSED;
}

/**
 * Cuts a packet that wrap() was called for, `mayCut`, into fragments of up to `mtu` bytes, and emits all by `next` but the last.
 * @returns false: there is no slot for one of them
 */
export function emitOuterFragments(p: Packet, mtu: u32): bool {
  if (!isOver4 && !addFragmentHeader(p, <u32>(random() >> 32))) return false;
  const size = isOver4 ? fragmentData4(p, mtu) : fragmentData6(mtu);
  if (size == 0) return false;
  const headers = isOver4 ? IPV4_HEADER : IPV6_HEADER + FRAGMENT_HEADER;
  while (p.length > mtu) {
    const to = freshPacket(p);
    if (changetype<usize>(to) == 0) return false;
    if (!fragmentFits(p, to, headers, size)) {
      giveBack(to);
      return false;
    }
    if (isOver4) cutFragment4(p, to, size);
    else cutFragment6(p, to, size);
    emit(to, OUTPUT_NEXT);
  }
  return true;
}

/** The next fragment of an IPv4 packet that is too long, fresh, to be wrapped and emitted; address 0: there is no slot. */
export function takeInnerFragment(p: Packet, size: u32): Packet {
  const to = freshPacket(p);
  if (changetype<usize>(to) == 0) return to;
  if (fragmentFits(p, to, Ipv4.of(p).headerLength, size)) {
    cutFragment4(p, to, size);
    return to;
  }
  giveBack(to);
  return changetype<Packet>(0);
}

/** The smallest MTU of the pipeline's devices, less what the tunnel's headers take. @param headers beside the outer one */
export function tunnelMtu(headers: u32): u32 {
  const smallest = smallestMtu();
  const all = outerHeader() + headers;
  return smallest > all ? smallest - all : 0;
}

/** Completes what the sender has left undone: inside a tunnel nobody else does. */
export function completeInner(p: Packet): void {
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  p.vnetFlags = 0;
}

/**
 * Takes the outer headers off, in place of which stands an IP packet, up to the outer one's end.
 * @param headers bytes from the outer IP header on
 * @param version of the inner packet, 4 or 6; 0: what its first bits say
 * @returns false: there is no such packet, whole, and only bytes are left
 */
export function unwrap(p: Packet, headers: u32, version: u32): bool {
  trim(p);
  p.flags = 0;
  p.vnetFlags = 0;
  if (headers >= p.length) return false;
  pull(p, headers);
  const is = load<u8>(p.data) >> 4;
  if (version != 0 && <u32>is != version) return false;
  dissectAgain(p, 3);
  return p.isIp;
}

/**
 * Takes the outer headers off, in place of which stands an Ethernet frame, up to `end`.
 * @param headers bytes from the outer IP header on
 * @returns false: it is cut short in its header, and only bytes are left
 */
export function unwrapFrame(p: Packet, headers: u32, end: usize): bool {
  p.length = <u32>(end - <usize>p.data);
  p.flags = 0;
  p.vnetFlags = 0;
  if (headers > p.length) return false;
  pull(p, headers);
  dissectAgain(p, 2);
  return p.isFrame;
}

/** RFC 6040, 4.2, after unwrap(). @param outer class of the outer header @returns false: the packet must be dropped */
export function takeOverEcn(p: Packet, outer: u8): bool {
  // A frame may carry something else.
  if (!p.isIp) return true;
  const ecn = decapsulatedEcn(trafficClass(p), outer);
  if (ecn < 0) return false;
  setEcn(p, <u8>ecn);
  return true;
}
