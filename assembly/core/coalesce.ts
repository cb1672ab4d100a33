// GRO in software: packets of a flow that follow each other in a batch become one super-packet, where the device of exit
// takes those. The rules are the kernel's (tcp_gro_receive, udp_gro_receive): all headers alike but lengths, checksums,
// sequence number and IPv4 id, which must go on where the packet before ended; all as long as the first but the last,
// which may be shorter; PSH and FIN end a super-packet, any other packet of the flow too, so that none overtakes another.
// Only right checksums go in, for a super-packet's is made anew: a damaged packet stays as it came.
//
// A batch's flows stand in a table by flow hash, the latest in its place: a super-packet that it pushes out is ended.

import {
  BATCH_COUNT,
  BATCH_ENTRIES,
  COALESCE_FLOWS,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
  OUTPUT_FINISH,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_MALFORMED,
  PACKET_FLAG_OPTIONS,
} from "../abi/layout";
import { Packet } from "../abi/packet";
import { sum, sumIpv4Header, sumPseudoIpv4, sumPseudoIpv6 } from "../lib/checksum";
import { dataBytes, isSuper, makePartial, setDataBytes } from "../lib/segment";
import { be16, be32 } from "../wire/bytes";
import { IPV4_DONT_FRAGMENT, IPV4_FRAGMENT, IPV4_ID, PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { TCP_ACK, TCP_FIN, TCP_FLAGS, TCP_PSH, TCP_SEQUENCE } from "../wire/tcp";
import { Udp } from "../wire/udp";
import { VNET_GSO_TCPV4, VNET_GSO_TCPV6, VNET_GSO_UDP_L4 } from "../wire/virtio-net";
import { append } from "./batch";

/** UDP_GRO_CNT_MAX of the kernel: what it makes of UDP itself. */
const UDP_SEGMENTS: u32 = 64;
const LONGEST_IP: u32 = 65535;
/** The sum over data and a right checksum. */
const RIGHT: u32 = 0xffff;

/**
 * Puts packets of a batch together, in place.
 * @param free where descriptors go whose packet went into another
 * @param flows COALESCE_FLOWS u32
 * @param offloads what the device takes
 * @returns packets that went into another one
 */
export function coalesce(batch: usize, free: usize, flows: usize, offloads: u32): u32 {
  memory.fill(flows, 0, COALESCE_FLOWS << 2);
  const count = load<u32>(batch, BATCH_COUNT);
  const first = batch + BATCH_ENTRIES;
  const end = first + ((<usize>count) << 2);
  let kept = first;
  for (let at = first; at < end; at += 4) {
    const descriptor = load<u32>(at);
    const p = changetype<Packet>(<usize>descriptor);
    const flow = flows + ((<usize>p.flowHash & (COALESCE_FLOWS - 1)) << 2);
    const head = changetype<Packet>(<usize>load<u32>(flow));
    const fits = isCandidate(p, offloads);
    if (fits && changetype<usize>(head) != 0 && follows(head, p)) {
      if (put(head, p)) store<u32>(flow, 0);
      append(free, descriptor);
      continue;
    }
    // A packet that ends a super-packet begins none.
    store<u32>(flow, fits && !endsSuper(p) ? descriptor : 0);
    store<u32>(kept, descriptor);
    kept += 4;
  }
  store<u32>(batch, <u32>((kept - first) >> 2), BATCH_COUNT);
  return <u32>((end - kept) >> 2);
}

/** May it be a segment: a whole plain TCP or UDP packet with data, of a kind that the device cuts. */
function isCandidate(p: Packet, offloads: u32): bool {
  if (!p.hasTransport || isSuper(p) || p.output == OUTPUT_FINISH) return false;
  if (p.has(PACKET_FLAG_FRAGMENT | PACKET_FLAG_OPTIONS | PACKET_FLAG_MALFORMED)) return false;
  const end = p.ipEnd;
  if (end != p.end || end <= <usize>p.data + p.payload) return false;
  if (p.protocol == PROTOCOL_TCP) {
    if ((offloads & (p.isIpv4 ? OFFLOAD_TSO4 : OFFLOAD_TSO6)) == 0) return false;
    return (tcpFlags(p) & ~(TCP_PSH | TCP_FIN)) == TCP_ACK;
  }
  if (p.protocol != PROTOCOL_UDP) return false;
  if ((offloads & (p.isIpv4 ? OFFLOAD_USO4 : OFFLOAD_USO6)) == 0) return false;
  const udp = Udp.of(p);
  return p.transport + <usize>udp.length == end && udp.checksum != 0;
}

function tcpFlags(p: Packet): u8 {
  return load<u8>(p.transport, TCP_FLAGS);
}

function endsSuper(p: Packet): bool {
  return p.protocol == PROTOCOL_TCP && (tcpFlags(p) & (TCP_PSH | TCP_FIN)) != 0;
}

/** Is `p` the segment after those of `head`, which has no shorter one yet? */
function follows(head: Packet, p: Packet): bool {
  if (head.protocol != p.protocol || head.l4 != p.l4 || head.payload != p.payload || head.l3 != p.l3)
    return false;
  const bytes = dataBytes(p);
  const size = isSuper(head) ? <u32>head.vnetGsoSize : dataBytes(head);
  if (bytes > size) return false;
  if (<u32>(head.end - head.ip) + bytes > LONGEST_IP) return false;
  if (head.data - head.slot + head.length + bytes > head.capacity) return false;
  if (p.isIpv4 ? !head.isIpv4 || !isSameIpv4(head, p) : !head.isIpv6 || !isSameIpv6(head, p)) return false;
  if (!isSame(head.data, p.data, p.l3)) return false;
  const a = head.transport;
  const b = p.transport;
  if (load<u32>(a) != load<u32>(b)) return false;
  if (p.protocol == PROTOCOL_UDP) {
    if (head.datagrams >= UDP_SEGMENTS) return false;
  } else {
    if (be32(b + TCP_SEQUENCE) != be32(a + TCP_SEQUENCE) + dataBytes(head)) return false;
    // Acknowledgement; data offset; window; urgent pointer and options. isCandidate has seen to the flags.
    if (load<u32>(a, 8) != load<u32>(b, 8) || load<u8>(a, 12) != load<u8>(b, 12)) return false;
    if (load<u16>(a, 14) != load<u16>(b, 14)) return false;
    if (!isSame(a + 18, b + 18, <u32>p.payload - <u32>p.l4 - 18)) return false;
  }
  return (isSuper(head) || isRight(head)) && isRight(p);
}

function isSameIpv4(head: Packet, p: Packet): bool {
  const a = head.ip;
  const b = p.ip;
  // Version, header length and TOS; flags and offset; TTL and protocol; addresses.
  if (load<u16>(a) != load<u16>(b) || load<u16>(a, 6) != load<u16>(b, 6)) return false;
  if (load<u16>(a, 8) != load<u16>(b, 8) || load<u64>(a, 12) != load<u64>(b, 12)) return false;
  const id = be16(b + IPV4_ID);
  const first = be16(a + IPV4_ID);
  if (!isSuper(head) || !hasOneId(head)) {
    if (id == <u16>(<u32>first + head.datagrams)) return true;
    if (isSuper(head)) return false;
  }
  // RFC 6864, 4.1: the id of a datagram that must not be fragmented says nothing, and some senders leave it as it is.
  return id == first && (be16(b + IPV4_FRAGMENT) & IPV4_DONT_FRAGMENT) != 0;
}

// Do all segments of a super-packet that is being made have the same IPv4 id, rather than each the next one. hdrLen, which
// is written last of all, keeps it.
function hasOneId(head: Packet): bool {
  return head.vnetHdrLen != 0;
}

function isSameIpv6(head: Packet, p: Packet): bool {
  const a = head.ip;
  const b = p.ip;
  return load<u32>(a) == load<u32>(b) && load<u16>(a, 6) == load<u16>(b, 6) && isSame(a + 8, b + 8, 32);
}

function isSame(a: usize, b: usize, bytes: u32): bool {
  const end = a + bytes;
  while (a + 8 <= end) {
    if (load<u64>(a) != load<u64>(b)) return false;
    a += 8;
    b += 8;
  }
  while (a < end) {
    if (load<u8>(a) != load<u8>(b)) return false;
    a += 1;
    b += 1;
  }
  return true;
}

function isRight(p: Packet): bool {
  if (p.isIpv4 && sumIpv4Header(p.ip) != RIGHT) return false;
  if (p.has(PACKET_FLAG_CSUM_PARTIAL | PACKET_FLAG_CSUM_VALID)) return true;
  const bytes = <u32>(p.ipEnd - p.transport);
  const pseudo = p.isIpv4 ? sumPseudoIpv4(p.ip, p.protocol, bytes) : sumPseudoIpv6(p.ip, p.protocol, bytes);
  return sum(p.transport, bytes, pseudo) == RIGHT;
}

/** Appends the data of `p` to `head`. @returns whether that was the last: shorter, or with PSH or FIN */
function put(head: Packet, p: Packet): bool {
  const old = dataBytes(head);
  if (!isSuper(head)) {
    head.vnetGsoSize = <u16>old;
    head.vnetGsoType =
      head.protocol == PROTOCOL_UDP ? VNET_GSO_UDP_L4 : head.isIpv4 ? VNET_GSO_TCPV4 : VNET_GSO_TCPV6;
    head.vnetHdrLen = head.isIpv4 && be16(head.ip + IPV4_ID) == be16(p.ip + IPV4_ID) ? 1 : 0;
    makePartial(head);
  }
  const bytes = dataBytes(p);
  memory.copy(head.end, <usize>p.data + p.payload, bytes);
  head.length += bytes;
  head.datagrams += 1;
  setDataBytes(head, old, old + bytes);
  if (head.protocol == PROTOCOL_TCP) {
    const at = head.transport + TCP_FLAGS;
    store<u8>(at, load<u8>(at) | (tcpFlags(p) & (TCP_PSH | TCP_FIN)));
  }
  return bytes < <u32>head.vnetGsoSize || endsSuper(p);
}
