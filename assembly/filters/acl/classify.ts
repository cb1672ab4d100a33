// Which rule a packet matches. In: a packet that is not malformed. The answer is that of going through all rules in
// order; tree.ts finds those that come into question.

import {
  be16,
  be32,
  be64,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  Icmp,
  Ipv4,
  Ipv6,
  PACKET_FLAG_FIRST_FRAGMENT,
  Packet,
  Tcp,
  workerState,
} from "pktflow/assembly";
import { kindOf } from "./kinds";
import { Fragment } from "./params";
import {
  hasBit,
  KIND_ICMP,
  KIND_OTHER,
  KIND_TCP,
  MARKS,
  NO_RULE,
  RANGE4,
  RANGE6,
  RANGE16,
  RULE,
  RULE_DSCP,
  RULE_ETHERTYPE,
  RULE_FRAGMENTS,
  RULE_FROM_PORT,
  RULE_FROM4,
  RULE_FROM6,
  RULE_ICMP_CODES,
  RULE_ICMP_TYPES,
  RULE_INDEX,
  RULE_LENGTH,
  RULE_MARK,
  RULE_MARK_MASK,
  RULE_OUTPUT,
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
  STATE_NOT_IP,
  STATE_NOT_IP_COUNT,
  STATE_RULES,
  STATE_TREE4,
  STATE_TREE6,
  VALUE,
} from "./rule";
import {
  BOX_DECIDES,
  BOX_KINDS,
  BOX_MARKS,
  BOX_OUTPUT,
  BOX_RULE,
  BOX4,
  BOX6,
  CHILD_FIRST,
  KEY_FROM,
  KEY_FROM_LOW,
  KEY_KIND,
  KEY_PORT0,
  KEY_PORT1,
  KEY_TO,
  KEY_TO_LOW,
  LEAF,
  LEAF_BOXES,
  MASK4,
  MASK6,
  NO_PORT,
  NODE_BASE,
  NODE_CHILDREN,
  NODE_COUNT,
  NODE_KEY,
  NODE_MIDDLE,
  NODE_MIDDLE_FIRST,
  NODE_SHIFT,
  PORTS4,
  PORTS6,
} from "./tree";

// Of the packet at hand. What it does not have, a rule that asks for it does not match.
let has: u32 = 0;
let isIpv4: bool = false;
let protocol: u32 = 0;
let kind: u32 = 0;
let ethertype: u32 = 0;
let fragment: u32 = 0;
let from4: u32 = 0;
let to4: u32 = 0;
let fromHigh: u64 = 0;
let fromLow: u64 = 0;
let toHigh: u64 = 0;
let toLow: u64 = 0;
let port0: u32 = 0;
let port1: u32 = 0;
let tcpFlags: u32 = 0;
let length: u32 = 0;
let dscp: u64 = 0;
let mark: u32 = 0;
/** The IP header's addresses as they lie there. */
let addresses: usize = 0;

/** Where rules and trees are, and the best match until now. */
let rules: usize = 0;
let keys: usize = 0;
let start: u32 = 0;
let best: u32 = 0xffffffff;

/** Where the packet goes by the rule found last, and whether that rule only sets a mark, so that others follow. */
export let foundOutput: u8 = 0;
export let foundMarks: bool = false;

/** Index of the first rule that matches, or NO_RULE. @param state compiled rules (rule.ts) */
export function classify(p: Packet, state: usize): u32 {
  rules = <usize>load<u32>(state, STATE_RULES);
  keys = workerState();
  start = 0;
  read(p);
  return search(state);
}

/** The next rule that matches after one that has set the mark. */
export function classifyOn(p: Packet, state: usize, rule: u32): u32 {
  mark = p.mark;
  start = rule + 1;
  return search(state);
}

function search(state: usize): u32 {
  if ((has & SAYS_PROTO) == 0) return searchNotIp(state);
  best = NO_RULE;
  descend(isIpv4 ? load<u32>(state, STATE_TREE4) : load<u32>(state, STATE_TREE6));
  return best;
}

