// To which connection a packet belongs. In: a packet that is not malformed, and its transport header, which for a fragment
// is that of its first one. Out: the states of Linux's conntrack: new, established, related, invalid, untracked. A
// connection begins when the user of this accepts a new packet: confirm().

import { Packet } from "../abi/packet";
import { be16 } from "../wire/bytes";
import {
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_HEADER,
  ICMP_PARAMETER_PROBLEM,
  ICMP_REDIRECT,
  ICMP_SOURCE_QUENCH,
  ICMP_TIME_EXCEEDED,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
  ICMPV6_PARAMETER_PROBLEM,
} from "../wire/icmp";
import {
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_OFFSET_MASK,
  IPV4_SOURCE,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  RawIpv4,
} from "../wire/ipv4";
import {
  extensionLength,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  isExtension,
  NEXT_HEADER_FRAGMENT,
  RawIpv6,
} from "../wire/ipv6";
import { TCP_RST, Tcp } from "../wire/tcp";
import {
  ConntrackTable,
  FOUND,
  forgetMade,
  foundRecord,
  foundWord,
  RECORD_OWN,
  setKey,
  WORD_LOWER_BEGAN,
  WORD_REPLIED,
} from "./conntrack-table";
import {
  areFlagsValid,
  beLiberal,
  TCP_CLOSED,
  TCP_ESTABLISHED,
  TCP_INVALID,
  TCP_REOPEN,
  TCP_STAY,
  TCP_SYN_SENT,
  tcpBegin,
  tcpInWindow,
  tcpNext,
  tcpOpens,
  tcpResets,
  WINDOW_INSIDE,
  WINDOW_OUTSIDE,
} from "./conntrack-tcp";

/** Of no connection, or of one that nobody has answered yet. */
export const CT_NEW: u32 = 0;
/** Of a connection that has been answered, or the answer. */
export const CT_ESTABLISHED: u32 = 1;
/** An ICMP error about a connection. */
export const CT_RELATED: u32 = 2;
/** Of no connection, and cannot begin one; or contradicts its connection. */
export const CT_INVALID: u32 = 3;
/** Has no connection by its nature: neighbor discovery, multicast listeners. */
export const CT_UNTRACKED: u32 = 4;

/** Classes of timeouts beside the states of TCP, 1 to 9. */
export const CLASS_UDP: u32 = 10;
export const CLASS_UDP_STREAM: u32 = 11;
export const CLASS_ICMP: u32 = 12;
export const CLASS_OTHER: u32 = 13;
/** UDP that goes on both ways for so long is a stream. */
const STREAM_AFTER: u64 = 2_000_000_000;
const MOST_EXTENSION_HEADERS: u32 = 8;

let table: ConntrackTable = changetype<ConntrackTable>(0);
let isLoose: bool = false;
/** Where a connection's own bytes are made up. */
let scratch: usize = 0;

// Of the packet tracked last.
/** Did the endpoint with the lower number send it? */
let isLower: bool = false;
/** Are both endpoints the same? Then everything it sends is from the one that began. */
let isSame: bool = false;
/** The class that a connection begins in, if confirm() is to make one. */
let opening: u32 = 0;
let openingOwn: usize = 0;

/** @param at a formatted table @param room 64 bytes of this worker's @param loose see track() */
export function openConntrack(at: usize, room: usize, loose: bool): void {
  table = changetype<ConntrackTable>(at);
  scratch = room;
  isLoose = loose;
}

/**
 * The state of a packet. What it shows of its connection is kept.
 * A TCP connection whose beginning was not seen is new with an ACK, if this is loose.
 * @param header the first 8 bytes of the transport header, 0: there is none
 */
