// The boxes (layout.ts) that a rule is: one for each combination of its prefixes, ports and kinds of protocol. Where that
// were too many, a list is left out of the product, and the rule itself is asked about it.

import { ethertypeOf, kindOf, mask64 } from "./kinds";
import {
  BOX_DECIDES,
  BOX_FLAGS,
  BOX_KINDS,
  BOX_MARKS,
  BOX_OUTPUT,
  BOX_RULE,
  BOX4,
  BOX6,
  LAST_PORT,
  MASK4,
  MASK6,
  PORTS4,
  PORTS6,
} from "./layout";
import { PortRange, PortRangeList, PrefixList, Rule } from "./params";
import {
  ALL_KINDS,
  hasBit,
  KIND_ICMP,
  KIND_OTHER,
  KIND_PORTLESS,
  KIND_TCP,
  KIND_UDP,
  MARKS,
  RULE_INDEX,
  RULE_OUTPUT,
  RULE_PROTO,
  RULE_SAYS,
  SAYS_FROM_PORT,
  SAYS_ICMP,
  SAYS_ICMP_CODE,
  SAYS_ICMP_TYPE,
  SAYS_PORTS,
  SAYS_PROTO,
  SAYS_TCP_FLAGS,
  SAYS_TO_PORT,
} from "./rule";

/** Most elements of one list that become boxes of their own, and most boxes of a rule (times two groups of protocols). */
const MOST_PREFIXES: u32 = 1024;
const MOST_PORTS: u32 = 16;
const MOST_BOXES: u32 = 1024;

// How the rule at hand is multiplied out: factors of its lists, 1 for one that is left out.
let fromFactor: u32 = 0;
let toFactor: u32 = 0;
let fromPortFactor: u32 = 0;
let toPortFactor: u32 = 0;

/** Sets the factors; 0 where no address of this IP version can match. */
function multiply(rule: Rule, isIpv4: bool): void {
  fromFactor = prefixes(rule.from, isIpv4);
  toFactor = prefixes(rule.to, isIpv4);
  fromPortFactor = factor(rule.fromPort.length, MOST_PORTS);
  toPortFactor = factor(rule.toPort.length, MOST_PORTS);
  if (fromFactor * toFactor > MOST_BOXES) {
    if (fromFactor > toFactor) toFactor = 1;
    else fromFactor = 1;
  }
  if (fromFactor * toFactor * toPortFactor > MOST_BOXES) toPortFactor = 1;
  if (fromFactor * toFactor * toPortFactor * fromPortFactor > MOST_BOXES) fromPortFactor = 1;
}

function prefixes(list: PrefixList, isIpv4: bool): u32 {
  if (list.length == 0) return 1;
  let count: u32 = 0;
  for (let i = 0; i < list.length; i++) if (list.at(i).family == (isIpv4 ? 4 : 6)) count++;
  return count > MOST_PREFIXES ? 1 : count;
}

function factor(length: i32, most: u32): u32 {
  return length == 0 || <u32>length > most ? 1 : <u32>length;
}

/** The most boxes that emitBoxes() makes of a rule. */
export function boxCount(rule: Rule, isIpv4: bool): u32 {
  multiply(rule, isIpv4);
  const groups: u32 = rule.proto.length + rule.notProto.length == 0 ? 1 : 2;
  return groups * fromFactor * toFactor * fromPortFactor * toPortFactor;
}

let out: usize = 0;

/** Where boxes are written, one behind the other. */
export class Boxes {
  static begin(at: usize): void {
    out = at;
  }
  static get end(): usize {
    return out;
  }
}

