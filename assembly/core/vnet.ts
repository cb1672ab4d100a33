// The virtio_net_hdr before a packet, in and out. In: what a device with IFF_VNET_HDR has read, the header right before
// the packet. Out: the header right before the packet, wherever filters have moved it. The kernel wrote what comes in,
// but from what a guest or another program may have handed it: it is held against the packet before anything relies on it.

import { DESCRIPTOR_VNET_FLAGS, PACKET_FLAG_CSUM_PARTIAL, VNET_HEADER } from "../abi/layout";
import { Packet } from "../abi/packet";
import { checksumOffset, clearSuper, dataBytes, isSuper, makePartial } from "../lib/segment";
import { PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { Udp } from "../wire/udp";
import {
  VNET_GSO_ECN,
  VNET_GSO_NONE,
  VNET_GSO_TCPV4,
  VNET_GSO_TCPV6,
  VNET_GSO_UDP_L4,
  VNET_NEEDS_CSUM,
} from "../wire/virtio-net";

/** Takes the header before a packet that was just read into the descriptor. */
export function readHeader(p: Packet): void {
  memory.copy(changetype<usize>(p) + DESCRIPTOR_VNET_FLAGS, <usize>p.data - VNET_HEADER, VNET_HEADER);
}

/**
 * Holds the vnet fields against the headers that dissect has found, and counts datagrams. Afterwards CSUM_PARTIAL means
 * that the checksum of the header at l4 is partial, and a gsoType that p is a TCP or UDP packet of several segments.
 */
export function checkVnet(p: Packet): void {
  if ((p.vnetFlags & VNET_NEEDS_CSUM) != 0 && !isOwnChecksum(p)) {
    // Of a packet inside this one, say: it is completed on the way out where the device does not do it.
    p.flags &= ~PACKET_FLAG_CSUM_PARTIAL;
    if (<u32>p.vnetCsumStart + <u32>p.vnetCsumOffset + 2 > p.length) p.vnetFlags &= ~VNET_NEEDS_CSUM;
  }
  if (p.vnetGsoType == VNET_GSO_NONE) return;
  if (!isSegmentable(p)) {
    clearSuper(p);
    return;
  }
  const bytes = dataBytes(p);
  const size = <u32>p.vnetGsoSize;
  if (bytes <= size) {
    clearSuper(p);
    return;
  }
  p.datagrams = (bytes + size - 1) / size;
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) makePartial(p);
}

function isOwnChecksum(p: Packet): bool {
  return (
    p.hasTransport &&
    !p.isFragment &&
    p.vnetCsumStart == p.l4 &&
    <u32>p.vnetCsumOffset == checksumOffset(p.protocol)
  );
}

/** Is what the header calls a super-packet one? */
export function isSegmentable(p: Packet): bool {
  if (p.vnetGsoSize == 0 || !p.hasTransport || p.isFragment || p.isMalformed) return false;
  // Filters, too, may have left lengths that contradict each other.
  if (p.ipEnd > p.end || <usize>p.data + p.payload > p.ipEnd) return false;
  const type = p.vnetGsoType & ~VNET_GSO_ECN;
  if (type == VNET_GSO_TCPV4) return p.isIpv4 && p.protocol == PROTOCOL_TCP;
  if (type == VNET_GSO_TCPV6) return p.isIpv6 && p.protocol == PROTOCOL_TCP;
  if (type != VNET_GSO_UDP_L4 || p.protocol != PROTOCOL_UDP) return false;
  // A UDP length that leaves data over says that the segments are not what gsoSize makes of them.
  return p.transport + <usize>Udp.of(p).length == p.ipEnd;
}

/** Sets the vnet fields to what the packet is now: flags and gsoType rule, offsets follow. */
export function describe(p: Packet): void {
  if (isSuper(p)) p.vnetHdrLen = p.payload;
  else p.vnetHdrLen = 0;
  p.vnetNumBuffers = 0;
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
    p.vnetFlags = VNET_NEEDS_CSUM;
    p.vnetCsumStart = p.l4;
    p.vnetCsumOffset = <u16>checksumOffset(p.protocol);
  } else if (!hasInnerPartial(p)) {
    p.vnetFlags = 0;
    p.vnetCsumStart = 0;
    p.vnetCsumOffset = 0;
  }
}

/** Is the partial checksum one of a header that dissect does not know. */
export function hasInnerPartial(p: Packet): bool {
  return (
    (p.vnetFlags & VNET_NEEDS_CSUM) != 0 &&
    !p.has(PACKET_FLAG_CSUM_PARTIAL) &&
    (<u32>p.vnetCsumStart != <u32>p.l4 || !p.hasTransport)
  );
}

/** Writes the header right before the packet, which moves back in its slot where filters have left no room for it. */
export function writeHeader(p: Packet): void {
  if (p.data < p.slot + VNET_HEADER) {
    // Nothing that was received is as long: cut off, it is refused by the kernel and counted, and nobody else's is hurt.
    if (VNET_HEADER + p.length > p.capacity) p.length = 0;
    memory.copy(p.slot + VNET_HEADER, p.data, p.length);
    p.data = p.slot + VNET_HEADER;
  }
  memory.copy(<usize>p.data - VNET_HEADER, changetype<usize>(p) + DESCRIPTOR_VNET_FLAGS, VNET_HEADER);
}
