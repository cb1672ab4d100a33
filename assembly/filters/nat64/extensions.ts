// Passes over the extension headers of an IPv6 packet, or of one that an error quotes, which may be cut short.

import {
  extensionLength,
  IPV6_HEADER,
  IPV6_NEXT_HEADER,
  isExtension,
  NEXT_HEADER_AUTHENTICATION,
  NEXT_HEADER_FRAGMENT,
  NEXT_HEADER_HOP_BY_HOP,
  NEXT_HEADER_ROUTING,
} from "pktflow/assembly";

const MOST: u32 = 8;
/** What walk() gives when headers are cut short or do not end: a number that is nobody's (RFC 5237, reserved). */
export const PROTOCOL_UNKNOWN: u8 = 255;

// What walk() found last, 0: there is none.
export let fragmentAt: usize = 0;
/** A Routing header's count of segments left that is not zero. */
export let segmentsLeftAt: usize = 0;
/** Where the upper layer's header begins. */
export let upperAt: usize = 0;

/**
 * Behind a Fragment header no extension header is passed over (RFC 7915, 5.1.1), nor is an Authentication Header anywhere:
 * it covers what is translated.
 * @param ip address of an IPv6 header that is whole; @param end of what is there
 * @returns the upper layer's protocol
 */
export function walk(ip: usize, end: usize): u8 {
  fragmentAt = 0;
  segmentsLeftAt = 0;
  let kind = load<u8>(ip, IPV6_NEXT_HEADER);
  let at = ip + IPV6_HEADER;
  for (let left = MOST; isExtension(kind) && kind != NEXT_HEADER_AUTHENTICATION; left--) {
    if (kind == NEXT_HEADER_HOP_BY_HOP && at != ip + IPV6_HEADER) break;
    if (left == 0 || at + 8 > end) return PROTOCOL_UNKNOWN;
    const length = <usize>extensionLength(kind, at);
    if (at + length > end) return PROTOCOL_UNKNOWN;
    if (kind == NEXT_HEADER_ROUTING && load<u8>(at, 3) != 0 && segmentsLeftAt == 0) segmentsLeftAt = at + 3;
    const isFragment = kind == NEXT_HEADER_FRAGMENT;
    if (isFragment) fragmentAt = at;
    kind = load<u8>(at);
    at += length;
    if (isFragment) break;
  }
  upperAt = at;
  return kind;
}
