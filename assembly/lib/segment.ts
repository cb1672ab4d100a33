// GSO in software: a super-packet becomes the packets it stands for on the wire, as the kernel's tcp_gso_segment and
// __udp_gso_segment make them. One segment is cut off at a time, from the front; what is left is a super-packet again,
// whose headers have moved up to its data. So cutting may stop and go on at any time, and the last segment stays where
// it is:
//
//   before    [headers | first segment's data | second's | third's]
//   the cut   [headers | first segment's data]
//   the rest                         [headers | second's | third's]
//
// A super-packet has a partial checksum: its field holds the sum over the pseudo-header, with the super-packet's length.

import {
  DESCRIPTOR_L3,
  DESCRIPTOR_SLOT,
  HEADROOM,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
} from "../abi/layout";
import { Packet } from "../abi/packet";
import { be16, be32, setBe16, setBe32 } from "../wire/bytes";
import { ICMP_CHECKSUM } from "../wire/icmp";
import { IPV4_CHECKSUM, IPV4_ID, IPV4_TOTAL_LENGTH, PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { IPV6_PAYLOAD_LENGTH } from "../wire/ipv6";
import { TCP_CHECKSUM, TCP_CWR, TCP_FIN, TCP_FLAGS, TCP_PSH, TCP_SEQUENCE } from "../wire/tcp";
import { UDP_CHECKSUM, UDP_LENGTH } from "../wire/udp";
import { VNET_GSO_NONE } from "../wire/virtio-net";
import {
  applyChange,
  applyChangePartial,
  change16,
  complement,
  sum,
  sumPseudoIpv4,
  sumPseudoIpv6,
} from "./checksum";

/** Bytes of data after the transport header. Needs hasTransport. */
export function dataBytes(p: Packet): u32 {
  return <u32>(p.ipEnd - <usize>p.data) - <u32>p.payload;
}

/** More than one segment. dissect has proved headers and lengths of what has a gsoType. */
export function isSuper(p: Packet): bool {
  return p.vnetGsoType != VNET_GSO_NONE;
}

/** It is one packet now, the last segment. */
export function clearSuper(p: Packet): void {
  p.vnetGsoType = VNET_GSO_NONE;
  p.vnetGsoSize = 0;
  p.datagrams = 1;
}

/** Offset of the checksum in the transport header. Needs hasTransport. */
export function checksumOffset(protocol: u8): u32 {
  if (protocol == PROTOCOL_TCP) return <u32>TCP_CHECKSUM;
  return protocol == PROTOCOL_UDP ? <u32>UDP_CHECKSUM : <u32>ICMP_CHECKSUM;
}

/** Makes the TCP or UDP checksum partial, whatever it was. No Routing header may hide the destination. */
export function makePartial(p: Packet): void {
  const bytes = <u32>(p.ipEnd - p.transport);
  const pseudo = p.isIpv4 ? sumPseudoIpv4(p.ip, p.protocol, bytes) : sumPseudoIpv6(p.ip, p.protocol, bytes);
  store<u16>(p.transport + checksumOffset(p.protocol), <u16>pseudo);
  p.flags = (p.flags | PACKET_FLAG_CSUM_PARTIAL) & ~PACKET_FLAG_CSUM_VALID;
}

/** Completes a partial checksum. Needs hasTransport. */
export function completeChecksum(p: Packet): void {
  const transport = p.transport;
  let right = complement(sum(transport, <u32>(p.ipEnd - transport)));
  // RFC 768: a computed zero is sent as all ones.
  if (p.protocol == PROTOCOL_UDP && right == 0) right = 0xffff;
  store<u16>(transport + checksumOffset(p.protocol), right);
  p.flags &= ~PACKET_FLAG_CSUM_PARTIAL;
}

/** Does the slot of `to` hold a segment of `p`? */
export function segmentFits(p: Packet, to: Packet): bool {
  return HEADROOM + <u32>p.payload + <u32>p.vnetGsoSize <= to.capacity;
}

/**
 * Cuts the first segment off a super-packet with more than gsoSize bytes of data. Both have partial checksums then,
 * or still none (UDP over IPv4).
 * @param to a free descriptor in whose slot the segment fits; all of it is written
 */
export function cutSegment(p: Packet, to: Packet): void {
  const size = <u32>p.vnetGsoSize;
  const headers = <u32>p.payload;
  const data = <usize>(to.slot + HEADROOM);
  memory.copy(data, p.data, headers + size);
  memory.copy(
    changetype<usize>(to) + DESCRIPTOR_L3,
    changetype<usize>(p) + DESCRIPTOR_L3,
    DESCRIPTOR_SLOT - DESCRIPTOR_L3,
  );
  to.data = <u32>data;
  to.length = headers + size;
  clearSuper(to);
  const left = p.length - headers - size;
  setDataBytes(to, dataBytes(p), size);

  memory.copy(<usize>p.data + size, p.data, headers);
  p.data += size;
  p.length = headers + left;
  p.datagrams -= 1;
  setDataBytes(p, left + size, left);
  if (p.isIpv4) {
    const id = be16(p.ip + IPV4_ID);
    setBe16(p.ip + IPV4_ID, id + 1);
    applyChange(p.ip + IPV4_CHECKSUM, change16(id, id + 1));
  }
  if (p.protocol == PROTOCOL_TCP) {
    setBe32(p.transport + TCP_SEQUENCE, be32(p.transport + TCP_SEQUENCE) + size);
    clearFlags(p, TCP_CWR);
    clearFlags(to, TCP_FIN | TCP_PSH);
  }
}

/** Leaves only the first segment of a super-packet, in its place. */
export function keepFirstSegment(p: Packet): void {
  const size = <u32>p.vnetGsoSize;
  setDataBytes(p, dataBytes(p), size);
  p.length = <u32>p.payload + size;
  if (p.protocol == PROTOCOL_TCP) clearFlags(p, TCP_FIN | TCP_PSH);
  clearSuper(p);
}

function clearFlags(p: Packet, flags: u8): void {
  const at = p.transport + TCP_FLAGS;
  store<u8>(at, load<u8>(at) & ~flags);
}

/** Says in every header that there are `bytes` bytes of data instead of `old`; the pseudo-header has the length, too. */
export function setDataBytes(p: Packet, old: u32, bytes: u32): void {
  const ip = p.ip;
  if (p.isIpv4) {
    const from = be16(ip + IPV4_TOTAL_LENGTH);
    const to = <u16>(<u32>from - old + bytes);
    setBe16(ip + IPV4_TOTAL_LENGTH, to);
    applyChange(ip + IPV4_CHECKSUM, change16(from, to));
  } else {
    setBe16(ip + IPV6_PAYLOAD_LENGTH, <u16>(<u32>be16(ip + IPV6_PAYLOAD_LENGTH) - old + bytes));
  }
  const transport = p.transport;
  const header = <u32>p.payload - <u32>p.l4;
  if (p.protocol == PROTOCOL_UDP) setBe16(transport + UDP_LENGTH, <u16>(header + bytes));
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
    applyChangePartial(
      transport + checksumOffset(p.protocol),
      change16(<u16>(header + old), <u16>(header + bytes)),
    );
  }
}