export function track(p: Packet, header: usize, now: u64): u32 {
  const protocol = p.protocol;
  const isIpv4 = p.isIpv4;
  opening = 0;
  if (header != 0) {
    if (protocol == PROTOCOL_UDP) {
      setEndpoints(p.ip, isIpv4, be16(header), be16(header + 2), protocol, 0);
      return trackDatagrams(CLASS_UDP, now);
    }
    if (protocol == PROTOCOL_TCP) {
      setEndpoints(p.ip, isIpv4, be16(header), be16(header + 2), protocol, 0);
      return trackTcp(p, now);
    }
    if (protocol == (isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) return trackIcmp(p, header, isIpv4, now);
  } else if (protocol == PROTOCOL_UDP || protocol == PROTOCOL_TCP) return CT_INVALID;
  setEndpoints(p.ip, isIpv4, 0, 0, protocol, 0);
  return trackDatagrams(CLASS_OTHER, now);
}

/**
 * The packet tracked last was new and goes on: its connection begins, if there is none yet.
 * @returns MADE, FOUND or FULL, as ConntrackTable.make()
 */
export function confirm(now: u64): i32 {
  if (opening == 0) {
    forgetMade();
    return FOUND;
  }
  return table.make(opening, isLower || isSame, openingOwn, now);
}

function trackDatagrams(timeoutClass: u32, now: u64): u32 {
  if (!table.find(now)) {
    opening = timeoutClass;
    openingOwn = 0;
    return CT_NEW;
  }
  const word = foundWord;
  let flags = word & WORD_REPLIED;
  let used = <u32>(word & 0xff);
  const isReply = isReplyTo(word);
  if (isReply) flags = WORD_REPLIED;
  else if (flags == 0) {
    table.use(foundRecord, word, used, 0, now);
    return CT_NEW;
  }
  if (used == CLASS_UDP && table.openFor(foundRecord, now) >= STREAM_AFTER) used = CLASS_UDP_STREAM;
  table.use(foundRecord, word, used, flags, now);
  return CT_ESTABLISHED;
}

function isReplyTo(word: u64): bool {
  return !isSame && ((word & WORD_LOWER_BEGAN) != 0) != isLower;
}

function trackTcp(p: Packet, now: u64): u32 {
  // A fragment behind the first shows nothing of the connection.
  const isWhole = p.hasTransport;
  if (isWhole && !areFlagsValid(Tcp.of(p).flags)) return CT_INVALID;
  if (!table.find(now)) return isWhole ? beginTcp(p) : CT_INVALID;
  const isReply = isReplyTo(foundWord);
  if (!isWhole) return (foundWord & WORD_REPLIED) != 0 || isReply ? CT_ESTABLISHED : CT_NEW;
  const word = table.hold();
  if (word == 0) return beginTcp(p);
  const flags = Tcp.of(p).flags;
  const own = foundRecord + RECORD_OWN;
  const state = <u32>(word & 0xff);
  const hadReply = word & WORD_REPLIED;
  let next = tcpNext(state, flags, isReply, isLoose && hadReply == 0);
  if (next == TCP_REOPEN) {
    table.release(word, state, 0, false, now);
    table.remove();
    return beginTcp(p);
  }
  if (next == TCP_STAY && isReply && state == TCP_SYN_SENT) {
    // An ACK in answer to a SYN: who has an old connection challenges the new one (RFC 5961, 4). It shows nothing of this.
    table.release(word, state, WORD_REPLIED, false, now);
    return CT_ESTABLISHED;
  }
  const place = next == TCP_INVALID ? WINDOW_OUTSIDE : tcpInWindow(own, p, state, isReply);
  if (place != WINDOW_INSIDE) {
    table.release(word, state, 0, false, now);
    if (place == WINDOW_OUTSIDE) return CT_INVALID;
    return hadReply != 0 || isReply ? CT_ESTABLISHED : CT_NEW;
  }
  if (next == TCP_STAY) next = state;
  if ((flags & TCP_RST) != 0 && hadReply == 0) {
    // All that ever came of it: refused, or given up.
    table.release(word, state, 0, false, now);
    table.remove();
    return isReply ? CT_ESTABLISHED : CT_NEW;
  }
  if ((flags & TCP_RST) != 0) {
    // One that ends nothing does not keep it open either.
    const ends = tcpResets(own, p, state, isReply);
    table.release(word, ends ? TCP_CLOSED : state, isReply ? WORD_REPLIED : 0, ends, now);
    return hadReply != 0 || isReply ? CT_ESTABLISHED : CT_NEW;
  }
  if (next == TCP_ESTABLISHED && hadReply == 0 && !isReply) beLiberal(own);
  table.release(word, next, isReply ? WORD_REPLIED : 0, true, now);
  return hadReply != 0 || isReply ? CT_ESTABLISHED : CT_NEW;
}

/** There is no connection: may this segment open one? */
function beginTcp(p: Packet): u32 {
  const state = tcpOpens(Tcp.of(p).flags, isLoose);
  if (state == TCP_INVALID) return CT_INVALID;
  memory.fill(scratch, 0, 64);
  tcpBegin(scratch, p);
  opening = state;
  openingOwn = scratch;
  return CT_NEW;
}

function trackIcmp(p: Packet, header: usize, isIpv4: bool, now: u64): u32 {
  const type = load<u8>(header);
  const request = requestOf(type, isIpv4);
  if (request >= 0) {
    const isRequest = request == <i32>type;
    const id = be16(header + 4);
    setEndpoints(p.ip, isIpv4, id, id, p.protocol, request);
    askedBy(isRequest);
    const state = trackDatagrams(CLASS_ICMP, now);
    // An answer to nothing begins nothing.
    if (state != CT_NEW || opening == 0 || isRequest) return state;
    opening = 0;
    return CT_INVALID;
  }
  if (isError(type, isIpv4)) return trackError(p, isIpv4, now);
  return !isIpv4 && type >= 130 && type <= 137
    ? CT_UNTRACKED
    : !isIpv4 && type == 143
      ? CT_UNTRACKED
      : CT_INVALID;
}

/** The type of the request that a type of ICMP asks or answers, or -1. */
function requestOf(type: u8, isIpv4: bool): i32 {
  if (!isIpv4) {
    if (type == ICMPV6_ECHO_REQUEST || type == ICMPV6_ECHO_REPLY) return ICMPV6_ECHO_REQUEST;
    return type == 139 || type == 140 ? 139 : -1;
  }
  if (type == ICMP_ECHO || type == ICMP_ECHO_REPLY) return ICMP_ECHO;
  // Timestamp, information and address mask (RFC 792, RFC 950).
  return type >= 13 && type <= 18 ? ((type + 1) & ~1) - 1 : -1;
}

function isError(type: u8, isIpv4: bool): bool {
  if (!isIpv4) return type >= 1 && type <= ICMPV6_PARAMETER_PROBLEM;
  return (
    type == ICMP_DESTINATION_UNREACHABLE ||
    type == ICMP_SOURCE_QUENCH ||
    type == ICMP_REDIRECT ||
    type == ICMP_TIME_EXCEEDED ||
    type == ICMP_PARAMETER_PROBLEM
  );
}

/** RFC 792, RFC 4443 2.4: an error quotes the packet that it is about, from its IP header on. */
function trackError(p: Packet, isIpv4: bool, now: u64): u32 {
  if (!p.hasTransport || p.isFragment) return CT_INVALID;
  const quoted = p.transport + ICMP_HEADER;
  const end = p.ipEnd;
  let protocol: u8 = 0;
  let at = quoted;
  if (isIpv4) {
    if (quoted + IPV4_HEADER > end) return CT_INVALID;
    const ip = RawIpv4.at(quoted);
    const length = ip.headerLength;
    if (load<u8>(quoted) >> 4 != 4 || length < IPV4_HEADER || (ip.fragment & IPV4_OFFSET_MASK) != 0)
      return CT_INVALID;
    // Whom the error tells of it is who sent the packet.
    if (load<u32>(quoted, IPV4_SOURCE) != load<u32>(p.ip, IPV4_DESTINATION)) return CT_INVALID;
    protocol = ip.protocol;
    at += length;
  } else {
    if (quoted + IPV6_HEADER > end || load<u8>(quoted) >> 4 != 6) return CT_INVALID;
    if (
      load<u64>(quoted, IPV6_SOURCE) != load<u64>(p.ip, IPV6_DESTINATION) ||
      load<u64>(quoted, IPV6_SOURCE + 8) != load<u64>(p.ip, IPV6_DESTINATION + 8)
    )
      return CT_INVALID;
    protocol = RawIpv6.at(quoted).nextHeader;
    at += IPV6_HEADER;
    for (let left = MOST_EXTENSION_HEADERS; isExtension(protocol); left--) {
      if (left == 0 || at + 8 > end) return CT_INVALID;
      if (protocol == NEXT_HEADER_FRAGMENT && (be16(at + 2) & 0xfff8) != 0) return CT_INVALID;
      const length = extensionLength(protocol, at);
      protocol = load<u8>(at);
      at += length;
    }
  }
  if (protocol == PROTOCOL_UDP || protocol == PROTOCOL_TCP) {
    if (at + 8 > end) return CT_INVALID;
    setEndpoints(quoted, isIpv4, be16(at), be16(at + 2), protocol, 0);
  } else if (protocol == (isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6)) {
    if (at + 8 > end) return CT_INVALID;
    const type = load<u8>(at);
    const request = requestOf(type, isIpv4);
    if (request < 0) return CT_INVALID;
    setEndpoints(quoted, isIpv4, be16(at + 4), be16(at + 4), protocol, request);
    askedBy(request == <i32>type);
  } else setEndpoints(quoted, isIpv4, 0, 0, protocol, 0);
  return table.find(now) ? CT_RELATED : CT_INVALID;
}

// The key: endpoints in the order of their numbers, so that both directions have one.
let keyA: u64 = 0;
let keyB: u64 = 0;
let keyC: u64 = 0;
let keyD: u64 = 0;
let keyPorts: u32 = 0;
let keyKind: u32 = 0;
let keyProtocol: u8 = 0;
let keyFamily: u32 = 0;

function setEndpoints(ip: usize, isIpv4: bool, from: u16, to: u16, protocol: u8, kind: i32): void {
  keyProtocol = protocol;
  keyKind = <u32>kind;
  if (isIpv4) {
    const pair = load<u64>(ip, IPV4_SOURCE);
    const source = ((pair << 32) >> 16) | <u64>from;
    const destination = ((pair >> 32) << 16) | <u64>to;
    isLower = source <= destination;
    isSame = source == destination;
    keyA = isLower ? pair : (pair << 32) | (pair >> 32);
    keyB = 0;
    keyC = 0;
    keyD = 0;
    keyFamily = 4;
  } else {
    const a = load<u64>(ip, IPV6_SOURCE);
    const b = load<u64>(ip, IPV6_SOURCE + 8);
    const c = load<u64>(ip, IPV6_DESTINATION);
    const d = load<u64>(ip, IPV6_DESTINATION + 8);
    isSame = a == c && b == d && from == to;
    isLower = a != c ? a < c : b != d ? b < d : from <= to;
    keyA = isLower ? a : c;
    keyB = isLower ? b : d;
    keyC = isLower ? c : a;
    keyD = isLower ? d : b;
    keyFamily = 6;
  }
  keyPorts = isLower ? ((<u32>from) << 16) | <u32>to : ((<u32>to) << 16) | <u32>from;
  setKey(keyA, keyB, keyC, keyD, keyPorts, keyProtocol, keyKind, keyFamily);
}

/** Two hosts may ask each other with one identifier: who asked is part of the key. */
function askedBy(isSender: bool): void {
  const isLowerAsker = isSender == isLower;
  setKey(keyA, keyB, keyC, keyD, keyPorts, keyProtocol, keyKind | (isLowerAsker ? 0x100 : 0), keyFamily);
}
