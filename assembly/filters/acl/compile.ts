// Before the workers see them: the parameters' rules to the form of rule.ts, and the trees over them.

import { be32, be64 } from "pktflow/assembly";
import { Boxes, boxCount, emitBoxes } from "./boxes";
import { mask64 } from "./kinds";
import { BOX4, BOX6 } from "./layout";
import { PortRangeList, PrefixList, params, Rule } from "./params";
import { fillAll, normalize, subtract } from "./ranges";
import {
  BITMAP,
  MARKS,
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
  RULE_SET_MARK,
  RULE_TCP_FLAGS,
  RULE_TO_PORT,
  RULE_TO4,
  RULE_TO6,
  SAYS_DSCP,
  SAYS_ETHERTYPE,
  SAYS_FRAGMENTS,
  SAYS_FROM,
  SAYS_FROM_PORT,
  SAYS_ICMP,
  SAYS_ICMP_CODE,
  SAYS_ICMP_TYPE,
  SAYS_LENGTH,
  SAYS_MARK,
  SAYS_OF_FRAMES,
  SAYS_PORTS,
  SAYS_PROTO,
  SAYS_TCP_FLAGS,
  SAYS_TO,
  SAYS_TO_PORT,
  STATE_ASKS,
  STATE_COUNT,
  STATE_HEADER,
  STATE_LITTLE,
  STATE_NOT_IP,
  STATE_NOT_IP_COUNT,
  STATE_ROOTS4,
  STATE_ROOTS6,
  STATE_RULES,
  setBit,
  VALUE,
} from "./rule";
import { setTcpFlags } from "./tcp-flags";
import { buildTrees, treeSize } from "./tree";

const CRITERIA: u32 = 0x7fffffff;

/** Bytes of state for the rules of the parameters. */
export function compiledSize(): usize {
  let criteria: usize = 0;
  let boxes4: u32 = 0;
  let boxes6: u32 = 0;
  for (let i = 0; i < params.rules.length; i++) {
    const rule = params.rules.at(i);
    criteria += criteriaSize(rule);
    boxes4 += boxCount(rule, true);
    boxes6 += boxCount(rule, false);
  }
  const rules = <usize>params.rules.length * (RULE + VALUE) + 8;
  return STATE_HEADER + rules + criteria + treeSize(boxes4, BOX4) + treeSize(boxes6, BOX6) + 32;
}

// Where the next criterion goes.
let next: usize = 0;

export function compile(state: usize): void {
  const count = <usize>params.rules.length;
  const rules = state + STATE_HEADER;
  const notIp = rules + count * RULE;
  store<u32>(state, <u32>rules, STATE_RULES);
  store<u32>(state, <u32>count, STATE_COUNT);
  store<u32>(state, <u32>notIp, STATE_NOT_IP);
  next = align8(notIp + count * VALUE);
  let frames: u32 = 0;
  for (let i: usize = 0; i < count; i++) {
    const at = rules + i * RULE;
    compileRule(params.rules.at(<i32>i), <u32>i, at);
    if ((load<u32>(at, RULE_SAYS) & (SAYS_PORTS | SAYS_ICMP | SAYS_TCP_FLAGS)) != 0)
      store<u32>(state, 1, STATE_ASKS);
    if ((load<u32>(at, RULE_SAYS) & CRITERIA & ~SAYS_OF_FRAMES) != 0) continue;
    store<u32>(notIp + ((<usize>frames) << 2), <u32>at);
    frames++;
  }
  store<u32>(state, frames, STATE_NOT_IP_COUNT);
  next = align8(next);
  const little4 = plant(rules, true, state + STATE_ROOTS4);
  const little6 = plant(rules, false, state + STATE_ROOTS6);
  store<u32>(state, little4 | (little6 << 4), STATE_LITTLE);
}

/** The trees of one IP version, at `next`. @returns the kinds whose trees are little work */
function plant(rules: usize, isIpv4: bool, roots: usize): u32 {
  const size = isIpv4 ? BOX4 : BOX6;
  const boxes = next;
  Boxes.begin(boxes);
  for (let i = 0; i < params.rules.length; i++) {
    emitBoxes(params.rules.at(i), rules + <usize>i * RULE, isIpv4);
  }
  const count = <u32>((Boxes.end - boxes) / size);
  next += treeSize(count, size);
  return buildTrees(boxes, count, size, roots);
}

function align8(at: usize): usize {
  return (at + 7) & ~7;
}