/** Writes the boxes of a rule. @param at the compiled rule */
export function emitBoxes(rule: Rule, at: usize, isIpv4: bool): void {
  if (!mayBe(rule, isIpv4)) return;
  multiply(rule, isIpv4);
  if (fromFactor == 0 || toFactor == 0) return;
  const says = load<u32>(at, RULE_SAYS);
  let kinds: u32 = ALL_KINDS;
  if ((says & (SAYS_FROM_PORT | SAYS_TO_PORT)) != 0) kinds &= (1 << KIND_TCP) | (1 << KIND_UDP);
  if ((says & (SAYS_ICMP_TYPE | SAYS_ICMP_CODE)) != 0) kinds &= 1 << KIND_ICMP;
  if ((says & SAYS_TCP_FLAGS) != 0) kinds &= 1 << KIND_TCP;
  if ((says & SAYS_PROTO) == 0) {
    if (kinds != 0) emitGroup(rule, at, isIpv4, kinds, 0, LAST_PORT, true);
    return;
  }
  // Protocols that are a kind of their own make one group, all others another one, by their numbers.
  const protos = <usize>load<u32>(at, RULE_PROTO);
  let said: u32 = 0;
  let first: u32 = 256;
  let last: u32 = 0;
  let others: u32 = 0;
  for (let i: u32 = 0; i < 256; i++) {
    if (!hasBit(protos, i)) continue;
    const kind = kindOf(<u8>i, isIpv4);
    said |= 1 << kind;
    if (kind != KIND_OTHER) continue;
    first = min(first, i);
    last = i;
    others++;
  }
  const others_ = kinds & said & (1 << KIND_OTHER);
  kinds &= said & ~(1 << KIND_OTHER);
  if (kinds != 0) emitGroup(rule, at, isIpv4, kinds, 0, LAST_PORT, true);
  if (others_ != 0) emitGroup(rule, at, isIpv4, others_, first, last, others == last - first + 1);
}

function mayBe(rule: Rule, isIpv4: bool): bool {
  if (rule.ethertype.length == 0) return true;
  const type = ethertypeOf(isIpv4);
  for (let i = 0; i < rule.ethertype.length; i++) if (<u32>rule.ethertype.at(i) == type) return true;
  return false;
}

/** Boxes for some kinds of protocol. @param decides false: the first port's range holds more than the rule's protocols */
function emitGroup(
  rule: Rule,
  at: usize,
  isIpv4: bool,
  kinds: u32,
  first: u32,
  last: u32,
  decides: bool,
): void {
  const says = load<u32>(at, RULE_SAYS);
  decides = decides && isDecided(rule) && (says & SAYS_TCP_FLAGS) == 0;
  for (let i: u32 = 0; i < fromFactor; i++) {
    for (let j: u32 = 0; j < toFactor; j++) {
      for (let k: u32 = 0; k < fromPortFactor; k++) {
        for (let l: u32 = 0; l < toPortFactor; l++) {
          const box = out;
          const ports = box + (isIpv4 ? PORTS4 : PORTS6);
          out += isIpv4 ? BOX4 : BOX6;
          const from = putPrefix(rule.from, i, fromFactor, box, 0, isIpv4);
          const to = putPrefix(rule.to, j, toFactor, box, isIpv4 ? 4 : 16, isIpv4);
          store<u16>(ports, <u16>first);
          store<u16>(ports, <u16>last, 2);
          store<u16>(ports, 0, 4);
          store<u16>(ports, <u16>LAST_PORT, 6);
          let isWhole = true;
          if ((says & (SAYS_FROM_PORT | SAYS_TO_PORT)) != 0) {
            const low = putPorts(rule.fromPort, k, fromPortFactor, ports);
            const high = putPorts(rule.toPort, l, toPortFactor, ports + 4);
            isWhole = low && high;
          } else if ((says & (SAYS_ICMP_TYPE | SAYS_ICMP_CODE)) != 0) {
            putIcmp(rule, ports);
            isWhole = rule.icmpType.length <= 1 && rule.icmpCode.length <= 1;
          }
          store<u32>(ports, load<u32>(at, RULE_INDEX), BOX_RULE);
          store<u8>(ports, <u8>(kinds | portless(says, kinds)), BOX_KINDS);
          store<u8>(ports, load<u8>(at, RULE_OUTPUT), BOX_OUTPUT);
          let flags: u8 = 0;
          if ((says & MARKS) != 0) flags |= BOX_MARKS;
          if (decides && from && to && isWhole) flags |= BOX_DECIDES;
          store<u8>(ports, flags, BOX_FLAGS);
        }
      }
    }
  }
}

