// What a query asks, read from its bytes (RFC 1035, 4.1; RFC 6891, 6.1). Nothing is believed: every length is held against the
// message's end, and whatever a plain query does not have makes it unreadable.
//
//    0    2       4         6         8         10        12
//   +----+-------+---------+---------+---------+---------+------------------------------+------------+
//   | id | flags | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT | QNAME labels, QTYPE, QCLASS  | additional |
//   +----+-------+---------+---------+---------+---------+------------------------------+------------+

import { be16, workerState } from "pktflow/assembly";

export const DNS_HEADER: usize = 12;
export const FLAGS: usize = 2;
export const QDCOUNT: usize = 4;
export const ANCOUNT: usize = 6;
export const NSCOUNT: usize = 8;
export const ARCOUNT: usize = 10;
export const QR: u32 = 0x8000;
export const OPCODE: u32 = 0x7800;
export const CLASS_IN: u32 = 1;
const CLASS_ANY: u32 = 255;
export const TYPE_OPT: u32 = 41;
const LONGEST_LABEL: u32 = 63;
/** Octets of a name, lengths included (RFC 1035, 2.3.4). */
const LONGEST_NAME: u32 = 255;
/** Records beside the question that are looked through. */
const MOST_RECORDS: u32 = 8;

// Of the worker's state: the name as text in lower case, and where in it each label begins.
const TEXT: usize = 0;
const STARTS: usize = 256;

/** The name's length, its labels, the question's end and type; whether it has EDNS, and the DO bit. */
export let nameLength: u32 = 0;
export let labelCount: u32 = 0;
export let questionEnd: usize = 0;
export let queryType: u32 = 0;
export let hasEdns: bool = false;
export let wantsDnssec: bool = false;

export const OURS: u32 = 0;
export const NOT_OURS: u32 = 1;
export const UNREADABLE: u32 = 2;

/** The name's text in lower case, nameLength octets. */
export function nameText(): usize {
  return workerState() + TEXT;
}

/** Where in the text label `i` begins. */
export function labelStart(i: u32): u32 {
  return <u32>load<u8>(workerState() + STARTS + <usize>i);
}

/** @returns OURS: one question of class IN is read; NOT_OURS: it is no query, or of another class; or UNREADABLE */
export function readQuery(at: usize, end: usize): u32 {
  if (at + DNS_HEADER > end) return UNREADABLE;
  const flags = <u32>be16(at + FLAGS);
  if ((flags & (QR | OPCODE)) != 0) return NOT_OURS;
  // RFC 9619: never more than one question.
  if (be16(at + QDCOUNT) != 1 || be16(at + ANCOUNT) != 0 || be16(at + NSCOUNT) != 0) return UNREADABLE;
  const behind = readName(at + DNS_HEADER, end);
  if (behind == 0 || behind + 4 > end) return UNREADABLE;
  queryType = be16(behind);
  const space = <u32>be16(behind + 2);
  questionEnd = behind + 4;
  if (!readAdditional(questionEnd, end, be16(at + ARCOUNT))) return UNREADABLE;
  return space == CLASS_IN || space == CLASS_ANY ? OURS : NOT_OURS;
}

/** @returns address behind the name, or 0: there is none. A pointer has nothing to point to before the first name. */
function readName(at: usize, end: usize): usize {
  const text = nameText();
  const starts = workerState() + STARTS;
  let length: u32 = 0;
  let labels: u32 = 0;
  while (at < end) {
    const octets = <u32>load<u8>(at);
    if (octets == 0) {
      // Without the dot behind the last label.
      nameLength = labels == 0 ? 0 : length - 1;
      labelCount = labels;
      return at + 1;
    }
    if (octets > LONGEST_LABEL || at + 1 + octets > end || length + octets + 2 > LONGEST_NAME) return 0;
    store<u8>(starts + labels, <u8>length);
    labels++;
    for (let i: u32 = 1; i <= octets; i++) store<u8>(text + length++, textOf(load<u8>(at + i)));
    store<u8>(text + length++, DOT);
    at += 1 + octets;
  }
  return 0;
}

const DOT: u8 = 0x2e;

/** In lower case (RFC 4343). A dot within a label is none between labels: it becomes what no listed name has. */
function textOf(octet: u8): u8 {
  if (octet - 0x41 < 26) return octet | 0x20;
  return octet == DOT ? 0 : octet;
}

/** EDNS's pseudo-record, once, at the root, and of version 0; of other records their lengths alone. */
function readAdditional(at: usize, end: usize, records: u32): bool {
  hasEdns = false;
  wantsDnssec = false;
  if (records > MOST_RECORDS) return false;
  for (let i: u32 = 0; i < records; i++) {
    const isRoot = at < end && load<u8>(at) == 0;
    at = skipName(at, end);
    // Type, class, TTL, RDLENGTH.
    if (at == 0 || at + 10 > end) return false;
    const bytes = <usize>be16(at + 8);
    if (at + 10 + bytes > end) return false;
    if (be16(at) == TYPE_OPT) {
      // In the TTL's place: extended RCODE, version, DO and zeros.
      if (hasEdns || !isRoot || load<u8>(at + 5) != 0) return false;
      hasEdns = true;
      wantsDnssec = (load<u8>(at + 6) & 0x80) != 0;
    }
    at += 10 + bytes;
  }
  return true;
}

/** @returns address behind a name that may end with a pointer, or 0 */
function skipName(at: usize, end: usize): usize {
  while (at < end) {
    const octets = <u32>load<u8>(at);
    if (octets == 0) return at + 1;
    if (octets >= 0xc0) return at + 2 <= end ? at + 2 : 0;
    if (octets > LONGEST_LABEL) return 0;
    at += 1 + octets;
  }
  return 0;
}
