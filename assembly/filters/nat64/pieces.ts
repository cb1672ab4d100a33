// What an IPv4 router might have cut is cut here, for nobody does on the way of an IPv6 packet (RFC 7915, 4.1).
//
//   [link | IPv6 | Fragment | first piece | second | third]      ->      [link | IPv6 | Fragment | first piece]      the packet itself
//                                                                         [link | IPv6 | Fragment | second]           fresh ones

import {
  be16,
  emit,
  freshPacket,
  giveBack,
  IPV6_HEADER,
  IPV6_PAYLOAD_LENGTH,
  Output,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_FRAGMENT,
  Packet,
  setBe16,
} from "pktflow/assembly";
import { FRAGMENT_HEADER } from "./header";
import { lowestIpv6Mtu, MOST_PIECES, piecesAt } from "./settings";

const HEADERS: u32 = IPV6_HEADER + FRAGMENT_HEADER;

/** Bytes of the upper layer that a fragment may have, of all but the last a multiple of 8. */
export function pieceBytes(): u32 {
  return (lowestIpv6Mtu - HEADERS) & ~7;
}

/**
 * Cuts an IPv6 packet with a Fragment header, as toIpv6() makes it: the first piece is left of it, the others leave by the same
 * output. Its checksum must be complete.
 * @returns false: there are no slots for the pieces; the packet is as it was
 */
export function cut(p: Packet, output: Output): bool {
  const size = pieceBytes();
  const link = <u32>p.l3;
  const upper = p.ip + HEADERS;
  const bytes = <u32>(p.end - upper);
  if (bytes <= size) return true;
  const field = <u32>be16(p.ip + IPV6_HEADER + 2);
  const at = piecesAt();
  let count: u32 = 0;
  for (let offset = size; offset < bytes; offset += size) {
    const piece = count == MOST_PIECES ? changetype<Packet>(0) : freshPacket(p);
    const length = min(size, bytes - offset);
    const isThere = changetype<usize>(piece) != 0;
    if (isThere) {
      store<u32>(at + ((<usize>count) << 2), <u32>changetype<usize>(piece));
      count++;
    }
    if (!isThere || piece.data - piece.slot + link + HEADERS + length > piece.capacity) {
      for (let i: u32 = 0; i < count; i++) giveBack(pieceAt(at, i));
      return false;
    }
    const isLast = offset + size >= bytes;
    memory.copy(piece.data, p.data, link + HEADERS);
    memory.copy(piece.data + link + HEADERS, upper + offset, length);
    describe(piece, p, length);
    setFragment(piece, length, (field & 0xfff8) + offset, isLast ? field & 1 : 1);
  }
  for (let i: u32 = 0; i < count; i++) emit(pieceAt(at, i), output);
  if ((field & 0xfff8) == 0) p.flags |= PACKET_FLAG_FIRST_FRAGMENT;
  p.flags |= PACKET_FLAG_FRAGMENT;
  p.length = link + HEADERS + size;
  setFragment(p, size, field & 0xfff8, 1);
  return true;
}

function pieceAt(at: usize, i: u32): Packet {
  return changetype<Packet>(<usize>load<u32>(at + ((<usize>i) << 2)));
}

function describe(piece: Packet, p: Packet, length: u32): void {
  piece.length = <u32>p.l3 + HEADERS + length;
  piece.l3 = p.l3;
  piece.payload = p.l3 + <u16>HEADERS;
  piece.protocol = p.protocol;
  piece.flags = (p.flags & ~PACKET_FLAG_FIRST_FRAGMENT) | PACKET_FLAG_FRAGMENT;
  piece.mark = p.mark;
}

function setFragment(p: Packet, length: u32, offset: u32, more: u32): void {
  const ip = p.ip;
  setBe16(ip + IPV6_PAYLOAD_LENGTH, <u16>(FRAGMENT_HEADER + length));
  setBe16(ip + IPV6_HEADER + 2, <u16>(offset | more));
}
