// What is known of a TCP connection from its segments: its state, and what each side may send. The states and their
// timeouts are those of Linux's conntrack; the windows follow van Rooij, "Real Stateful TCP Packet Filtering in IP Filter"
// (2001), the terms RFC 9293. Only one direction may pass here (asymmetric routing), and what was not seen is not held
// against anybody.
//
//    0     4        8            12      13             16                       32           36          64
//   +-----+--------+------------+-------+-----+--------+------------------------+------------+-----------+-----+
//   | end | maxEnd | maxWindow  | scale | bits|        | the same of the side   | last ack   | last ack  |     |
//   | of the side that began                           | that answers           | of side 0  | of side 1 |     |
//   +-----+--------+------------+-------+-----+--------+------------------------+------------+-----------+-----+
//   end: sequence number behind the last octet sent; maxEnd: behind the last that may be sent; maxWindow: the largest
//   window announced, scaled; 0: nothing was seen of this side

import { Packet } from "../abi/packet";
import { RawTcp, TCP_ACK, TCP_FIN, TCP_HEADER, TCP_RST, TCP_SYN, TCP_URG, Tcp } from "../wire/tcp";

const SIDE: usize = 16;
const MAX_END: usize = 4;
const MAX_WINDOW: usize = 8;
const SCALE: usize = 12;
const BITS: usize = 13;
const LAST_ACK_OF: usize = 32;
/** It sent a window scale option. */
const SCALES: u8 = 1;
/** Its SYN was not seen, so nobody knows its scale: its windows, and those in answer, are not checked. */
const LIBERAL: u8 = 2;

/** States; each is a class of timeouts of the table too. */
export const TCP_SYN_SENT: u32 = 1;
export const TCP_SYN_RECEIVED: u32 = 2;
export const TCP_ESTABLISHED: u32 = 3;
export const TCP_FIN_WAIT: u32 = 4;
export const TCP_CLOSE_WAIT: u32 = 5;
export const TCP_LAST_ACK: u32 = 6;
export const TCP_TIME_WAIT: u32 = 7;
export const TCP_CLOSED: u32 = 8;
/** SYN was sent by both sides. */
export const TCP_SYN_SENT_BOTH: u32 = 9;
/** It passes, and changes nothing. */
export const TCP_STAY: u32 = 253;
/** The connection is over and this segment opens another one between the same endpoints. */
export const TCP_REOPEN: u32 = 254;
export const TCP_INVALID: u32 = 255;

const FLAGS: u8 = TCP_SYN | TCP_ACK | TCP_FIN | TCP_RST;
/** The largest unscaled window: what was acknowledged so long ago may be acknowledged again. */
const LEAST_ACK_WINDOW: u32 = 66_000;
const OPTION_END: u8 = 0;
const OPTION_NO_OPERATION: u8 = 1;
const OPTION_WINDOW_SCALE: u8 = 3;
const LARGEST_SCALE: u8 = 14;

/** May a segment have these flags? No sender makes other combinations of SYN, FIN, RST, ACK and URG. */
export function areFlagsValid(flags: u8): bool {
  const urgent = (flags & TCP_URG) != 0;
  switch (flags & FLAGS) {
    case TCP_SYN:
    case TCP_ACK:
    case TCP_FIN | TCP_ACK:
      return true;
    case TCP_SYN | TCP_ACK:
    case TCP_RST:
    case TCP_RST | TCP_ACK:
      return !urgent;
    default:
      return false;
  }
}

/** State after the first segment, or TCP_INVALID: it opens nothing. @param isLoose may it be of a connection that is open */
export function tcpOpens(flags: u8, isLoose: bool): u32 {
  const which = flags & FLAGS;
  if (which == TCP_SYN) return TCP_SYN_SENT;
  return which == TCP_ACK && isLoose ? TCP_ESTABLISHED : TCP_INVALID;
}

/**
 * State after one more segment, TCP_STAY, TCP_REOPEN or TCP_INVALID.
 * @param isLoose is an ACK behind a SYN enough, where the answer takes another way
 */
