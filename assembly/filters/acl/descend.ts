// One packet down a tree (layout.ts). In: what is still to be looked at, nodes and leaves. Out: the first box that the packet lies
// in and whose rule it matches.
//
// The loops keep all they need in locals, and conditions that belong together are one branch: packets of many flows take the
// processor's predictions by surprise at every branch that there is. Cost: README.md.

import { Packet } from "pktflow/assembly";
import { matches } from "./criteria";
import {
  BOX_DECIDES,
  BOX_FLAGS,
  BOX_KINDS,
  BOX_LAST,
  BOX_RULE,
  BOX4,
  BOX6,
  CHILD_BASE,
  CHILD_FIRST,
  CHILD_RANGE,
  CHILD_SHIFT,
  DEEPEST,
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
  RANGE_COUNT,
  RANGE_KEY,
  RANGE_SHIFT,
} from "./layout";
import { NO_RULE, RULE, RULE_SAYS, SAYS_OF_PACKETS } from "./rule";

/** What is to be looked at: reference and first rule. */
export const ENTRY: usize = 8;
export const ENTRY_FIRST: usize = 4;
/** A tree leaves one entry a level, beside those that it begins with. */
export const STACK_BYTES: usize = (<usize>DEEPEST + 16) * ENTRY;

let rules: usize = 0;
/** Where entries lie, STACK_BYTES. */
export let stack: usize = 0;
/** Was no rule asked for what may differ between packets of a flow? */
export let isOfFlow: bool = false;

export function openDescent(compiledRules: usize, room: usize): void {
  rules = compiledRules;
  stack = room;
}

function asks(p: Packet, index: u32): bool {
  const rule = rules + <usize>index * RULE;
  if ((load<u32>(rule, RULE_SAYS) & SAYS_OF_PACKETS) != 0) isOfFlow = false;
  return matches(p, rule);
}

/** A child of a node. */
export class Child {
  /** That of a packet, by its keys: one that is empty where the packet lies outside of all. */
  @inline static of(node: usize, keys: usize): usize {
    const key = load<u64>(keys + ((<usize>load<u32>(node, NODE_KEY)) << 3));
    const child = (key >> <u64>load<u32>(node, NODE_SHIFT)) - load<u64>(node, NODE_BASE);
    const at = min<u64>(child, <u64>load<u32>(node, NODE_COUNT));
    return node + NODE_CHILDREN + ((<usize>at) << CHILD_SHIFT);
  }
  /** May the packet lie in one of the child's boxes? */
  @inline static mayHold(child: usize, keys: usize): u32 {
    const range = load<u32>(child, CHILD_RANGE);
    const key = load<u64>(keys + <usize>(range & RANGE_KEY));
    const at = <u32>(key >> <u64>(range >> RANGE_SHIFT)) - load<u32>(child, CHILD_BASE);
    return <u32>(at < range >> RANGE_COUNT);
  }
}

export class Descent {
  /**
   * The first box from rule `start` on that an IPv4 packet lies in and whose rule it matches.
   * @param pair source and destination as they lie in the header
   * @param keys of the packet @param reference where to begin @param bottom, top of the stack of what else is to be looked at, ENTRY each
   * @returns the address of the box's ports, where its rule and output stand; 0: there is none
   */
  @inline static ipv4(
    p: Packet,
    pair: u64,
    kind: u32,
    port0: u32,
    port1: u32,
    start: u32,
    keys: usize,
    reference: u32,
    bottom: usize,
    top: usize,
  ): usize {
    let best = NO_RULE;
    let hit: usize = 0;
    isOfFlow = true;
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
          const at = node + NODE_CHILDREN + ((<usize>child) << CHILD_SHIFT);
          innerFirst = load<u32>(at, CHILD_FIRST);
          if (innerFirst < best && Child.mayHold(at, keys) != 0) inner = load<u32>(at);
        }
        const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
        const middle = middleFirst < best ? load<u32>(node, NODE_MIDDLE) : 0;
        if (inner == 0) reference = middle;
        else if (middle == 0) reference = inner;
        else if (innerFirst < middleFirst) {
          reference = inner;
          store<u32>(top, middle);
          store<u32>(top, middleFirst, ENTRY_FIRST);
          top += ENTRY;
        } else {
          reference = middle;
          store<u32>(top, inner);
          store<u32>(top, innerFirst, ENTRY_FIRST);
          top += ENTRY;
        }
        if (reference != 0) continue;
      }
      // What lies behind a match that was found is passed over.
      reference = 0;
      while (top != bottom && reference == 0) {
        top -= ENTRY;
        if (load<u32>(top, ENTRY_FIRST) < best) reference = load<u32>(top);
      }
    }
    return hit;
  }

  /** The same for IPv6. @param addresses where the header's addresses lie */
  @inline static ipv6(
    p: Packet,
    addresses: usize,
    kind: u32,
    port0: u32,
    port1: u32,
    start: u32,
    keys: usize,
    reference: u32,
    bottom: usize,
    top: usize,
  ): usize {
    const a = load<u64>(addresses);
    const b = load<u64>(addresses, 8);
    const c = load<u64>(addresses, 16);
    const d = load<u64>(addresses, 24);
    let best = NO_RULE;
    let hit: usize = 0;
    isOfFlow = true;
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
          const at = node + NODE_CHILDREN + ((<usize>child) << CHILD_SHIFT);
          innerFirst = load<u32>(at, CHILD_FIRST);
          if (innerFirst < best && Child.mayHold(at, keys) != 0) inner = load<u32>(at);
        }
        const middleFirst = load<u32>(node, NODE_MIDDLE_FIRST);
        const middle = middleFirst < best ? load<u32>(node, NODE_MIDDLE) : 0;
        if (inner == 0) reference = middle;
        else if (middle == 0) reference = inner;
        else if (innerFirst < middleFirst) {
          reference = inner;
          store<u32>(top, middle);
          store<u32>(top, middleFirst, ENTRY_FIRST);
          top += ENTRY;
        } else {
          reference = middle;
          store<u32>(top, inner);
          store<u32>(top, innerFirst, ENTRY_FIRST);
          top += ENTRY;
        }
        if (reference != 0) continue;
      }
      // What lies behind a match that was found is passed over.
      reference = 0;
      while (top != bottom && reference == 0) {
        top -= ENTRY;
        if (load<u32>(top, ENTRY_FIRST) < best) reference = load<u32>(top);
      }
    }
    return hit;
  }
}
