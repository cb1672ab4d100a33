// Which box (layout.ts) a packet lies in whose rule comes first: one packet at a time. In: a packet that is not malformed. The
// answer is that of going through all rules in order.

import { Packet, workerState } from "pktflow/assembly";
import { matches } from "./criteria";
import { Descent, isOfFlow, openDescent, stack } from "./descend";
import {
  cached4,
  cached6,
  cacheSet4,
  cacheSet6,
  cacheSize,
  remember4,
  remember6,
  UNKNOWN,
} from "./flow-cache";
import { KEY_FROM, KEY_FROM_LOW, KEY_KIND, KEY_PORT0, KEY_PORT1, KEY_TO, KEY_TO_LOW, LEAF } from "./layout";
import { NEVER } from "./little";
import {
  KIND_MASK,
  NO_RULE,
  RULE_INDEX,
  STATE_LITTLE,
  STATE_NOT_IP,
  STATE_NOT_IP_COUNT,
  STATE_ROOTS4,
  STATE_ROOTS6,
  STATE_RULES,
  VALUE,
} from "./rule";
import { openStages, STAGES_BYTES } from "./stages";

// Of this instance: the shared state, and of this worker the keys of the packet at hand and what its flows found.
//
//    0      64                    3968                   4096
//   +------+---------------------+----------------------+---------------------+----------------------+
//   | keys | stack (descend.ts)  | for others           | stages (stages.ts)  | cache (flow-cache.ts)|
//   +------+---------------------+----------------------+---------------------+----------------------+
let state: usize = 0;
let keys: usize = 0;
let cache: usize = 0;
let little: u32 = 0;

const STACK: usize = 64;
const OTHERS: usize = 3968;
const STAGES: usize = 4096;
const SCRATCH: usize = STAGES + STAGES_BYTES;

export function openRules(compiled: usize): void {
  state = compiled;
  little = load<u32>(compiled, STATE_LITTLE);
  keys = workerState();
  cache = keys + SCRATCH;
  openDescent(<usize>load<u32>(compiled, STATE_RULES), keys + STACK);
  openStages(compiled, keys + STAGES, cache, deepTrees());
}

/** Of which kinds there are trees (bits, 4 further those of IPv6) in which a packet may have much to look at. */
function deepTrees(): u32 {
  let deep: u32 = 0;
  for (let kind: u32 = 0; kind < 8; kind++) {
    const root = load<u32>(state + ((<usize>kind) << 2), STATE_ROOTS4);
    if (root != 0 && (root & LEAF) == 0) deep |= 1 << kind;
  }
  return deep & ~little;
}

/** 128 bytes of this worker's for others. */
export function roomForOthers(): usize {
  return keys + OTHERS;
}

/** Bytes of a worker's state. Where there are no trees, nobody touches the cache. */
export function scratchSize(): usize {
  return SCRATCH + cacheSize();
}

/** What the flows of packets found: it holds for the rules that there were. */
export function forgetFlows(): void {
  memory.fill(cache, 0, cacheSize());
}

/**
 * The first box that an IPv4 packet lies in and whose rule it matches, as the first packet of its flow found it.
 * @param pair source and destination as they lie in the header
 * @returns the address of the box's ports, where its rule and output stand; 0: there is none
 */
export function find4(p: Packet, pair: u64, kind: u32, port0: u32, port1: u32): usize {
  const root = load<u32>(state + ((<usize>(kind & KIND_MASK)) << 2), STATE_ROOTS4);
  if ((root & LEAF) != 0 || ((little >> (kind & KIND_MASK)) & 1) != 0)
    return classify4(p, pair, kind, port0, port1, 0);
  return root == 0 ? 0 : findFlow4(p, pair, kind, port0, port1);
}

/** The root of the tree of a kind of protocol over IPv4 if there is little to look at in it, else NEVER. */
export function littleTree4(kind: u32): u32 {
  return ((little >> kind) & 1) != 0 ? load<u32>(state + ((<usize>kind) << 2), STATE_ROOTS4) : NEVER;
}

