// What a rule asks of a packet that no box (layout.ts) says: the packet's facts, and the rule held against them.

import {
  be16,
  be32,
  be64,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ICMP_CODE,
  ICMP_TYPE,
  PACKET_FLAG_FIRST_FRAGMENT,
  Packet,
  PROTOCOL_TCP,
  RawIpv4,
  RawIpv6,
  Tcp,
} from "pktflow/assembly";
import { kindOf } from "./kinds";
import { Fragment } from "./params";
import {
  hasBit,
  KIND_ICMP,
  KIND_OTHER,
  KIND_PORTLESS,
  KIND_TCP,
  RANGE4,
  RANGE6,
  RANGE16,
  RULE_DSCP,
  RULE_ETHERTYPE,
  RULE_FRAGMENTS,
  RULE_FROM_PORT,
  RULE_FROM4,
  RULE_FROM6,
  RULE_ICMP_CODES,
  RULE_ICMP_TYPES,
  RULE_LENGTH,
  RULE_MARK,
  RULE_MARK_MASK,
  RULE_PROTO,
  RULE_SAYS,
  RULE_TCP_FLAGS,
  RULE_TO_PORT,
  RULE_TO4,
  RULE_TO6,
  SAYS_DSCP,
  SAYS_ETHERTYPE,
  SAYS_FRAGMENTS,
  SAYS_FROM,
  SAYS_FROM_PORT,
  SAYS_ICMP_CODE,
  SAYS_ICMP_TYPE,
  SAYS_LENGTH,
  SAYS_MARK,
  SAYS_OF_FRAMES,
  SAYS_PROTO,
  SAYS_TCP_FLAGS,
  SAYS_TO,
  SAYS_TO_PORT,
  VALUE,
} from "./rule";

// Of the packet at hand. What it does not have, a rule that asks for it does not match.
let has: u32 = 0;
let isIpv4: bool = false;
let protocol: u32 = 0;
let ethertype: u32 = 0;
let fragment: u32 = 0;
let from4: u32 = 0;
let to4: u32 = 0;
let fromHigh: u64 = 0;
let fromLow: u64 = 0;
let toHigh: u64 = 0;
let toLow: u64 = 0;
let tcpFlags: u8 = 0;
let length: u32 = 0;
let dscp: u64 = 0;
/** What boxes say of the transport header: the kind of protocol, and the two ports as layout.ts has them. */
export let kind: u32 = 0;
export let port0: u32 = 0;
export let port1: u32 = 0;
/** Have the facts been read? */
let isRead: bool = false;

/** Another packet: its facts are read when a rule asks for them. */
export function forget(): void {
  isRead = false;
}

/** Reads what rules ask about, of a packet that shows it all itself. */
export function read(p: Packet): void {
  readWith(p, p.hasTransport ? p.transport : 0, p.isTransport(PROTOCOL_TCP) ? Tcp.of(p).flags : 0);
}

/**
 * The same where the transport header is known from elsewhere.
 * @param header its first bytes, 0: it is not known
 * @param flags of TCP
 */
export function readWith(p: Packet, header: usize, flags: u8): void {
  isRead = true;
  tcpFlags = flags;
  if (!p.isIp) {
    has = SAYS_OF_FRAMES;
    // On layer 3 there is nothing but IP, so this has an Ethernet header, and its payload stands behind the type.
    ethertype = <u32>be16(<usize>p.data + p.payload - 2);
    return;
  }
  has = SAYS_OF_FRAMES | SAYS_PROTO | SAYS_FROM | SAYS_TO | SAYS_FRAGMENTS | SAYS_LENGTH | SAYS_DSCP;
  protocol = <u32>p.protocol;
  isIpv4 = p.isIpv4;
  const ip = p.ip;
  if (isIpv4) {
    ethertype = <u32>ETHERTYPE_IPV4;
    from4 = be32(ip + 12);
    to4 = be32(ip + 16);
    length = <u32>RawIpv4.at(ip).totalLength;
    dscp = <u64>(RawIpv4.at(ip).tos >> 2);
  } else {
    ethertype = <u32>ETHERTYPE_IPV6;
    fromHigh = be64(ip + 8);
    fromLow = be64(ip + 16);
    toHigh = be64(ip + 24);
    toLow = be64(ip + 32);
    length = <u32>RawIpv6.at(ip).payloadLength + 40;
    dscp = <u64>(RawIpv6.at(ip).trafficClass >> 2);
  }
  fragment = !p.isFragment
    ? 1 << Fragment.whole
    : p.has(PACKET_FLAG_FIRST_FRAGMENT)
      ? 1 << Fragment.first
      : 1 << Fragment.later;
  kind = kindOf(p.protocol, isIpv4);
  readTransport(header);
}