function searchNotIp(state: usize): u32 {
  const list = <usize>load<u32>(state, STATE_NOT_IP);
  const count = load<u32>(state, STATE_NOT_IP_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const rule = <usize>load<u32>(list + ((<usize>i) << 2));
    const index = load<u32>(rule, RULE_INDEX);
    if (index < start || !matches(rule)) continue;
    foundOutput = load<u8>(rule, RULE_OUTPUT);
    foundMarks = (load<u32>(rule, RULE_SAYS) & MARKS) != 0;
    return index;
  }
  return NO_RULE;
}

/** Reads what rules ask about. */
function read(p: Packet): void {
  mark = p.mark;
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
    addresses = ip + 12;
    from4 = be32(ip + 12);
    to4 = be32(ip + 16);
    length = <u32>Ipv4.at(ip).totalLength;
    dscp = <u64>(Ipv4.at(ip).tos >> 2);
    store<u64>(keys + <usize>(KEY_FROM << 3), <u64>from4);
    store<u64>(keys + <usize>(KEY_TO << 3), <u64>to4);
  } else {
    ethertype = <u32>ETHERTYPE_IPV6;
    addresses = ip + 8;
    fromHigh = be64(ip + 8);
    fromLow = be64(ip + 16);
    toHigh = be64(ip + 24);
    toLow = be64(ip + 32);
    length = <u32>Ipv6.at(ip).payloadLength + 40;
    dscp = <u64>(Ipv6.at(ip).trafficClass >> 2);
    store<u64>(keys + <usize>(KEY_FROM << 3), fromHigh);
    store<u64>(keys + <usize>(KEY_TO << 3), toHigh);
    store<u64>(keys + <usize>(KEY_FROM_LOW << 3), fromLow);
    store<u64>(keys + <usize>(KEY_TO_LOW << 3), toLow);
  }
  fragment = !p.isFragment
    ? 1 << Fragment.whole
    : p.has(PACKET_FLAG_FIRST_FRAGMENT)
      ? 1 << Fragment.first
      : 1 << Fragment.later;
  kind = kindOf(p.protocol, isIpv4);
  readTransport(p);
  store<u64>(keys + <usize>(KEY_PORT0 << 3), <u64>port0);
  store<u64>(keys + <usize>(KEY_PORT1 << 3), <u64>port1);
  store<u64>(keys + <usize>(KEY_KIND << 3), <u64>kind);
}

function readTransport(p: Packet): void {
  if (kind == KIND_OTHER) {
    port0 = protocol;
    port1 = 0;
  } else if (!p.hasTransport) {
    port0 = NO_PORT;
    port1 = NO_PORT;
  } else if (kind == KIND_ICMP) {
    has |= SAYS_ICMP_TYPE | SAYS_ICMP_CODE;
    port0 = <u32>Icmp.of(p).code;
    port1 = <u32>Icmp.of(p).type;
  } else {
    has |= SAYS_FROM_PORT | SAYS_TO_PORT;
    // Both protocols begin with their ports.
    const transport = p.transport;
    port0 = <u32>be16(transport);
    port1 = <u32>be16(transport + 2);
    if (kind == KIND_TCP) {
      has |= SAYS_TCP_FLAGS;
      tcpFlags = <u32>Tcp.at(transport).flags;
    }
  }
}

/** Goes down the tree to all leaves whose boxes the packet may lie in and that may have a rule before the best one. */
function descend(reference: u32): void {
  while (reference != 0) {
    if ((reference & LEAF) != 0) {
      if (isIpv4) scan4(<usize>(reference - LEAF));
      else scan6(<usize>(reference - LEAF));
      return;
    }
    const node = <usize>reference;
    const key = load<u64>(keys + ((<usize>load<u32>(node, NODE_KEY)) << 3));
    const child = (key >> <u64>load<u32>(node, NODE_SHIFT)) - load<u64>(node, NODE_BASE);
    let inner: u32 = 0;
    let innerFirst: u32 = NO_RULE;
    if (child < <u64>load<u32>(node, NODE_COUNT)) {
      const at = node + ((<usize>child) << 3);
      innerFirst = load<u32>(at + (NODE_CHILDREN + CHILD_FIRST));
      if (innerFirst < best) inner = load<u32>(at, NODE_CHILDREN);
    }
    const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
    const middle = middleFirst < best ? load<u32>(node, NODE_MIDDLE) : 0;
    if (inner == 0) reference = middle;
    else if (middle == 0) reference = inner;
    else if (innerFirst < middleFirst) {
      descend(inner);
      reference = middleFirst < best ? middle : 0;
    } else {
      descend(middle);
      reference = innerFirst < best ? inner : 0;
    }
  }
}

