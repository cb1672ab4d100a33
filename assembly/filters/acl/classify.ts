// Which box (tree.ts) a packet lies in whose rule comes first. In: a packet that is not malformed. The answer is that of
// going through all rules in order.
//
// The loops keep all they need in locals, and the conditions of a box are one branch: packets of many flows take the
// processor's predictions by surprise at every branch that there is. Cost: README.md.

import { Packet, workerState } from "pktflow/assembly";
import { matches } from "./criteria";
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
import { NEVER } from "./little";
import {
  KIND_MASK,
  NO_RULE,
  RULE,
  RULE_INDEX,
  RULE_SAYS,
  SAYS_OF_PACKETS,
  STATE_LITTLE,
  STATE_NOT_IP,
  STATE_NOT_IP_COUNT,
  STATE_ROOTS4,
  STATE_ROOTS6,
  STATE_RULES,
  VALUE,
} from "./rule";
import {
  BOX_DECIDES,
  BOX_FLAGS,
  BOX_KINDS,
  BOX_LAST,
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
  KEYS_BYTES,
  LEAF,
  MASK4,
  MASK6,
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

// Of this instance: the shared state, the keys of the packet at hand, and what is still to be looked at (reference and
// first rule, 8 bytes each; no tree is deeper than there is room).
let state: usize = 0;
let rules: usize = 0;
let keys: usize = 0;
let stack: usize = 0;
let cache: usize = 0;
let little: u32 = 0;

export function openRules(compiled: usize): void {
  state = compiled;
  rules = <usize>load<u32>(compiled, STATE_RULES);
  little = load<u32>(compiled, STATE_LITTLE);
  keys = workerState();
  stack = keys + KEYS_BYTES;
  cache = keys + SCRATCH;
}

/** 128 bytes of this worker's for others. */
export function roomForOthers(): usize {
  return keys + SCRATCH - 128;
}

/** Bytes of a worker's state. Where there are no trees, nobody touches the cache. */
export function scratchSize(): usize {
  return SCRATCH + cacheSize();
}
const SCRATCH: usize = 4096;

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
  isOfFlow = true;
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
  isOfFlow = true;
  const box = classify6(p, addresses, kind, port0, port1, 0);
  if (isOfFlow) remember6(set, addresses, ports, kind, box);
  return box;
}

/** Was no rule asked for what may differ between packets of a flow? */
let isOfFlow: bool = false;

function asks(p: Packet, index: u32): bool {
  const rule = rules + <usize>index * RULE;
  if ((load<u32>(rule, RULE_SAYS) & SAYS_OF_PACKETS) != 0) isOfFlow = false;
  return matches(p, rule);
}

/**
 * The first box from rule `start` on that an IPv4 packet lies in and whose rule it matches.
 * @param pair source and destination as they lie in the header
 * @returns the address of the box's ports, where its rule and output stand; 0: there is none
 */
export function classify4(p: Packet, pair: u64, kind: u32, port0: u32, port1: u32, start: u32): usize {
  let reference = load<u32>(state + ((<usize>(kind & KIND_MASK)) << 2), STATE_ROOTS4);
  if (reference == 0) return 0;
  if ((reference & LEAF) == 0) {
    store<u32>(keys, bswap<u32>(<u32>pair), KEY_FROM << 3);
    store<u32>(keys, bswap<u32>(<u32>(pair >> 32)), KEY_TO << 3);
    store<u32>(keys, port0, KEY_PORT0 << 3);
    store<u32>(keys, port1, KEY_PORT1 << 3);
    store<u32>(keys, kind & KIND_MASK, KEY_KIND << 3);
  }
  let best = NO_RULE;
  let hit: usize = 0;
  let top = stack;
  while (reference != 0) {
    if ((reference & LEAF) != 0) {
      let box = <usize>(reference - LEAF);
      for (;;) {
        const index = load<u32>(box, PORTS4 + BOX_RULE);
        const flags = load<u8>(box, PORTS4 + BOX_FLAGS);
        if (index >= best) break;
        if ((pair & load<u64>(box, MASK4)) == load<u64>(box)) {
          const isOutside =
            <u32>(port1 < <u32>load<u16>(box, PORTS4 + 4)) |
            <u32>(port1 > <u32>load<u16>(box, PORTS4 + 6)) |
            <u32>(port0 < <u32>load<u16>(box, PORTS4)) |
            <u32>(port0 > <u32>load<u16>(box, PORTS4 + 2)) |
            (((<u32>load<u8>(box, PORTS4 + BOX_KINDS) >> kind) & 1) ^ 1);
          if (isOutside == 0 && index >= start && ((flags & BOX_DECIDES) != 0 || asks(p, index))) {
            best = index;
            hit = box + PORTS4;
            break;
          }
        }
        if ((flags & BOX_LAST) != 0) break;
        box += BOX4;
      }
    } else {
      const node = <usize>reference;
      const key = load<u32>(keys + ((<usize>load<u32>(node, NODE_KEY)) << 3));
      const child = (key >> load<u32>(node, NODE_SHIFT)) - load<u32>(node, NODE_BASE);
      let inner: u32 = 0;
      let innerFirst: u32 = NO_RULE;
      if (child < load<u32>(node, NODE_COUNT)) {
        const at = node + ((<usize>child) << 3);
        innerFirst = load<u32>(at, NODE_CHILDREN + CHILD_FIRST);
        if (innerFirst < best) inner = load<u32>(at, NODE_CHILDREN);
      }
      const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
      const middle = middleFirst < best ? load<u32>(node, NODE_MIDDLE) : 0;
      if (inner == 0) reference = middle;
      else if (middle == 0) reference = inner;
      else if (innerFirst < middleFirst) {
        reference = inner;
        store<u32>(top, middle);
        store<u32>(top, middleFirst, 4);
        top += 8;
      } else {
        reference = middle;
        store<u32>(top, inner);
        store<u32>(top, innerFirst, 4);
        top += 8;
      }
      if (reference != 0) continue;
    }
    // What lies behind a match that was found is passed over.
    reference = 0;
    while (top != stack && reference == 0) {
      top -= 8;
      if (load<u32>(top, 4) < best) reference = load<u32>(top);
    }
  }
  return hit;
}

