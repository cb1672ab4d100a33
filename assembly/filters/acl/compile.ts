// Once, before the workers start: the parameters' rules to the form of rule.ts.

import {
  be32,
  be64,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_ACK,
  TCP_FIN,
  TCP_RST,
  TCP_SYN,
} from "pktflow/assembly";
import { PortRangeList, PrefixList, params, Rule, TcpFlag } from "./params";
import {
  BITMAP,
  CLASS_IPV4,
  CLASS_IPV6,
  CLASS_NOT_IP,
  CLASSES,
  ETHERTYPE,
  hasBit,
  KIND_ICMP,
  KIND_OTHER,
  KIND_TCP,
  KIND_UDP,
  PORTS,
  PREFIX4,
  PREFIX6,
  RULE,
  RULE_END,
  RULE_ETHERTYPE,
  RULE_FRAGMENTS,
  RULE_FROM_PORT,
  RULE_FROM4,
  RULE_FROM6,
  RULE_ICMP_CODES,
  RULE_ICMP_TYPES,
  RULE_INDEX,
  RULE_OUTPUT,
  RULE_PROTO,
  RULE_SAYS,
  RULE_TCP_FLAGS,
  RULE_TO_PORT,
  RULE_TO4,
  RULE_TO6,
  SAYS_ETHERTYPE,
  SAYS_FRAGMENTS,
  SAYS_FROM,
  SAYS_FROM_PORT,
  SAYS_ICMP,
  SAYS_ICMP_CODE,
  SAYS_ICMP_TYPE,
  SAYS_PORTS,
  SAYS_PROTO,
  SAYS_TCP_FLAGS,
  SAYS_TO,
  SAYS_TO_PORT,
  STATE_CLASSES,
  STATE_COUNT,
  STATE_HEADER,
  STATE_RULES,
  setBit,
} from "./rule";

/** Bytes of state for the rules of the parameters. */
export function compiledSize(): usize {
  let criteria: usize = 0;
  for (let i = 0; i < params.rules.length; i++) criteria += criteriaSize(params.rules.at(i));
  return STATE_HEADER + <usize>params.rules.length * (RULE + ((<usize>CLASSES) << 2)) + criteria;
}

// Where the next criterion goes.
let next: usize = 0;

export function compile(state: usize): void {
  const count = <usize>params.rules.length;
  const rules = state + STATE_HEADER;
  store<u32>(state, <u32>rules, STATE_RULES);
  store<u32>(state, <u32>count, STATE_COUNT);
  const lists = rules + count * RULE;
  next = lists + ((count * <usize>CLASSES) << 2);
  for (let i: usize = 0; i < count; i++) compileRule(params.rules.at(<i32>i), <u32>i, rules + i * RULE);
  for (let c: u32 = 0; c < CLASSES; c++) listClass(state, c, lists + ((count * <usize>c) << 2));
}

function criteriaSize(rule: Rule): usize {
  let bitmaps: usize = 0;
  if (rule.proto.length != 0) bitmaps++;
  if (rule.icmpType.length != 0) bitmaps++;
  if (rule.icmpCode.length != 0) bitmaps++;
  if (rule.tcpFlags.length != 0) bitmaps++;
  return (
    bitmaps * BITMAP +
    prefixesSize(rule.from) +
    prefixesSize(rule.to) +
    <usize>(rule.fromPort.length + rule.toPort.length) * PORTS +
    <usize>rule.ethertype.length * ETHERTYPE
  );
}

function prefixesSize(prefixes: PrefixList): usize {
  let bytes: usize = 0;
  for (let i = 0; i < prefixes.length; i++) bytes += prefixes.at(i).family == 4 ? PREFIX4 : PREFIX6;
  return bytes;
}

