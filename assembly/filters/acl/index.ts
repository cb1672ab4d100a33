// Access control. In: any packet. Out: by the output of the first rule that it matches, or of `default`.

import {
  Batch,
  be16,
  counter,
  IPV4_FRAGMENT,
  IPV4_OFFSET_MASK,
  IPV4_SOURCE,
  IPV6_SOURCE,
  OUTPUT_DROP,
  Output,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MALFORMED,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  sharedState,
} from "pktflow/assembly";
import { classify4, classify6, classifyFrame, find4, find6, onlyLeaf4, openRules, scanLeaf4, scratchSize, UNDECIDED } from "./classify";
import { compile, compiledSize, hasTrees } from "./compile";
import { forget, kind, port0, port1, read } from "./criteria";
import { Counters, params } from "./params";
import { KIND_TCP, KIND_UDP, markOf, marksOf, NO_RULE, outputOf } from "./rule";
import { BOX_FLAGS, BOX_MARKS, BOX_OUTPUT, BOX_RULE } from "./tree";

let compiled: usize = 0;

export function sharedStateSize(_at: usize): usize {
  return compiledSize();
}

export function workerStateSize(_at: usize): usize {
  return scratchSize(hasTrees());
}

export function initShared(): void {
  compile(sharedState());
}

export function init(): void {
  compiled = sharedState();
  openRules(compiled);
}

const PLAIN: u32 = PACKET_FLAG_IPV4 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED;

export function batch(b: Batch): void {
  const standard = params.default_;
  const counters = changetype<usize>(counter(Counters.rules));
  const tcpLeaf = onlyLeaf4(KIND_TCP);
  const udpLeaf = onlyLeaf4(KIND_UDP);
  let unmatched: u64 = 0;
  const count = b.count;
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    const protocol = p.protocol;
    if ((p.flags & PLAIN) != PACKET_FLAG_IPV4 || (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP)) {
      p.output = decide(p);
      continue;
    }
    // Most packets: IPv4 with ports, and everything that boxes ask of it at hand.
    const ports = bswap<u32>(load<u32>(p.transport));
    const pair = load<u64>(p.ip, IPV4_SOURCE);
    const isTcp = protocol == PROTOCOL_TCP;
    const kind = isTcp ? KIND_TCP : KIND_UDP;
    const leaf = isTcp ? tcpLeaf : udpLeaf;
    let box: usize = 0;
    if (leaf != 0) box = scanLeaf4(leaf, pair, kind, ports >> 16, ports & 0xffff);
    else {
      forget();
      box = find4(p, pair, kind, ports >> 16, ports & 0xffff);
    }
    if (box == 0) {
      unmatched++;
      p.output = standard;
    } else if (box == UNDECIDED || (load<u8>(box, BOX_FLAGS) & BOX_MARKS) != 0) {
      p.output = decide(p);
    } else {
      const at = counters + ((<usize>load<u32>(box, BOX_RULE)) << 3);
      store<u64>(at, load<u64>(at) + 1);
      p.output = load<u8>(box, BOX_OUTPUT);
    }
  }
  if (unmatched != 0) counter(Counters.unmatched).add(unmatched);
}

/** Any packet. */
function decide(p: Packet): Output {
  if (p.isMalformed) return drop(Counters.malformed);
  if (p.has(PACKET_FLAG_FRAGMENT) && isTinyFragment(p)) return drop(Counters.tinyFragment);
  read(p);
  for (let rule = next(p, 0); rule != NO_RULE; rule = next(p, rule + 1)) {
    counter(Counters.rules + rule).add(1);
    if (!marksOf(compiled, rule)) return outputOf(compiled, rule);
    p.mark = markOf(compiled, rule);
  }
  counter(Counters.unmatched).add(1);
  return params.default_;
}

/** The first rule from `start` on that a packet matches whose facts have been read, or NO_RULE. */
function next(p: Packet, start: u32): u32 {
  if (!p.isIp) return classifyFrame(p, start);
  if (start == 0) {
    const box = p.isIpv4
      ? find4(p, load<u64>(p.ip, IPV4_SOURCE), kind, port0, port1)
      : find6(p, p.ip + IPV6_SOURCE, kind, port0, port1);
    return box == 0 ? NO_RULE : load<u32>(box, BOX_RULE);
  }
  const box = p.isIpv4
    ? classify4(p, load<u64>(p.ip, IPV4_SOURCE), kind, port0, port1, start)
    : classify6(p, p.ip + IPV6_SOURCE, kind, port0, port1, start);
  return box == 0 ? NO_RULE : load<u32>(box, BOX_RULE);
}

/**
 * A fragment that begins 8 bytes into a TCP header would, where fragments that overlap are put together, replace the
 * flags that a rule saw in the first one. A first fragment too short for the whole header is malformed already.
 */
function isTinyFragment(p: Packet): bool {
  if (p.protocol != PROTOCOL_TCP || p.has(PACKET_FLAG_FIRST_FRAGMENT)) return false;
  if (p.isIpv4) return (be16(p.ip + IPV4_FRAGMENT) & IPV4_OFFSET_MASK) == 1;
  // The payload of a later IPv6 fragment stands right behind its Fragment header.
  return (be16(<usize>p.data + p.payload - 6) & 0xfff8) == 8;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
