// TCP's maximum segment size, lowered to what the path carries. It stands in an option of segments with SYN alone
// (RFC 9293, 3.7.1), in both directions of a connection, and is only ever lowered: to raise it would stall the connection.
//
//   +----+---+-----+-----+
//   | 2  | 4 |   size    |     kind, length, bytes; at any offset in the header, odd ones too
//   +----+---+-----+-----+

import {
  applyChange,
  be16,
  change16,
  counter,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_TCP,
  setBe16,
  smallestMtu,
  TCP_CHECKSUM,
  TCP_HEADER,
  TCP_SYN,
  Tcp,
} from "pktflow/assembly";
import { Counters, params } from "./params";

const HEADERS_IPV4: u32 = 40;
const HEADERS_IPV6: u32 = 60;
const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;
const OPTION_MAXIMUM_SEGMENT_SIZE: u8 = 2;
const OPTION_BYTES: u8 = 4;

let most4: u32 = 0;
let most6: u32 = 0;

export function init(): void {
  const size = <u32>params.size;
  let mtu = <u32>params.mtu;
  if (mtu == 0 && size == 0) mtu = smallestMtu();
  most4 = least(size, mtu, HEADERS_IPV4);
  most6 = least(size, mtu, HEADERS_IPV6);
}

export function reload(): void {
  init();
}

/** Of what is given: 0 is not. */
function least(size: u32, mtu: u32, headers: u32): u32 {
  const left: u32 = mtu > headers ? mtu - headers : 1;
  if (mtu == 0) return size;
  return size == 0 ? left : min(size, left);
}

export function packet(p: Packet): Output {
  if (p.isTransport(PROTOCOL_TCP) && (Tcp.of(p).flags & TCP_SYN) != 0) clamp(p);
  return OUTPUT_NEXT;
}

function clamp(p: Packet): void {
  const most = p.isIpv4 ? most4 : most6;
  const end = p.transport + <usize>Tcp.of(p).headerLength;
  let at = p.transport + TCP_HEADER;
  let found: u32 = Counters.withoutOption;
  while (at < end) {
    const kind = load<u8>(at);
    if (kind == OPTION_END) break;
    if (kind == OPTION_NO_OPERATION) {
      at++;
      continue;
    }
    const length: u8 = at + 1 < end ? load<u8>(at, 1) : 0;
    if (length < 2 || at + <usize>length > end) {
      if (found == Counters.withoutOption) found = Counters.badOption;
      break;
    }
    if (kind == OPTION_MAXIMUM_SEGMENT_SIZE && length == OPTION_BYTES) {
      // A receiver takes the last one (tcp_parse_options), nft the first: lowered is each.
      if (lower(p, at + 2, most)) found = Counters.clamped;
      else if (found != Counters.clamped) found = Counters.fitting;
    }
    at += length;
  }
  counter(found).add(1);
}

function lower(p: Packet, at: usize, most: u32): bool {
  const size = be16(at);
  if (<u32>size <= most) return false;
  setBe16(at, <u16>most);
  // A partial checksum is one of the pseudo-header, which has no options.
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) return true;
  const change = change16(size, <u16>most);
  const isOdd = ((at - p.transport) & 1) != 0;
  // Two halves of two words: a sum of swapped words is the swapped sum (RFC 1071, 2B).
  applyChange(p.transport + TCP_CHECKSUM, isOdd ? <u32>bswap<u16>(<u16>change) : change);
  return true;
}