export function tcpNext(state: u32, flags: u8, isReply: bool, isLoose: bool): u32 {
  if ((flags & TCP_RST) != 0) return TCP_CLOSED;
  const opens = state == TCP_SYN_SENT || state == TCP_SYN_SENT_BOTH;
  if ((flags & TCP_SYN) != 0) {
    if ((flags & TCP_ACK) != 0) {
      if (state == TCP_SYN_SENT_BOTH || (isReply && opens)) return TCP_SYN_RECEIVED;
      return isReply || state == TCP_SYN_RECEIVED ? TCP_STAY : TCP_INVALID;
    }
    if (isReply) {
      if (opens) return TCP_SYN_SENT_BOTH;
      return state == TCP_TIME_WAIT ? TCP_REOPEN : TCP_INVALID;
    }
    return state == TCP_TIME_WAIT || state == TCP_CLOSED ? TCP_REOPEN : TCP_STAY;
  }
  if ((flags & TCP_FIN) != 0) {
    if (opens) return TCP_INVALID;
    if (state == TCP_SYN_RECEIVED || state == TCP_ESTABLISHED) return TCP_FIN_WAIT;
    return state == TCP_TIME_WAIT || state == TCP_CLOSED ? TCP_STAY : TCP_LAST_ACK;
  }
  if (opens) {
    if (isReply) return TCP_STAY;
    return state == TCP_SYN_SENT && isLoose ? TCP_ESTABLISHED : TCP_INVALID;
  }
  if (state == TCP_SYN_RECEIVED) return isReply ? TCP_STAY : TCP_ESTABLISHED;
  if (state == TCP_FIN_WAIT) return TCP_CLOSE_WAIT;
  return state == TCP_LAST_ACK ? TCP_TIME_WAIT : TCP_STAY;
}

/** What the first segment shows of the side that sent it. @param own 64 bytes, zero */
export function tcpBegin(own: usize, p: Packet): void {
  const tcp = RawTcp.of(p);
  const isSyn = (tcp.flags & TCP_SYN) != 0;
  firstOf(own, p);
  if (isSyn) return;
  store<u32>(own + SIDE, tcp.acknowledgment);
  store<u32>(own + SIDE, tcp.acknowledgment + tcp.window, MAX_END);
  store<u32>(own, tcp.acknowledgment, LAST_ACK_OF);
  beLiberal(own);
}

/** Nothing more is held against windows of this connection. */
export function beLiberal(own: usize): void {
  store<u8>(own, load<u8>(own, BITS) | LIBERAL, BITS);
  store<u8>(own, load<u8>(own, SIDE + BITS) | LIBERAL, SIDE + BITS);
}

/** Beyond of what was offered, or acknowledges what was not sent. */
export const WINDOW_OUTSIDE: u32 = 0;
/** Late: it passes, and shows nothing that is not known better. */
export const WINDOW_PASSED: u32 = 1;
export const WINDOW_INSIDE: u32 = 2;

/**
 * Where does a segment lie in the windows? If inside, what it shows is kept.
 * @param own the connection's 64 bytes, held by this worker
 * @param state before the segment
 */