/** The bits of what has no transport header: a rule that asks for one does not match it. */
function portless(says: u32, kinds: u32): u32 {
  const asks = SAYS_PORTS | SAYS_ICMP | SAYS_TCP_FLAGS;
  return (says & asks) != 0 ? 0 : kinds << KIND_PORTLESS;
}

/** Says the rule nothing that no box can say? */
function isDecided(rule: Rule): bool {
  return (
    rule.notFrom.length +
      rule.notTo.length +
      rule.notFromPort.length +
      rule.notToPort.length +
      rule.fragments.length +
      rule.dscp.length +
      rule.notDscp.length +
      rule.length.length +
      rule.notLength.length +
      rule.mark.length ==
    0
  );
}

/** @returns whether the box holds what the list says */
function putPrefix(list: PrefixList, index: u32, factor: u32, box: usize, side: usize, isIpv4: bool): bool {
  const value = box + side;
  const mask = value + (isIpv4 ? MASK4 : MASK6);
  if (list.length == 0) {
    clear(value, mask, isIpv4);
    return true;
  }
  // A list left out of the product has a factor of 1, as one with a single prefix of this version has.
  let seen: u32 = 0;
  let found = 0;
  for (let i = 0; i < list.length; i++) {
    if (list.at(i).family != (isIpv4 ? 4 : 6)) continue;
    if (seen == index) found = i;
    seen++;
  }
  if (seen != factor) {
    clear(value, mask, isIpv4);
    return false;
  }
  const prefix = list.at(found);
  if (isIpv4) {
    const bits = bswap<u32>(<u32>mask64(<u32>prefix.length - 64));
    store<u32>(value, load<u32>(prefix.address, 12) & bits);
    store<u32>(mask, bits);
    return true;
  }
  const high = bswap<u64>(mask64(min<u32>(prefix.length, 64)));
  const low = bswap<u64>(mask64(<u32>max<i32>(<i32>prefix.length - 64, 0)));
  store<u64>(value, load<u64>(prefix.address) & high);
  store<u64>(value, load<u64>(prefix.address, 8) & low, 8);
  store<u64>(mask, high);
  store<u64>(mask, low, 8);
  return true;
}

function clear(value: usize, mask: usize, isIpv4: bool): void {
  memory.fill(value, 0, isIpv4 ? 4 : 16);
  memory.fill(mask, 0, isIpv4 ? 4 : 16);
}

/** A rule that says ports of one side says of the other that it has some. */
function putPorts(list: PortRangeList, index: u32, factor: u32, ports: usize): bool {
  store<u16>(ports, 0);
  store<u16>(ports, <u16>LAST_PORT, 2);
  if (list.length == 0) return true;
  if (<u32>list.length == factor) {
    put(ports, list.at(<i32>index));
    return true;
  }
  return false;
}

function put(ports: usize, range: PortRange): void {
  store<u16>(ports, range.first);
  store<u16>(ports, range.last, 2);
}

/** Code and type: from the lowest to the highest of each. */
function putIcmp(rule: Rule, ports: usize): void {
  store<u16>(ports, rule.icmpCode.length == 0 ? 0 : <u16>LAST_PORT);
  store<u16>(ports, rule.icmpCode.length == 0 ? <u16>LAST_PORT : 0, 2);
  for (let i = 0; i < rule.icmpCode.length; i++) widen(ports, rule.icmpCode.at(i));
  store<u16>(ports, rule.icmpType.length == 0 ? 0 : <u16>LAST_PORT, 4);
  store<u16>(ports, rule.icmpType.length == 0 ? <u16>LAST_PORT : 0, 6);
  for (let i = 0; i < rule.icmpType.length; i++) widen(ports + 4, rule.icmpType.at(i));
}

function widen(ports: usize, value: u16): void {
  store<u16>(ports, min(load<u16>(ports), value));
  store<u16>(ports, max(load<u16>(ports, 2), value), 2);
}