function scan4(leaf: usize): void {
  const pair = load<u64>(addresses);
  let box = leaf + LEAF_BOXES;
  for (let left = load<u32>(leaf); left != 0; left--, box += BOX4) {
    const index = load<u32>(box + (PORTS4 + BOX_RULE));
    if (index >= best) return;
    if (
      (pair & load<u64>(box, MASK4)) == load<u64>(box) &&
      fits(box + PORTS4) &&
      decides(box + PORTS4, index)
    ) {
      found(box + PORTS4, index);
      return;
    }
  }
}

function scan6(leaf: usize): void {
  const a = load<u64>(addresses);
  const b = load<u64>(addresses, 8);
  const c = load<u64>(addresses, 16);
  const d = load<u64>(addresses, 24);
  let box = leaf + LEAF_BOXES;
  for (let left = load<u32>(leaf); left != 0; left--, box += BOX6) {
    const index = load<u32>(box + (PORTS6 + BOX_RULE));
    if (index >= best) return;
    if (
      (a & load<u64>(box, MASK6)) == load<u64>(box) &&
      (b & load<u64>(box + (MASK6 + 8))) == load<u64>(box, 8) &&
      (c & load<u64>(box + (MASK6 + 16))) == load<u64>(box, 16) &&
      (d & load<u64>(box + (MASK6 + 24))) == load<u64>(box, 24) &&
      fits(box + PORTS6) &&
      decides(box + PORTS6, index)
    ) {
      found(box + PORTS6, index);
      return;
    }
  }
}

function found(ports: usize, index: u32): void {
  best = index;
  foundOutput = load<u8>(ports, BOX_OUTPUT);
  foundMarks = load<u8>(ports, BOX_MARKS) != 0;
}

/** Do ports and kind lie in the box? */
function fits(ports: usize): bool {
  return (
    port1 >= load<u32>(ports, 8) &&
    port1 <= load<u32>(ports, 12) &&
    port0 >= load<u32>(ports) &&
    port0 <= load<u32>(ports, 4) &&
    ((<u32>load<u8>(ports, BOX_KINDS) >> kind) & 1) != 0
  );
}

function decides(ports: usize, index: u32): bool {
  if (index < start) return false;
  return load<u8>(ports, BOX_DECIDES) != 0 || matches(rules + <usize>index * RULE);
}

function matches(rule: usize): bool {
  const says = load<u32>(rule, RULE_SAYS);
  if ((says & ~has & CRITERIA) != 0) return false;
  if ((says & SAYS_PROTO) != 0 && !hasBit(<usize>load<u32>(rule, RULE_PROTO), protocol)) return false;
  if ((says & SAYS_TO_PORT) != 0 && !within16(rule + RULE_TO_PORT, port1)) return false;
  if ((says & SAYS_FROM_PORT) != 0 && !within16(rule + RULE_FROM_PORT, port0)) return false;
  if ((says & SAYS_ICMP_TYPE) != 0 && !hasBit(<usize>load<u32>(rule, RULE_ICMP_TYPES), port1)) return false;
  if ((says & SAYS_ICMP_CODE) != 0 && !hasBit(<usize>load<u32>(rule, RULE_ICMP_CODES), port0)) return false;
  if ((says & SAYS_TCP_FLAGS) != 0 && !hasBit(<usize>load<u32>(rule, RULE_TCP_FLAGS), tcpFlags)) return false;
  if ((says & SAYS_FRAGMENTS) != 0 && (<u32>load<u8>(rule, RULE_FRAGMENTS) & fragment) == 0) return false;
  if ((says & SAYS_DSCP) != 0 && ((load<u64>(rule, RULE_DSCP) >> dscp) & 1) == 0) return false;
  if ((says & SAYS_LENGTH) != 0 && !within16(rule + RULE_LENGTH, length)) return false;
  if ((says & SAYS_MARK) != 0 && !isOneOf(rule + RULE_MARK, mark & load<u32>(rule, RULE_MARK_MASK)))
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