function criteriaSize(rule: Rule): usize {
  const lists =
    room(rule.fromPort.length, rule.notFromPort.length) +
    room(rule.toPort.length, rule.notToPort.length) +
    room(rule.length.length, rule.notLength.length);
  return (
    5 * BITMAP +
    prefixesSize(rule.from, rule.notFrom) +
    prefixesSize(rule.to, rule.notTo) +
    lists * RANGE16 +
    <usize>(rule.ethertype.length + rule.mark.length) * VALUE +
    8
  );
}

/** Ranges that are written while some are taken out of others. */
function room(list: i32, not: i32): usize {
  return not == 0 ? <usize>list : <usize>(2 * (list + not) + 3);
}

function prefixesSize(list: PrefixList, not: PrefixList): usize {
  const list4 = countFamily(list, true);
  const not4 = countFamily(not, true);
  const isNegated = not.length != 0;
  const ranges4 = isNegated ? 2 * (list4 + not4) + 3 : list4;
  const ranges6 = isNegated ? 2 * (list.length - list4 + not.length - not4) + 3 : list.length - list4;
  return <usize>ranges4 * RANGE4 + <usize>ranges6 * RANGE6;
}

function countFamily(list: PrefixList, isIpv4: bool): i32 {
  let count = 0;
  for (let i = 0; i < list.length; i++) if (list.at(i).family == (isIpv4 ? 4 : 6)) count++;
  return count;
}

function compileRule(rule: Rule, index: u32, at: usize): void {
  let says: u32 = 0;
  store<u8>(at, rule.action.output, RULE_OUTPUT);
  store<u32>(at, index, RULE_INDEX);
  if (rule.action.isMark) {
    says |= MARKS;
    store<u32>(at, rule.action.mark, RULE_SET_MARK);
  }
  if (rule.proto.length != 0 || rule.notProto.length != 0) {
    says |= SAYS_PROTO;
    const bits = bitmap(at, RULE_PROTO);
    if (rule.proto.length == 0) memory.fill(bits, 0xff, BITMAP);
    for (let i = 0; i < rule.proto.length; i++) setBit(bits, rule.proto.at(i));
    for (let i = 0; i < rule.notProto.length; i++) clearBit(bits, rule.notProto.at(i));
  }
  if (rule.icmpType.length != 0) {
    says |= SAYS_ICMP_TYPE;
    const bits = bitmap(at, RULE_ICMP_TYPES);
    for (let i = 0; i < rule.icmpType.length; i++) setBit(bits, rule.icmpType.at(i));
  }
  if (rule.icmpCode.length != 0) {
    says |= SAYS_ICMP_CODE;
    const bits = bitmap(at, RULE_ICMP_CODES);
    for (let i = 0; i < rule.icmpCode.length; i++) setBit(bits, rule.icmpCode.at(i));
  }
  if (rule.tcpFlags.length + rule.tcpFlagsSet.length + rule.tcpFlagsClear.length != 0) {
    says |= SAYS_TCP_FLAGS;
    setTcpFlags(bitmap(at, RULE_TCP_FLAGS), rule);
  }
  for (let i = 0; i < rule.fragments.length; i++) {
    says |= SAYS_FRAGMENTS;
    store<u8>(at, load<u8>(at, RULE_FRAGMENTS) | (1 << rule.fragments.at(i)), RULE_FRAGMENTS);
  }
  if (rule.dscp.length + rule.notDscp.length != 0) {
    says |= SAYS_DSCP;
    let bits: u64 = rule.dscp.length == 0 ? u64.MAX_VALUE : 0;
    for (let i = 0; i < rule.dscp.length; i++) bits |= (<u64>1) << (<u64>rule.dscp.at(i));
    for (let i = 0; i < rule.notDscp.length; i++) bits &= ~((<u64>1) << (<u64>rule.notDscp.at(i)));
    store<u64>(at, bits, RULE_DSCP);
  }
  if (rule.from.length + rule.notFrom.length != 0) says |= SAYS_FROM;
  if (rule.to.length + rule.notTo.length != 0) says |= SAYS_TO;
  if (rule.fromPort.length + rule.notFromPort.length != 0) says |= SAYS_FROM_PORT;
  if (rule.toPort.length + rule.notToPort.length != 0) says |= SAYS_TO_PORT;
  if (rule.length.length + rule.notLength.length != 0) says |= SAYS_LENGTH;
  if (rule.ethertype.length != 0) says |= SAYS_ETHERTYPE;
  if (rule.mark.length != 0) says |= SAYS_MARK;
  store<u32>(at, says, RULE_SAYS);
  if ((says & SAYS_FROM) != 0) addresses(rule.from, rule.notFrom, at + RULE_FROM4, at + RULE_FROM6);
  if ((says & SAYS_TO) != 0) addresses(rule.to, rule.notTo, at + RULE_TO4, at + RULE_TO6);
  ports(rule.fromPort, rule.notFromPort, at + RULE_FROM_PORT);
  ports(rule.toPort, rule.notToPort, at + RULE_TO_PORT);
  ports(rule.length, rule.notLength, at + RULE_LENGTH);
  next = (next + 3) & ~3;
  store<u32>(at, <u32>next, RULE_ETHERTYPE);
  store<u32>(at, rule.ethertype.length, RULE_ETHERTYPE + 4);
  for (let i = 0; i < rule.ethertype.length; i++, next += VALUE) store<u32>(next, rule.ethertype.at(i));
  store<u32>(at, <u32>next, RULE_MARK);
  store<u32>(at, rule.mark.length, RULE_MARK + 4);
  store<u32>(at, rule.markMask, RULE_MARK_MASK);
  for (let i = 0; i < rule.mark.length; i++, next += VALUE) store<u32>(next, rule.mark.at(i) & rule.markMask);
}

