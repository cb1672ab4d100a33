// To which connection a packet belongs. In: a packet that is not malformed, and its transport header, which for a fragment
// is that of its first one. Out: the states of Linux's conntrack: new, established, related, invalid, untracked. A
// connection begins when the user of this accepts a new packet: confirm().

import { Packet } from "../abi/packet";
import { be16 } from "../wire/bytes";
import { PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { TCP_RST, Tcp } from "../wire/tcp";
import { endedForRoom, evictedForRoom, forgetRoom, takeRecord } from "./conntrack-expiry";
import { isIcmpError, isUntrackedIcmp, requestOf, setQuotedEndpoints } from "./conntrack-icmp";
import { askedBy, isLower, isSame, setEndpoints } from "./conntrack-key";
import { RECORD_OWN, WORD_LOWER_BEGAN, WORD_REPLIED } from "./conntrack-record";
import { ConntrackTable, endedByMake, FOUND, forgetMade, foundRecord, foundWord } from "./conntrack-table";
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

let table: ConntrackTable = changetype<ConntrackTable>(0);
let isLoose: bool = false;
/** Where a connection's own bytes are made up. */
let scratch: usize = 0;

// Of the packet tracked last.
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
    forgetRoom();
    return FOUND;
  }
  return table.make(takeRecord(table, now), opening, isLower || isSame, openingOwn, now);
}

/** How many connections that were over confirm() has ended. */
export function endedByConfirm(): u32 {
  return endedByMake + endedForRoom;
}

/** How many that nobody had answered it has ended to make room. */
export function evictedByConfirm(): u32 {
  return evictedForRoom;
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
  if (isIcmpError(type, isIpv4)) {
    return setQuotedEndpoints(p, isIpv4) && table.find(now) ? CT_RELATED : CT_INVALID;
  }
  return isUntrackedIcmp(type, isIpv4) ? CT_UNTRACKED : CT_INVALID;
}