/** The same for IPv6. @param addresses where the header's addresses lie */
export function classify6(p: Packet, addresses: usize, kind: u32, port0: u32, port1: u32, start: u32): usize {
  let reference = load<u32>(state + ((<usize>(kind & KIND_MASK)) << 2), STATE_ROOTS6);
  if (reference == 0) return 0;
  const a = load<u64>(addresses);
  const b = load<u64>(addresses, 8);
  const c = load<u64>(addresses, 16);
  const d = load<u64>(addresses, 24);
  if ((reference & LEAF) == 0) {
    store<u64>(keys, bswap<u64>(a), KEY_FROM << 3);
    store<u64>(keys, bswap<u64>(b), KEY_FROM_LOW << 3);
    store<u64>(keys, bswap<u64>(c), KEY_TO << 3);
    store<u64>(keys, bswap<u64>(d), KEY_TO_LOW << 3);
    store<u64>(keys, <u64>port0, KEY_PORT0 << 3);
    store<u64>(keys, <u64>port1, KEY_PORT1 << 3);
    store<u64>(keys, <u64>(kind & KIND_MASK), KEY_KIND << 3);
  }
  let best = NO_RULE;
  let hit: usize = 0;
  let top = stack;
  while (reference != 0) {
    if ((reference & LEAF) != 0) {
      let box = <usize>(reference - LEAF);
      for (;;) {
        const index = load<u32>(box, PORTS6 + BOX_RULE);
        const flags = load<u8>(box, PORTS6 + BOX_FLAGS);
        if (index >= best) break;
        const differs =
          ((a & load<u64>(box, MASK6)) ^ load<u64>(box)) |
          ((b & load<u64>(box, MASK6 + 8)) ^ load<u64>(box, 8)) |
          ((c & load<u64>(box, MASK6 + 16)) ^ load<u64>(box, 16)) |
          ((d & load<u64>(box, MASK6 + 24)) ^ load<u64>(box, 24));
        if (differs == 0) {
          const isOutside =
            <u32>(port1 < <u32>load<u16>(box, PORTS6 + 4)) |
            <u32>(port1 > <u32>load<u16>(box, PORTS6 + 6)) |
            <u32>(port0 < <u32>load<u16>(box, PORTS6)) |
            <u32>(port0 > <u32>load<u16>(box, PORTS6 + 2)) |
            (((<u32>load<u8>(box, PORTS6 + BOX_KINDS) >> kind) & 1) ^ 1);
          if (isOutside == 0 && index >= start && ((flags & BOX_DECIDES) != 0 || asks(p, index))) {
            best = index;
            hit = box + PORTS6;
            break;
          }
        }
        if ((flags & BOX_LAST) != 0) break;
        box += BOX6;
      }
    } else {
      const node = <usize>reference;
      const key = load<u64>(keys + ((<usize>load<u32>(node, NODE_KEY)) << 3));
      const child = (key >> <u64>load<u32>(node, NODE_SHIFT)) - load<u64>(node, NODE_BASE);
      let inner: u32 = 0;
      let innerFirst: u32 = NO_RULE;
      if (child < <u64>load<u32>(node, NODE_COUNT)) {
        const at = node + ((<usize>child) << 3);
        innerFirst = load<u32>(at, NODE_CHILDREN + CHILD_FIRST);
        if (innerFirst < best) inner = load<u32>(at, NODE_CHILDREN);
      }
      const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
      const middle = middleFirst < best ? load<u32>(node, NODE_MIDDLE) : 0;
      if (inner == 0) reference = middle;
      else if (middle == 0) reference = inner;
      else if (innerFirst < middleFirst) {
        reference = inner;
        store<u32>(top, middle);
        store<u32>(top, middleFirst, 4);
        top += 8;
      } else {
        reference = middle;
        store<u32>(top, inner);
        store<u32>(top, innerFirst, 4);
        top += 8;
      }
      if (reference != 0) continue;
    }
    // What lies behind a match that was found is passed over.
    reference = 0;
    while (top != stack && reference == 0) {
      top -= 8;
      if (load<u32>(top, 4) < best) reference = load<u32>(top);
    }
  }
  return hit;
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