function bitmap(rule: usize, field: usize): usize {
  const at = next;
  store<u32>(rule + field, <u32>at);
  // Ranges that were joined leave their traces.
  memory.fill(at, 0, BITMAP);
  next += BITMAP;
  return at;
}

function clearBit(bits: usize, bit: u32): void {
  const at = bits + <usize>(bit >> 3);
  store<u8>(at, <u8>(<u32>load<u8>(at) & ~(1 << (bit & 7))));
}

function addresses(list: PrefixList, not: PrefixList, field4: usize, field6: usize): void {
  const said = next;
  for (let i = 0; i < list.length; i++) if (list.at(i).family == 4) range4(list, i);
  const count4 = <u32>((next - said) / RANGE4);
  const taken = next;
  for (let i = 0; i < not.length; i++) if (not.at(i).family == 4) range4(not, i);
  finish(field4, said, count4, taken, <u32>((next - taken) / RANGE4), list.length, not.length, 4);
  const said6 = next;
  for (let i = 0; i < list.length; i++) if (list.at(i).family == 6) range6(list, i);
  const count6 = <u32>((next - said6) / RANGE6);
  const taken6 = next;
  for (let i = 0; i < not.length; i++) if (not.at(i).family == 6) range6(not, i);
  finish(field6, said6, count6, taken6, <u32>((next - taken6) / RANGE6), list.length, not.length, 16);
}

function ports(list: PortRangeList, not: PortRangeList, field: usize): void {
  const said = next;
  range16(list);
  const taken = next;
  range16(not);
  finish(field, said, list.length, taken, not.length, list.length, not.length, 2);
}

/**
 * Makes the field's list of what stands at `said`, less what stands at `taken`.
 * @param listed, negated lengths of the lists as written, of both IP versions: 0 says nothing
 */
function finish(
  field: usize,
  said: usize,
  count: u32,
  taken: usize,
  less: u32,
  listed: i32,
  negated: i32,
  width: u32,
): void {
  const size = (<usize>width) << 1;
  if (negated == 0) {
    count = normalize(said, count, width);
    store<u32>(field, <u32>said);
    store<u32>(field, count, 4);
    next = said + <usize>count * size;
    return;
  }
  count = normalize(said, count, width);
  less = normalize(taken, less, width);
  if (listed == 0) {
    // All but those.
    said = next;
    fillAll(said, width);
    next += size;
    count = 1;
  }
  count = subtract(next, said, count, taken, less, width);
  store<u32>(field, <u32>next);
  store<u32>(field, count, 4);
  next += <usize>count * size;
}

function range16(list: PortRangeList): void {
  for (let i = 0; i < list.length; i++, next += RANGE16) {
    store<u16>(next, list.at(i).first);
    store<u16>(next, list.at(i).last, 2);
  }
}

function range4(list: PrefixList, i: i32): void {
  const prefix = list.at(i);
  const mask = <u32>mask64(<u32>prefix.length - 64);
  const first = be32(prefix.address + 12) & mask;
  store<u32>(next, first);
  store<u32>(next, first | ~mask, 4);
  next += RANGE4;
}

function range6(list: PrefixList, i: i32): void {
  const prefix = list.at(i);
  const high = mask64(min<u32>(prefix.length, 64));
  const low = mask64(<u32>max<i32>(<i32>prefix.length - 64, 0));
  store<u64>(next, be64(prefix.address) & high);
  store<u64>(next, be64(prefix.address + 8) & low, 8);
  store<u64>(next, be64(prefix.address) | ~high, 16);
  store<u64>(next, be64(prefix.address + 8) | ~low, 24);
  next += RANGE6;
}
