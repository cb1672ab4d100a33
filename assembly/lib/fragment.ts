// IP fragmentation (RFC 791, 3.2; RFC 8200, 4.5) one fragment at a time, from the front, as lib/segment.ts cuts segments: what
// is left is a fragment itself, whose headers have moved up to its data, and may be cut again.
//
//   before    [headers | first | second | third]
//   the cut   [headers | first]  more fragments
//   the rest                 [headers | second | third]
//
// Offsets count 8 bytes, so each but the last has a multiple of 8. IPv4 options that are not to be copied become no-operations
// in the rest, as in the kernel's ip_options_fragment. IPv6 wants a Fragment header first: addFragmentHeader().

import {
  DESCRIPTOR_L3,
  DESCRIPTOR_SLOT,
  HEADROOM,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_FRAGMENT,
} from "../abi/layout";
import { Packet } from "../abi/packet";
import { be16, setBe16, setBe32 } from "../wire/bytes";
import {
  IPV4_CHECKSUM,
  IPV4_DONT_FRAGMENT,
  IPV4_FRAGMENT,
  IPV4_HEADER,
  IPV4_MORE_FRAGMENTS,
  IPV4_TOTAL_LENGTH,
  Ipv4,
} from "../wire/ipv4";
import { IPV6_HEADER, IPV6_NEXT_HEADER, IPV6_PAYLOAD_LENGTH, NEXT_HEADER_FRAGMENT } from "../wire/ipv6";
import { complement, sumIpv4Header } from "./checksum";
import { push } from "./headroom";

const UNIT: u32 = 8;
export const FRAGMENT_HEADER: u32 = 8;
const MORE6: u16 = 1;
const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;
const OPTION_COPIED: u8 = 0x80;

/** Bytes of an IPv4 packet's data that a fragment of up to `mtu` bytes has; 0: none fits. Needs Packet.isIpv4, on layer 3. */
export function fragmentData4(p: Packet, mtu: u32): u32 {
  const header = Ipv4.of(p).headerLength;
  return mtu < header + UNIT ? 0 : (mtu - header) & ~(UNIT - 1);
}

/** The same for an IPv6 packet without Fragment header, which it gets. */
export function fragmentData6(mtu: u32): u32 {
  const headers = IPV6_HEADER + FRAGMENT_HEADER;
  return mtu < headers + UNIT ? 0 : (mtu - headers) & ~(UNIT - 1);
}

/** May an IPv4 packet be fragmented? */
export function mayFragment(p: Packet): bool {
  return p.isIpv4 && (Ipv4.of(p).fragment & IPV4_DONT_FRAGMENT) == 0;
}

/** Does the slot of `to` hold a fragment with `size` bytes of data? */
export function fragmentFits(p: Packet, to: Packet, headers: u32, size: u32): bool {
  return HEADROOM + headers + size <= to.capacity && headers + size < p.length;
}

/**
 * Cuts the first `size` bytes of data off an IPv4 packet on layer 3, which has more. Its length is that of the IP packet, its
 * checksum complete.
 * @param size a multiple of 8
 * @param to a fresh packet that fragmentFits(); all that is known of `p` becomes known of it
 */
export function cutFragment4(p: Packet, to: Packet, size: u32): void {
  const header = Ipv4.of(p).headerLength;
  const fragment = be16(p.ip + IPV4_FRAGMENT);
  const isFirst = p.l4 != 0;
  cut(p, to, header, size);
  setBe16(to.ip + IPV4_FRAGMENT, fragment | IPV4_MORE_FRAGMENTS);
  setBe16(p.ip + IPV4_FRAGMENT, <u16>(<u32>fragment + (size >> 3)));
  dropOptions(p.ip, header);
  seal4(to);
  seal4(p);
  describe(p, to, isFirst);
}

function seal4(p: Packet): void {
  setBe16(p.ip + IPV4_TOTAL_LENGTH, <u16>p.length);
  store<u16>(p.ip, 0, IPV4_CHECKSUM);
  store<u16>(p.ip, complement(sumIpv4Header(p.ip)), IPV4_CHECKSUM);
}

/** Options that only the first fragment has: copied flag 0 (RFC 791, 3.1). */
function dropOptions(ip: usize, header: u32): void {
  const end = ip + header;
  let at = ip + IPV4_HEADER;
  while (at < end) {
    const type = load<u8>(at);
    if (type == OPTION_END) return;
    if (type == OPTION_NO_OPERATION) {
      at++;
      continue;
    }
    const length: u32 = at + 1 < end ? load<u8>(at, 1) : 0;
    if (length < 2 || at + length > end) return;
    if ((type & OPTION_COPIED) == 0) memory.fill(at, OPTION_NO_OPERATION, length);
    at += length;
  }
}

/**
 * Puts a Fragment header behind the IPv6 header of a packet on layer 3 that has no extension headers, an atomic fragment so far.
 * @returns false: there is no room in its slot
 */
export function addFragmentHeader(p: Packet, identification: u32): bool {
  if (!push(p, FRAGMENT_HEADER)) return false;
  const ip = <usize>p.data;
  memory.copy(ip, ip + FRAGMENT_HEADER, IPV6_HEADER);
  const header = ip + IPV6_HEADER;
  store<u32>(header, 0);
  store<u8>(header, load<u8>(ip, IPV6_NEXT_HEADER));
  setBe32(header + 4, identification);
  store<u8>(ip, NEXT_HEADER_FRAGMENT, IPV6_NEXT_HEADER);
  seal6(p);
  return true;
}

/** The same as cutFragment4() for a packet that addFragmentHeader() has been called for. */
export function cutFragment6(p: Packet, to: Packet, size: u32): void {
  const headers = IPV6_HEADER + FRAGMENT_HEADER;
  const field = IPV6_HEADER + 2;
  const fragment = be16(p.ip + field);
  const isFirst = fragment >> 3 == 0;
  cut(p, to, headers, size);
  setBe16(to.ip + field, fragment | MORE6);
  setBe16(p.ip + field, <u16>(<u32>fragment + size));
  seal6(to);
  seal6(p);
  describe(p, to, isFirst);
}

function seal6(p: Packet): void {
  setBe16(p.ip + IPV6_PAYLOAD_LENGTH, <u16>(p.length - IPV6_HEADER));
}

function cut(p: Packet, to: Packet, headers: u32, size: u32): void {
  const data = to.slot + HEADROOM;
  memory.copy(data, p.data, headers + size);
  memory.copy(
    changetype<usize>(to) + DESCRIPTOR_L3,
    changetype<usize>(p) + DESCRIPTOR_L3,
    DESCRIPTOR_SLOT - DESCRIPTOR_L3,
  );
  to.data = data;
  to.length = headers + size;
  memory.copy(p.data + size, p.data, headers);
  p.data += size;
  p.length -= size;
}

/** As dissect would: the first has the transport header, where it is whole in it; the others have none. */
function describe(p: Packet, to: Packet, isFirst: bool): void {
  const payload = p.isIpv4 ? <u16>Ipv4.of(p).headerLength : <u16>(IPV6_HEADER + FRAGMENT_HEADER);
  to.flags |= PACKET_FLAG_FRAGMENT;
  if (isFirst) to.flags |= PACKET_FLAG_FIRST_FRAGMENT;
  if (to.payload > to.length) {
    to.l4 = 0;
    to.payload = payload;
  }
  p.flags = (p.flags | PACKET_FLAG_FRAGMENT) & ~PACKET_FLAG_FIRST_FRAGMENT;
  p.l4 = 0;
  p.payload = payload;
}
