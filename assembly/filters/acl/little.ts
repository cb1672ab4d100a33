// Packets of TCP and UDP over IPv4 against trees in which there is little to look at (tree.ts): all of a batch in one loop,
// in which nothing is called, so that what it needs stays in registers. What it cannot decide gets NOT_YET.

import {
  Batch,
  IPV4_SOURCE,
  Output,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MALFORMED,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
} from "pktflow/assembly";
import {
  BOX_DECIDES,
  BOX_FLAGS,
  BOX_KINDS,
  BOX_LAST,
  BOX_MARKS,
  BOX_OUTPUT,
  BOX_RULE,
  BOX4,
  CHILD_SHIFT,
  KEY_FROM,
  KEY_KIND,
  KEY_PORT0,
  KEY_PORT1,
  LEAF,
  MASK4,
  NODE_BASE,
  NODE_CHILDREN,
  NODE_COUNT,
  NODE_KEY,
  NODE_MIDDLE,
  NODE_SHIFT,
  PORTS4,
} from "./layout";
import { KIND_TCP, KIND_UDP } from "./rule";

/** No output of any filter: the packet is to be looked at again. */
export const NOT_YET: Output = 0xff;

/** Of a packet's flags: these, and this of them. */
export const PLAIN: u32 = PACKET_FLAG_IPV4 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED;
export const PLAIN_IS: u32 = PACKET_FLAG_IPV4;

// Of the 8 bytes behind a box's ports.
const FLAGS_AT: u64 = <u64>((BOX_FLAGS - BOX_RULE) << 3);
const KINDS_AT: u64 = <u64>((BOX_KINDS - BOX_RULE) << 3);
const OUTPUT_AT: u64 = <u64>((BOX_OUTPUT - BOX_RULE) << 3);
const IS_TCP: u64 = (<u64>1) << (KINDS_AT + <u64>KIND_TCP);
const IS_UDP: u64 = (<u64>1) << (KINDS_AT + <u64>KIND_UDP);
const IS_LAST: u64 = (<u64>BOX_LAST) << FLAGS_AT;
/** A box of whose rule nothing more is to be asked and done: these, and this of them. */
const CERTAIN: u64 = (<u64>(BOX_DECIDES | BOX_MARKS)) << FLAGS_AT;
const CERTAIN_IS: u64 = (<u64>BOX_DECIDES) << FLAGS_AT;
/** In each second of four 16-bit numbers. */
const LASTS: u64 = 0xffff0000ffff0000;
/** The reference of no node: it is not for this loop. */
export const NEVER: u32 = 2;
/** There is no box; in the place of 0, so that a walk ends where one of the lower two bits is set. */
const NONE: u32 = 6;

/** What the loop has left over: packets that match no rule, and whether there are some with NOT_YET. */
export let unmatchedLittle: u32 = 0;
export let someNotYet: bool = false;

/**
 * @param tcp, udp roots of the trees
 * @param standard output of what matches no rule @param counters u64 each, by rule
 */
export function decideLittle(
  b: Batch,
  count: u32,
  tcp: u32,
  udp: u32,
  standard: Output,
  counters: usize,
): void {
  const rootTcp = tcp == 0 ? NONE : tcp;
  const rootUdp = udp == 0 ? NONE : udp;
  let unmatched: u32 = 0;
  let others: u32 = 0;
  let at = changetype<usize>(b);
  const end = at + ((<usize>count) << 2);
  for (; at < end; at += 4) {
    const p = changetype<Packet>(<usize>load<u32>(at));
    const protocol = <u32>p.protocol;
    p.output = NOT_YET;
    let reference = rootUdp;
    let isKind = IS_UDP;
    if (protocol != PROTOCOL_UDP) {
      reference = protocol == PROTOCOL_TCP ? rootTcp : NEVER;
      isKind = IS_TCP;
    }
    if ((p.flags & PLAIN) != PLAIN_IS || reference == NEVER) {
      others = 1;
      continue;
    }
    const data = <usize>p.data;
    const pair = load<u64>(data + <usize>p.l3, IPV4_SOURCE);
    const ports = bswap<u32>(load<u32>(data + <usize>p.l4));
    const port0 = ports >> 16;
    const port1 = ports & 0xffff;
    while ((reference & (LEAF | NEVER)) == 0) {
      const node = <usize>reference;
      const name = load<u32>(node, NODE_KEY);
      let key = port1;
      if (name != KEY_PORT1) {
        if (name == KEY_PORT0) {
          key = port0;
        } else {
          if (name == KEY_KIND) {
            reference = NEVER;
            break;
          }
          key = bswap<u32>(<u32>(name == KEY_FROM ? pair : pair >> 32));
        }
      }
      const child = (key >> load<u32>(node, NODE_SHIFT)) - load<u32>(node, NODE_BASE);
      const middle = load<u32>(node, NODE_MIDDLE);
      reference = middle;
      if (child < load<u32>(node, NODE_COUNT)) {
        const inner = load<u32>(node + ((<usize>child) << CHILD_SHIFT), NODE_CHILDREN);
        if (inner != 0) reference = middle == 0 ? inner : NEVER;
      }
      if (reference == 0) reference = NONE;
    }
    if ((reference & LEAF) != 0) {
      // All four bounds at once: a number is too small or too large where a difference that stops at 0 is not.
      const four = (<u64>(port0 * 0x10001) | ((<u64>(port1 * 0x10001)) << 32)) ^ LASTS;
      const own = i64x2.splat(<i64>four);
      const lasts = i64x2.splat(<i64>LASTS);
      let box = <usize>(reference - LEAF);
      let facts: u64 = 0;
      for (;;) {
        facts = load<u64>(box, PORTS4 + BOX_RULE);
        const bounds = v128.xor(v128.load64_zero(box, PORTS4), lasts);
        const beyond = <u64>i64x2.extract_lane(i16x8.sub_sat_u(bounds, own), 0);
        const elsewhere = (pair & load<u64>(box, MASK4)) ^ load<u64>(box);
        if ((beyond | elsewhere) == 0) {
          if ((facts & isKind) != 0) break;
        }
        const isLast = facts & IS_LAST;
        facts = 0;
        if (isLast != 0) break;
        box += BOX4;
      }
      if ((facts & CERTAIN) == CERTAIN_IS) {
        const hits = counters + ((<usize>(<u32>facts)) << 3);
        store<u64>(hits, load<u64>(hits) + 1);
        p.output = <u8>(facts >> OUTPUT_AT);
        continue;
      }
      reference = facts == 0 ? NONE : NEVER;
    }
    if (reference == NONE) {
      unmatched++;
      p.output = standard;
    } else {
      others = 1;
    }
  }
  unmatchedLittle = unmatched;
  someNotYet = others != 0;
}