export function tcpInWindow(own: usize, p: Packet, state: u32, isReply: bool): u32 {
  const tcp = RawTcp.of(p);
  const flags = tcp.flags;
  const sender = own + (isReply ? SIDE : 0);
  const receiver = own + (isReply ? 0 : SIDE);
  const isSyn = (flags & TCP_SYN) != 0;
  const isAck = (flags & TCP_ACK) != 0;
  const isRst = (flags & TCP_RST) != 0;
  if (isRst && isReply && state == TCP_SYN_SENT) {
    // RFC 9293, 3.5.2: a reset answers a SYN if it acknowledges it.
    return isAck && tcp.acknowledgment == load<u32>(receiver) ? WINDOW_INSIDE : WINDOW_OUTSIDE;
  }
  if (load<u32>(sender, MAX_WINDOW) == 0) {
    if (isRst) return WINDOW_INSIDE;
    // First: were this worker ended in between, nothing would be checked rather than too much.
    if (!isSyn) beLiberal(own);
    firstOf(sender, p);
    if (isSyn) {
      // Windows are scaled if both sides say so (RFC 7323, 2.2).
      if ((load<u8>(receiver, BITS) & SCALES) == 0 || (load<u8>(sender, BITS) & SCALES) == 0) {
        store<u8>(sender, 0, SCALE);
        store<u8>(receiver, 0, SCALE);
      }
      if (!isAck) return WINDOW_INSIDE;
    }
  } else if (isSyn && !isReply && state == TCP_SYN_SENT) {
    // Sent again, maybe by a host that has begun anew.
    firstOf(sender, p);
    return WINDOW_INSIDE;
  }
  const end = endOf(p);
  const seq = isRst && tcp.sequence == 0 && !isAck ? load<u32>(sender) : tcp.sequence;
  const ack = isAck ? tcp.acknowledgment : load<u32>(receiver);
  const window = isSyn ? <u32>tcp.window : (<u32>tcp.window) << (<u32>load<u8>(sender, SCALE));
  const answers = load<u32>(receiver, MAX_WINDOW);
  const isLiberal = (load<u8>(sender, BITS) & LIBERAL) != 0;
  // It acknowledges what nobody has sent.
  if (isRst && isAck && answers == 0 && !isLiberal) return WINDOW_OUTSIDE;
  if (!isLiberal && answers != 0) {
    if (isAfter(ack, load<u32>(receiver) + 1)) return WINDOW_OUTSIDE;
    // Some senders overshoot what they are offered, by less than a window, and their connections must live (as in Linux 6).
    const limit = load<u32>(sender, MAX_END);
    const isOver = isAfter(seq, limit + 1);
    if (isOver && end - limit > answers) return WINDOW_OUTSIDE;
    if (isAfter(load<u32>(sender) - answers - 1, end)) return WINDOW_PASSED;
    const back = max(load<u32>(sender, MAX_WINDOW), LEAST_ACK_WINDOW);
    if (isAfter(load<u32>(receiver) - back - 1, ack)) return isOver ? WINDOW_OUTSIDE : WINDOW_PASSED;
    if (isOver && !isRst) {
      // What it offers itself is not trusted.
      store<u32>(sender, end);
      return WINDOW_INSIDE;
    }
  }
  if (isRst) return WINDOW_INSIDE;
  if (window > load<u32>(sender, MAX_WINDOW)) store<u32>(sender, window, MAX_WINDOW);
  if (isAfter(end, load<u32>(sender))) store<u32>(sender, end);
  if (answers == 0 && isAfter(end, load<u32>(sender, MAX_END))) store<u32>(sender, end, MAX_END);
  if (isAck) {
    if (isAfter(ack + window, load<u32>(receiver, MAX_END) - 1))
      store<u32>(receiver, ack + max<u32>(window, 1), MAX_END);
    store<u32>(own + (isReply ? 4 : 0), ack, LAST_ACK_OF);
  }
  return WINDOW_INSIDE;
}

/**
 * Does a reset that lies in the window end the connection? Its receiver goes by the exact number (RFC 5961, 3.2): that
 * behind what was sent, or what was acknowledged last. Any other may be a guess, and is answered with a challenge.
 */
export function tcpResets(own: usize, p: Packet, state: u32, isReply: bool): bool {
  if (state == TCP_SYN_SENT || state == TCP_SYN_SENT_BOTH) return true;
  const sequence = Tcp.of(p).sequence;
  return (
    sequence == load<u32>(own + (isReply ? SIDE : 0)) ||
    sequence == load<u32>(own + (isReply ? 0 : 4), LAST_ACK_OF)
  );
}

function firstOf(side: usize, p: Packet): void {
  const tcp = RawTcp.of(p);
  const end = endOf(p);
  store<u32>(side, end);
  store<u32>(side, end, MAX_END);
  store<u8>(side, 0, SCALE);
  if ((tcp.flags & TCP_SYN) != 0) readScale(side, p);
  // Last: with it, something was seen of the side.
  store<u32>(side, max<u32>(tcp.window, 1), MAX_WINDOW);
}

/** The number behind the segment's last octet; SYN and FIN count as one each. Of a super-packet, behind all of it. */
function endOf(p: Packet): u32 {
  const tcp = RawTcp.of(p);
  const data = <u32>(p.ipEnd - p.transport) - tcp.headerLength;
  return tcp.sequence + data + <u32>((tcp.flags & TCP_SYN) != 0) + <u32>((tcp.flags & TCP_FIN) != 0);
}

/** RFC 7323, 2.2. Options that contradict themselves end the search. */
function readScale(side: usize, p: Packet): void {
  let at = p.transport + TCP_HEADER;
  const end = p.transport + <usize>Tcp.of(p).headerLength;
  while (at < end) {
    const kind = load<u8>(at);
    if (kind == OPTION_END) return;
    if (kind == OPTION_NO_OPERATION) {
      at++;
      continue;
    }
    if (at + 2 > end) return;
    const length = <usize>load<u8>(at, 1);
    if (length < 2 || at + length > end) return;
    if (kind == OPTION_WINDOW_SCALE && length == 3) {
      store<u8>(side, min(load<u8>(at, 2), LARGEST_SCALE), SCALE);
      store<u8>(side, load<u8>(side, BITS) | SCALES, BITS);
      return;
    }
    at += length;
  }
}

/** In the arithmetic of sequence numbers (RFC 9293, 3.4). */
function isAfter(a: u32, b: u32): bool {
  return <i32>(b - a) < 0;
}
