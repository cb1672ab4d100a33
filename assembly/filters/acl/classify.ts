// Which box (tree.ts) a packet lies in whose rule comes first. In: a packet that is not malformed. The answer is that of
// going through all rules in order.
//
// The loops keep all they need in locals, and the conditions of a box are one branch: packets of many flows take the
// processor's predictions by surprise at every branch that there is. Cost: README.md.

import { Packet, workerState } from "pktflow/assembly";
import { matches } from "./criteria";
import { NO_RULE, RULE, STATE_NOT_IP, STATE_NOT_IP_COUNT, STATE_ROOTS4, STATE_ROOTS6, STATE_RULES } from "./rule";
import { RULE_INDEX, VALUE } from "./rule";
import {
  BOX_DECIDES,
  BOX_KINDS,
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
  LEAF_BOXES,
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

export function openRules(compiled: usize): void {
  state = compiled;
  rules = <usize>load<u32>(compiled, STATE_RULES);
  keys = workerState();
  stack = keys + KEYS_BYTES;
}

/**
 * The first box from rule `start` on that an IPv4 packet lies in and whose rule it matches.
 * @param pair source and destination as they lie in the header
 * @returns the address of the box's ports, where its rule and output stand; 0: there is none
 */
export function classify4(p: Packet, pair: u64, kind: u32, port0: u32, port1: u32, start: u32): usize {
  let reference = load<u32>(state + ((<usize>kind) << 2), STATE_ROOTS4);
  if (reference == 0) return 0;
  if ((reference & LEAF) == 0) {
    store<u32>(keys, bswap<u32>(<u32>pair), KEY_FROM << 3);
    store<u32>(keys, bswap<u32>(<u32>(pair >> 32)), KEY_TO << 3);
    store<u32>(keys, port0, KEY_PORT0 << 3);
    store<u32>(keys, port1, KEY_PORT1 << 3);
    store<u32>(keys, kind, KEY_KIND << 3);
  }
  let best = NO_RULE;
  let hit: usize = 0;
  let top = stack;
  while (reference != 0) {
    if ((reference & LEAF) != 0) {
      const leaf = <usize>(reference - LEAF);
      const end = leaf + LEAF_BOXES + <usize>load<u32>(leaf) * BOX4;
      for (let box = leaf + LEAF_BOXES; box < end; box += BOX4) {
        const index = load<u32>(box, PORTS4 + BOX_RULE);
        if (index >= best) break;
        const isOutside =
          <u32>((pair & load<u64>(box, MASK4)) != load<u64>(box)) |
          <u32>(port1 < load<u32>(box, PORTS4 + 8)) |
          <u32>(port1 > load<u32>(box, PORTS4 + 12)) |
          <u32>(port0 < load<u32>(box, PORTS4)) |
          <u32>(port0 > load<u32>(box, PORTS4 + 4)) |
          (((<u32>load<u8>(box, PORTS4 + BOX_KINDS) >> kind) & 1) ^ 1);
        if (isOutside != 0 || index < start) continue;
        if (load<u8>(box, PORTS4 + BOX_DECIDES) != 0 || matches(p, rules + <usize>index * RULE)) {
          best = index;
          hit = box + PORTS4;
          break;
        }
      }
    } else {
      const node = <usize>reference;
      const key = load<u32>(keys + ((<usize>load<u32>(node, NODE_KEY)) << 3));
      const child = (key >> load<u32>(node, NODE_SHIFT)) - load<u32>(node, NODE_BASE);
      const middle = load<u32>(node, NODE_MIDDLE);
      const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
      let inner: u32 = 0;
      let innerFirst: u32 = NO_RULE;
      if (child < load<u32>(node, NODE_COUNT)) {
        const at = node + ((<usize>child) << 3);
        inner = load<u32>(at, NODE_CHILDREN);
        innerFirst = load<u32>(at, NODE_CHILDREN + CHILD_FIRST);
      }
      // Where there is nothing, the first rule is NO_RULE.
      const innerIsNearer = innerFirst < middleFirst;
      const nearer = innerIsNearer ? innerFirst : middleFirst;
      const farther = innerIsNearer ? middleFirst : innerFirst;
      if (nearer < best) {
        reference = innerIsNearer ? inner : middle;
        // Written in any case, kept if it may matter: no branch.
        store<u32>(top, innerIsNearer ? middle : inner);
        store<u32>(top, farther, 4);
        top += (<usize>(farther < best)) << 3;
        continue;
      }
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
export function classify6(
  p: Packet,
  addresses: usize,
  kind: u32,
  port0: u32,
  port1: u32,
  start: u32,
): usize {
  let reference = load<u32>(state + ((<usize>kind) << 2), STATE_ROOTS6);
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
    store<u64>(keys, <u64>kind, KEY_KIND << 3);
  }
  let best = NO_RULE;
  let hit: usize = 0;
  let top = stack;
  while (reference != 0) {
    if ((reference & LEAF) != 0) {
      const leaf = <usize>(reference - LEAF);
      const end = leaf + LEAF_BOXES + <usize>load<u32>(leaf) * BOX6;
      for (let box = leaf + LEAF_BOXES; box < end; box += BOX6) {
        const index = load<u32>(box, PORTS6 + BOX_RULE);
        if (index >= best) break;
        const differs =
          ((a & load<u64>(box, MASK6)) ^ load<u64>(box)) |
          ((b & load<u64>(box, MASK6 + 8)) ^ load<u64>(box, 8)) |
          ((c & load<u64>(box, MASK6 + 16)) ^ load<u64>(box, 16)) |
          ((d & load<u64>(box, MASK6 + 24)) ^ load<u64>(box, 24));
        const isOutside =
          <u32>(differs != 0) |
          <u32>(port1 < load<u32>(box, PORTS6 + 8)) |
          <u32>(port1 > load<u32>(box, PORTS6 + 12)) |
          <u32>(port0 < load<u32>(box, PORTS6)) |
          <u32>(port0 > load<u32>(box, PORTS6 + 4)) |
          (((<u32>load<u8>(box, PORTS6 + BOX_KINDS) >> kind) & 1) ^ 1);
        if (isOutside != 0 || index < start) continue;
        if (load<u8>(box, PORTS6 + BOX_DECIDES) != 0 || matches(p, rules + <usize>index * RULE)) {
          best = index;
          hit = box + PORTS6;
          break;
        }
      }
    } else {
      const node = <usize>reference;
      const key = load<u64>(keys + ((<usize>load<u32>(node, NODE_KEY)) << 3));
      const child = (key >> (<u64>load<u32>(node, NODE_SHIFT))) - load<u64>(node, NODE_BASE);
      const middle = load<u32>(node, NODE_MIDDLE);
      const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
      let inner: u32 = 0;
      let innerFirst: u32 = NO_RULE;
      if (child < <u64>load<u32>(node, NODE_COUNT)) {
        const at = node + ((<usize>child) << 3);
        inner = load<u32>(at, NODE_CHILDREN);
        innerFirst = load<u32>(at, NODE_CHILDREN + CHILD_FIRST);
      }
      const innerIsNearer = innerFirst < middleFirst;
      const nearer = innerIsNearer ? innerFirst : middleFirst;
      const farther = innerIsNearer ? middleFirst : innerFirst;
      if (nearer < best) {
        reference = innerIsNearer ? inner : middle;
        store<u32>(top, innerIsNearer ? middle : inner);
        store<u32>(top, farther, 4);
        top += (<usize>(farther < best)) << 3;
        continue;
      }
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
