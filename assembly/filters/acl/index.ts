// Access control. In: any packet. Out: by the output of the first rule that it matches, or of `default`.

import {
  be16,
  counter,
  IPV4_FRAGMENT,
  IPV4_OFFSET_MASK,
  OUTPUT_DROP,
  Output,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_FRAGMENT,
  Packet,
  PROTOCOL_TCP,
  sharedState,
} from "pktflow/assembly";
import { classify, classifyOn, foundMarks, foundOutput } from "./classify";
import { compile, compiledSize } from "./compile";
import { Counters, params } from "./params";
import { markOf, NO_RULE } from "./rule";

let compiled: usize = 0;

export function sharedStateSize(_at: usize): usize {
  return compiledSize();
}

export function initShared(): void {
  compile(sharedState());
}

export function init(): void {
  compiled = sharedState();
}

export function packet(p: Packet): Output {
  if (p.isMalformed) return drop(Counters.malformed);
  if (p.has(PACKET_FLAG_FRAGMENT) && isTinyFragment(p)) return drop(Counters.tinyFragment);
  let rule = classify(p, compiled);
  while (rule != NO_RULE) {
    counter(Counters.rules + rule).add(1);
    if (!foundMarks) return foundOutput;
    p.mark = markOf(compiled, rule);
    rule = classifyOn(p, compiled, rule);
  }
  counter(Counters.unmatched).add(1);
  return params.default_;
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
