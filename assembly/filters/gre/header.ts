// The GRE header, written and read: wire/gre.ts has its layout.

import {
  be16,
  be32,
  complement,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_TEB,
  GRE_CHECKSUM,
  GRE_HEADER,
  GRE_KEY,
  GRE_SEQUENCE,
  GRE_UNKNOWN,
  Packet,
  setBe16,
  setBe32,
  sharedState,
  sum,
} from "pktflow/assembly";
import { push } from "pktflow/assembly/lib/headroom";
import { Carries, Counters, params } from "./params";

// Shared state: the next number to send, and the next one to come.
const SEND: usize = 0;
const COME: usize = 4;
/** Of readHeader(). */
export const NOT_OURS: i32 = -1;
export const WHOLE: i32 = -2;

/** Bytes of the header that this end writes. */
export function headerBytes(): u32 {
  let bytes = GRE_HEADER;
  if (params.checksum) bytes += 4;
  if (params.key.length != 0) bytes += 4;
  return params.sequence ? bytes + 4 : bytes;
}

/** Puts the header before a packet or frame. @returns false: its slot has no room */
export function writeHeader(p: Packet): bool {
  let type: u16 = ETHERTYPE_TEB;
  if (params.carries == Carries.ip) type = p.isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
  if (!push(p, headerBytes())) return false;
  const header = <usize>p.data;
  let flags: u16 = 0;
  let at = header + GRE_HEADER;
  if (params.checksum) {
    flags |= GRE_CHECKSUM;
    store<u32>(at, 0);
    at += 4;
  }
  if (params.key.length != 0) {
    flags |= GRE_KEY;
    setBe32(at, params.key.at(0));
    at += 4;
  }
  if (params.sequence) {
    flags |= GRE_SEQUENCE;
    setBe32(at, atomic.add<u32>(sharedState() + SEND, 1));
  }
  setBe16(header, flags);
  setBe16(header + 2, type);
  if (params.checksum) store<u16>(header + GRE_HEADER, complement(sum(header, p.length)));
  return true;
}

/** What readHeader() found: bytes of the header, and the type of what follows it. */
export let foundBytes: u32 = 0;
export let foundType: u16 = 0;

/**
 * Reads the header at an address, of a packet that ends at another.
 * @returns WHOLE; NOT_OURS, of another tunnel; or the counter of why it must be dropped
 */
export function readHeader(header: usize, end: usize): i32 {
  if (header + GRE_HEADER > end) return Counters.malformed;
  const flags = be16(header);
  if ((flags & GRE_UNKNOWN) != 0) return Counters.malformed;
  const hasChecksum = (flags & GRE_CHECKSUM) != 0;
  const hasKey = (flags & GRE_KEY) != 0;
  const hasNumber = (flags & GRE_SEQUENCE) != 0;
  const key = header + GRE_HEADER + (hasChecksum ? 4 : 0);
  const number = key + (hasKey ? 4 : 0);
  const payload = number + (hasNumber ? 4 : 0);
  if (payload > end) return Counters.malformed;
  if (hasKey != (params.key.length != 0)) return NOT_OURS;
  if (hasKey && be32(key) != params.key.at(0)) return NOT_OURS;
  if (hasChecksum ? sum(header, <u32>(end - header)) != 0xffff : params.checksum) return Counters.badChecksum;
  if (params.sequence && !(hasNumber && isNext(be32(number)))) return Counters.outOfOrder;
  foundBytes = <u32>(payload - header);
  foundType = be16(header + 2);
  return WHOLE;
}

/** RFC 2890, 2.2: a packet that is not behind those that have come; then later ones must be behind it. */
function isNext(number: u32): bool {
  const at = sharedState() + COME;
  let expected = atomic.load<u32>(at);
  // The first one may have any number: the other end may have been there for longer.
  while (expected == 0 || <i32>(number - expected) >= 0) {
    const found = atomic.cmpxchg<u32>(at, expected, number + 1);
    if (found == expected) return true;
    expected = found;
  }
  return false;
}