function findFlow4(p: Packet, pair: u64, kind: u32, port0: u32, port1: u32): usize {
  const ports = (port0 << 16) | port1;
  const set = cacheSet4(cache, pair, ports, kind);
  const known = cached4(set, pair, ports, kind);
  if (known != UNKNOWN) return <usize>known;
  const box = classify4(p, pair, kind, port0, port1, 0);
  if (isOfFlow) remember4(set, pair, ports, kind, box);
  return box;
}

/** The same for IPv6. @param addresses where the header's addresses lie */
export function find6(p: Packet, addresses: usize, kind: u32, port0: u32, port1: u32): usize {
  const root = load<u32>(state + ((<usize>(kind & KIND_MASK)) << 2), STATE_ROOTS6);
  if (root == 0) return 0;
  if ((root & LEAF) != 0 || ((little >> (4 + (kind & KIND_MASK))) & 1) != 0)
    return classify6(p, addresses, kind, port0, port1, 0);
  const ports = (port0 << 16) | port1;
  const set = cacheSet6(cache, addresses, ports, kind);
  const known = cached6(set, addresses, ports, kind);
  if (known != UNKNOWN) return <usize>known;
  const box = classify6(p, addresses, kind, port0, port1, 0);
  if (isOfFlow) remember6(set, addresses, ports, kind, box);
  return box;
}

/**
 * The first box from rule `start` on that an IPv4 packet lies in and whose rule it matches.
 * @param pair source and destination as they lie in the header
 * @returns the address of the box's ports, where its rule and output stand; 0: there is none
 */
export function classify4(p: Packet, pair: u64, kind: u32, port0: u32, port1: u32, start: u32): usize {
  const root = load<u32>(state + ((<usize>(kind & KIND_MASK)) << 2), STATE_ROOTS4);
  if (root == 0) return 0;
  if ((root & LEAF) == 0) {
    store<u64>(keys, <u64>bswap<u32>(<u32>pair), KEY_FROM << 3);
    store<u64>(keys, <u64>bswap<u32>(<u32>(pair >> 32)), KEY_TO << 3);
    store<u64>(keys, <u64>port0, KEY_PORT0 << 3);
    store<u64>(keys, <u64>port1, KEY_PORT1 << 3);
    store<u64>(keys, <u64>(kind & KIND_MASK), KEY_KIND << 3);
  }
  return Descent.ipv4(p, pair, kind, port0, port1, start, keys, root, stack, stack);
}

/** The same for IPv6. @param addresses where the header's addresses lie */
export function classify6(p: Packet, addresses: usize, kind: u32, port0: u32, port1: u32, start: u32): usize {
  const root = load<u32>(state + ((<usize>(kind & KIND_MASK)) << 2), STATE_ROOTS6);
  if (root == 0) return 0;
  if ((root & LEAF) == 0) {
    store<u64>(keys, bswap<u64>(load<u64>(addresses)), KEY_FROM << 3);
    store<u64>(keys, bswap<u64>(load<u64>(addresses, 8)), KEY_FROM_LOW << 3);
    store<u64>(keys, bswap<u64>(load<u64>(addresses, 16)), KEY_TO << 3);
    store<u64>(keys, bswap<u64>(load<u64>(addresses, 24)), KEY_TO_LOW << 3);
    store<u64>(keys, <u64>port0, KEY_PORT0 << 3);
    store<u64>(keys, <u64>port1, KEY_PORT1 << 3);
    store<u64>(keys, <u64>(kind & KIND_MASK), KEY_KIND << 3);
  }
  return Descent.ipv6(p, addresses, kind, port0, port1, start, keys, root, stack, stack);
}

/** The same for a frame that is not IP: the few rules that may match one are asked in turn. @returns a rule's index */
export function classifyFrame(p: Packet, start: u32): u32 {
  const list = <usize>load<u32>(state, STATE_NOT_IP);
  const count = load<u32>(state, STATE_NOT_IP_COUNT);
  for (let i: u32 = 0; i < count; i++) {
    const rule = <usize>load<u32>(list + <usize>i * VALUE);
    const index = load<u32>(rule, RULE_INDEX);
    if (index >= start && matches(p, rule)) return index;
  }
  return NO_RULE;
}
