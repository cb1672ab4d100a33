// Which rule a packet matches. In: a packet that is not malformed. The answer is that of going through all rules in
// order; it is found by going through those that its class can match at all. This file and compile.ts are all that
// knows how: a faster structure replaces these two.

import {
  be16,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  Icmp,
  Ipv4,
  Ipv6,
  PACKET_FLAG_FIRST_FRAGMENT,
  Packet,
  Tcp,
} from "pktflow/assembly";
import { kindOf } from "./compile";
import { Fragment } from "./params";
import {
  CLASS_IPV4,
  CLASS_IPV6,
  CLASS_NOT_IP,
  ETHERTYPE,
  hasBit,
  KIND_ICMP,
  KIND_TCP,
  KIND_UDP,
  PORTS,
  PREFIX4,
  PREFIX6,
  RULE_END,
  RULE_ETHERTYPE,
  RULE_FRAGMENTS,
  RULE_FROM_PORT,
  RULE_FROM4,
  RULE_FROM6,
  RULE_ICMP_CODES,
  RULE_ICMP_TYPES,
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
  SAYS_ICMP_CODE,
  SAYS_ICMP_TYPE,
  SAYS_PROTO,
  SAYS_TCP_FLAGS,
  SAYS_TO,
  SAYS_TO_PORT,
  STATE_CLASSES,
} from "./rule";

/** What this packet has; a rule that says something of anything else does not match. */
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
let fromPort: u32 = 0;
let toPort: u32 = 0;
let icmpType: u32 = 0;
let icmpCode: u32 = 0;
let tcpFlags: u32 = 0;

/** Address of the first rule (rule.ts) that matches, or 0: none does. @param state compiled rules */
export function classify(p: Packet, state: usize): usize {
  const entry = state + STATE_CLASSES + ((<usize>read(p)) << 3);
  let at = <usize>load<u32>(entry);
  const end = at + ((<usize>load<u32>(entry, 4)) << 2);
  for (; at < end; at += 4) {
    const rule = <usize>load<u32>(at);
    if (matches(rule)) return rule;
  }
  return 0;
}

/** Reads what rules ask about. @returns the packet's class */
function read(p: Packet): u32 {
  if (!p.isIp) {
    has = SAYS_ETHERTYPE;
    // On layer 3 there is nothing but IP, so this has an Ethernet header, and its payload stands behind the type.
    ethertype = <u32>be16(<usize>p.data + p.payload - 2);
    return CLASS_NOT_IP;
  }
  has = SAYS_ETHERTYPE | SAYS_PROTO | SAYS_FROM | SAYS_TO | SAYS_FRAGMENTS;
  protocol = <u32>p.protocol;
  isIpv4 = p.isIpv4;
  if (isIpv4) {
    ethertype = <u32>ETHERTYPE_IPV4;
    from4 = Ipv4.of(p).source;
    to4 = Ipv4.of(p).destination;
  } else {
    ethertype = <u32>ETHERTYPE_IPV6;
    const ip = Ipv6.of(p);
    fromHigh = ip.sourceHigh;
    fromLow = ip.sourceLow;
    toHigh = ip.destinationHigh;
    toLow = ip.destinationLow;
  }
  fragment = !p.isFragment
    ? 1 << Fragment.whole
    : p.has(PACKET_FLAG_FIRST_FRAGMENT)
      ? 1 << Fragment.first
      : 1 << Fragment.later;
  const kind = kindOf(p.protocol);
  if (p.hasTransport) readTransport(p, kind);
  return (isIpv4 ? CLASS_IPV4 : CLASS_IPV6) + kind;
}

function readTransport(p: Packet, kind: u32): void {
  if (kind <= KIND_UDP) {
    has |= SAYS_FROM_PORT | SAYS_TO_PORT;
    // Both protocols begin with their ports.
    fromPort = <u32>be16(p.transport);
    toPort = <u32>be16(p.transport + 2);
    if (kind == KIND_TCP) {
      has |= SAYS_TCP_FLAGS;
      tcpFlags = <u32>Tcp.of(p).flags;
    }
  } else if (kind == KIND_ICMP) {
    has |= SAYS_ICMP_TYPE | SAYS_ICMP_CODE;
    icmpType = <u32>Icmp.of(p).type;
    icmpCode = <u32>Icmp.of(p).code;
  }
}

function matches(rule: usize): bool {
  const says = load<u32>(rule, RULE_SAYS);
  if ((says & ~has) != 0) return false;
  if ((says & SAYS_PROTO) != 0 && !hasBit(<usize>load<u32>(rule, RULE_PROTO), protocol)) return false;
  if ((says & SAYS_TO_PORT) != 0 && !inPorts(rule, RULE_TO_PORT, toPort)) return false;
  if ((says & SAYS_FROM_PORT) != 0 && !inPorts(rule, RULE_FROM_PORT, fromPort)) return false;
  if ((says & SAYS_TO) != 0) {
    if (!(isIpv4 ? inPrefixes4(rule, RULE_TO4, to4) : inPrefixes6(rule, RULE_TO6, toHigh, toLow)))
      return false;
  }
  if ((says & SAYS_FROM) != 0) {
    if (!(isIpv4 ? inPrefixes4(rule, RULE_FROM4, from4) : inPrefixes6(rule, RULE_FROM6, fromHigh, fromLow))) {
      return false;
    }
  }
  if ((says & SAYS_ICMP_TYPE) != 0 && !hasBit(<usize>load<u32>(rule, RULE_ICMP_TYPES), icmpType))
    return false;
  if ((says & SAYS_ICMP_CODE) != 0 && !hasBit(<usize>load<u32>(rule, RULE_ICMP_CODES), icmpCode))
    return false;
  if ((says & SAYS_TCP_FLAGS) != 0 && !hasBit(<usize>load<u32>(rule, RULE_TCP_FLAGS), tcpFlags)) return false;
  if ((says & SAYS_FRAGMENTS) != 0 && (<u32>load<u8>(rule, RULE_FRAGMENTS) & fragment) == 0) return false;
  return (says & SAYS_ETHERTYPE) == 0 || inEthertypes(rule);
}

// A list ends where the next one of rule.ts begins, 4 bytes on in the rule.

function inPorts(rule: usize, list: usize, port: u32): bool {
  const end = <usize>load<u32>(rule + list, 4);
  for (let at = <usize>load<u32>(rule + list); at < end; at += PORTS) {
    if (port >= <u32>load<u16>(at) && port <= <u32>load<u16>(at, 2)) return true;
  }
  return false;
}

function inPrefixes4(rule: usize, list: usize, address: u32): bool {
  const end = <usize>load<u32>(rule + list, 4);
  for (let at = <usize>load<u32>(rule + list); at < end; at += PREFIX4) {
    if ((address & load<u32>(at, 4)) == load<u32>(at)) return true;
  }
  return false;
}

function inPrefixes6(rule: usize, list: usize, high: u64, low: u64): bool {
  const end = <usize>load<u32>(rule + list, 4);
  for (let at = <usize>load<u32>(rule + list); at < end; at += PREFIX6) {
    if ((high & load<u64>(at, 16)) == load<u64>(at) && (low & load<u64>(at, 24)) == load<u64>(at, 8))
      return true;
  }
  return false;
}

function inEthertypes(rule: usize): bool {
  const end = <usize>load<u32>(rule, RULE_END);
  for (let at = <usize>load<u32>(rule, RULE_ETHERTYPE); at < end; at += ETHERTYPE) {
    if (load<u32>(at) == ethertype) return true;
  }
  return false;
}