function readTransport(header: usize): void {
  if (kind == KIND_OTHER) {
    port0 = protocol;
    port1 = 0;
  } else if (header == 0) {
    kind += KIND_PORTLESS;
    port0 = 0;
    port1 = 0;
  } else if (kind == KIND_ICMP) {
    has |= SAYS_ICMP_TYPE | SAYS_ICMP_CODE;
    port0 = <u32>load<u8>(header, ICMP_CODE);
    port1 = <u32>load<u8>(header, ICMP_TYPE);
  } else {
    has |= SAYS_FROM_PORT | SAYS_TO_PORT;
    // Both protocols begin with their ports.
    port0 = <u32>be16(header);
    port1 = <u32>be16(header + 2);
    if (kind == KIND_TCP) has |= SAYS_TCP_FLAGS;
  }
}

/** Does a packet match a rule? */
export function matches(p: Packet, rule: usize): bool {
  if (!isRead) read(p);
  const says = load<u32>(rule, RULE_SAYS);
  if ((says & ~has & CRITERIA) != 0) return false;
  if ((says & SAYS_PROTO) != 0 && !hasBit(<usize>load<u32>(rule, RULE_PROTO), protocol)) return false;
  if ((says & SAYS_TO_PORT) != 0 && !within16(rule + RULE_TO_PORT, port1)) return false;
  if ((says & SAYS_FROM_PORT) != 0 && !within16(rule + RULE_FROM_PORT, port0)) return false;
  if ((says & SAYS_ICMP_TYPE) != 0 && !hasBit(<usize>load<u32>(rule, RULE_ICMP_TYPES), port1)) return false;
  if ((says & SAYS_ICMP_CODE) != 0 && !hasBit(<usize>load<u32>(rule, RULE_ICMP_CODES), port0)) return false;
  if ((says & SAYS_TCP_FLAGS) != 0 && !hasBit(<usize>load<u32>(rule, RULE_TCP_FLAGS), <u32>tcpFlags))
    return false;
  if ((says & SAYS_FRAGMENTS) != 0 && (<u32>load<u8>(rule, RULE_FRAGMENTS) & fragment) == 0) return false;
  if ((says & SAYS_DSCP) != 0 && ((load<u64>(rule, RULE_DSCP) >> dscp) & 1) == 0) return false;
  if ((says & SAYS_LENGTH) != 0 && !within16(rule + RULE_LENGTH, length)) return false;
  // The mark alone changes while rules are gone through.
  if ((says & SAYS_MARK) != 0 && !isOneOf(rule + RULE_MARK, p.mark & load<u32>(rule, RULE_MARK_MASK)))
    return false;
  if ((says & SAYS_ETHERTYPE) != 0 && !isOneOf(rule + RULE_ETHERTYPE, ethertype)) return false;
  if ((says & SAYS_TO) != 0) {
    if (!(isIpv4 ? within4(rule + RULE_TO4, to4) : within6(rule + RULE_TO6, toHigh, toLow))) return false;
  }
  if ((says & SAYS_FROM) == 0) return true;
  return isIpv4 ? within4(rule + RULE_FROM4, from4) : within6(rule + RULE_FROM6, fromHigh, fromLow);
}

const CRITERIA: u32 = 0x7fffffff;

// A list: address and count of its elements. Ranges are sorted and disjoint: the last one that begins at or before a
// value is the only one that may hold it.

function within16(list: usize, value: u32): bool {
  const at = <usize>load<u32>(list);
  let low: u32 = 0;
  let high = load<u32>(list, 4);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (<u32>load<u16>(at + <usize>middle * RANGE16) <= value) low = middle + 1;
    else high = middle;
  }
  return low != 0 && value <= <u32>load<u16>(at + <usize>(low - 1) * RANGE16, 2);
}

function within4(list: usize, address: u32): bool {
  const at = <usize>load<u32>(list);
  let low: u32 = 0;
  let high = load<u32>(list, 4);
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u32>(at + <usize>middle * RANGE4) <= address) low = middle + 1;
    else high = middle;
  }
  return low != 0 && address <= load<u32>(at + <usize>(low - 1) * RANGE4, 4);
}

function within6(list: usize, addressHigh: u64, addressLow: u64): bool {
  const at = <usize>load<u32>(list);
  let low: u32 = 0;
  let high = load<u32>(list, 4);
  while (low < high) {
    const middle = (low + high) >> 1;
    const range = at + <usize>middle * RANGE6;
    const first = load<u64>(range);
    if (first < addressHigh || (first == addressHigh && load<u64>(range, 8) <= addressLow)) low = middle + 1;
    else high = middle;
  }
  if (low == 0) return false;
  const range = at + <usize>(low - 1) * RANGE6;
  const last = load<u64>(range, 16);
  return addressHigh < last || (addressHigh == last && addressLow <= load<u64>(range, 24));
}

function isOneOf(list: usize, value: u32): bool {
  const at = <usize>load<u32>(list);
  const count = load<u32>(list, 4);
  for (let i: u32 = 0; i < count; i++) if (load<u32>(at + <usize>i * VALUE) == value) return true;
  return false;
}