function compileRule(rule: Rule, index: u32, at: usize): void {
  let says: u32 = 0;
  store<u8>(at, rule.action, RULE_OUTPUT);
  store<u32>(at, index, RULE_INDEX);
  if (rule.proto.length != 0) {
    says |= SAYS_PROTO;
    const bits = bitmap(at, RULE_PROTO);
    for (let i = 0; i < rule.proto.length; i++) setBit(bits, rule.proto.at(i));
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
  if (rule.tcpFlags.length != 0) {
    says |= SAYS_TCP_FLAGS;
    const bits = bitmap(at, RULE_TCP_FLAGS);
    for (let i = 0; i < rule.tcpFlags.length; i++) setTcpFlags(bits, rule.tcpFlags.at(i));
  }
  for (let i = 0; i < rule.fragments.length; i++) {
    says |= SAYS_FRAGMENTS;
    store<u8>(at, load<u8>(at, RULE_FRAGMENTS) | (1 << rule.fragments.at(i)), RULE_FRAGMENTS);
  }
  if (rule.from.length != 0) says |= SAYS_FROM;
  if (rule.to.length != 0) says |= SAYS_TO;
  if (rule.fromPort.length != 0) says |= SAYS_FROM_PORT;
  if (rule.toPort.length != 0) says |= SAYS_TO_PORT;
  if (rule.ethertype.length != 0) says |= SAYS_ETHERTYPE;
  store<u32>(at, says, RULE_SAYS);
  prefixes6(rule.from, at + RULE_FROM6);
  prefixes6(rule.to, at + RULE_TO6);
  prefixes4(rule.from, at + RULE_FROM4);
  prefixes4(rule.to, at + RULE_TO4);
  ports(rule.fromPort, at + RULE_FROM_PORT);
  ports(rule.toPort, at + RULE_TO_PORT);
  store<u32>(at, <u32>next, RULE_ETHERTYPE);
  for (let i = 0; i < rule.ethertype.length; i++, next += ETHERTYPE) store<u32>(next, rule.ethertype.at(i));
  store<u32>(at, <u32>next, RULE_END);
}

function bitmap(rule: usize, field: usize): usize {
  const at = next;
  store<u32>(rule + field, <u32>at);
  next += BITMAP;
  return at;
}

/** Sets the bit of every combination of flags, 0 to 255, for which the word is true. */
function setTcpFlags(bits: usize, word: u8): void {
  for (let flags: u32 = 0; flags < 256; flags++) {
    const opening = flags & <u32>(TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
    const isTrue =
      word == TcpFlag.syn
        ? opening == <u32>TCP_SYN
        : word == TcpFlag.synAck
          ? opening == <u32>(TCP_SYN | TCP_ACK)
          : word == TcpFlag.established
            ? (flags & <u32>(TCP_ACK | TCP_RST)) != 0
            : word == TcpFlag.fin
              ? (flags & <u32>TCP_FIN) != 0
              : word == TcpFlag.rst
                ? (flags & <u32>TCP_RST) != 0
                : flags == 0;
    if (isTrue) setBit(bits, flags);
  }
}

function prefixes6(list: PrefixList, field: usize): void {
  store<u32>(field, <u32>next);
  for (let i = 0; i < list.length; i++) {
    const prefix = list.at(i);
    if (prefix.family == 4) continue;
    const high = mask64(min<u32>(prefix.length, 64));
    const low = mask64(<u32>max<i32>(<i32>prefix.length - 64, 0));
    store<u64>(next, be64(prefix.address) & high);
    store<u64>(next, be64(prefix.address + 8) & low, 8);
    store<u64>(next, high, 16);
    store<u64>(next, low, 24);
    next += PREFIX6;
  }
}

function mask64(length: u32): u64 {
  return length == 0 ? 0 : ~(<u64>0) << (<u64>(64 - length));
}

function prefixes4(list: PrefixList, field: usize): void {
  store<u32>(field, <u32>next);
  for (let i = 0; i < list.length; i++) {
    const prefix = list.at(i);
    if (prefix.family != 4) continue;
    const mask = <u32>mask64(<u32>prefix.length - 64);
    store<u32>(next, be32(prefix.address + 12) & mask);
    store<u32>(next, mask, 4);
    next += PREFIX4;
  }
}

function ports(list: PortRangeList, field: usize): void {
  store<u32>(field, <u32>next);
  for (let i = 0; i < list.length; i++) {
    store<u16>(next, list.at(i).first);
    store<u16>(next, list.at(i).last, 2);
    next += PORTS;
  }
}

/** Writes the list of the rules that packets of a class may match, in order. */
function listClass(state: usize, packetClass: u32, list: usize): void {
  const entry = state + STATE_CLASSES + ((<usize>packetClass) << 3);
  store<u32>(entry, <u32>list);
  let rule = <usize>load<u32>(state, STATE_RULES);
  let listed: u32 = 0;
  for (let left = load<u32>(state, STATE_COUNT); left != 0; left--, rule += RULE) {
    if (!mayMatch(rule, packetClass)) continue;
    store<u32>(list + ((<usize>listed) << 2), <u32>rule);
    listed++;
  }
  store<u32>(entry, listed, 4);
}

function mayMatch(rule: usize, packetClass: u32): bool {
  const says = load<u32>(rule, RULE_SAYS);
  if (packetClass == CLASS_NOT_IP) return (says & ~SAYS_ETHERTYPE) == 0;
  const isIpv4 = packetClass < CLASS_IPV6;
  const from = isIpv4 ? RULE_FROM4 : RULE_FROM6;
  const to = isIpv4 ? RULE_TO4 : RULE_TO6;
  if ((says & SAYS_FROM) != 0 && isEmpty(rule, from)) return false;
  if ((says & SAYS_TO) != 0 && isEmpty(rule, to)) return false;
  if ((says & SAYS_ETHERTYPE) != 0 && !hasEthertype(rule, isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6))
    return false;
  const kind = packetClass - (isIpv4 ? CLASS_IPV4 : CLASS_IPV6);
  if (!kindCanHave(kind, says)) return false;
  return (says & SAYS_PROTO) == 0 || hasKind(<usize>load<u32>(rule, RULE_PROTO), kind);
}

/** A list of addresses ends where the next one of rule.ts begins. */
function isEmpty(rule: usize, list: usize): bool {
  return load<u32>(rule + list) == load<u32>(rule + list, 4);
}

function hasEthertype(rule: usize, type: u16): bool {
  const end = load<u32>(rule, RULE_END);
  for (let at = load<u32>(rule, RULE_ETHERTYPE); at < end; at += <u32>ETHERTYPE) {
    if (load<u32>(<usize>at) == type) return true;
  }
  return false;
}

function kindCanHave(kind: u32, says: u32): bool {
  if (kind == KIND_TCP) return (says & SAYS_ICMP) == 0;
  if (kind == KIND_UDP) return (says & (SAYS_ICMP | SAYS_TCP_FLAGS)) == 0;
  if (kind == KIND_ICMP) return (says & (SAYS_PORTS | SAYS_TCP_FLAGS)) == 0;
  return (says & (SAYS_PORTS | SAYS_TCP_FLAGS | SAYS_ICMP)) == 0;
}

/** Is there a protocol of the kind among the bits? */
function hasKind(protos: usize, kind: u32): bool {
  if (kind == KIND_TCP) return hasBit(protos, PROTOCOL_TCP);
  if (kind == KIND_UDP) return hasBit(protos, PROTOCOL_UDP);
  if (kind == KIND_ICMP) return hasBit(protos, PROTOCOL_ICMP) || hasBit(protos, PROTOCOL_ICMPV6);
  for (let i: u32 = 0; i < 256; i++) if (kindOf(<u8>i) == KIND_OTHER && hasBit(protos, i)) return true;
  return false;
}

export function kindOf(protocol: u8): u32 {
  if (protocol == PROTOCOL_TCP) return KIND_TCP;
  if (protocol == PROTOCOL_UDP) return KIND_UDP;
  return protocol == PROTOCOL_ICMP || protocol == PROTOCOL_ICMPV6 ? KIND_ICMP : KIND_OTHER;
}
