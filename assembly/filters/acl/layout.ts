// What a tree over rules is: nodes that cut a key's range into children, and leaves of boxes. tree.ts builds it, descend.ts,
// little.ts and stages.ts take packets down it.
//
// A rule is one or more boxes: a range of each key. A node cuts its range of one key into children of equal size (HiCuts:
// Gupta, McKeown 1999). A box that reaches over more than a few children goes to the node's middle child instead, which is
// cut further by other keys (after EffiCuts: Vamanan et al. 2010), so boxes are hardly ever repeated. Each child says the
// first rule in it: what comes after a match that was found already is not entered. It also says of one key in which range
// all of its boxes are, so that most packets that are in none of them need not look at it. Leaves hold the boxes themselves,
// side by side in the order of their rules.
//
//   keys            0 from   1 to   2 first port   3 second port   4 kind   5 from, low   6 to, low      u64 each
//                   IPv4 addresses are their 32 bits, IPv6 addresses their high 64 bits and, as keys of their own, the
//                   low 64; the ports are those of TCP and UDP, an ICMP code and type, or the protocol of others and 0
//
//   node            0      4        8      16       20        24           28         32        48
//                  +------+--------+------+--------+---------+------------+----------+---------+---------+---
//                  | key  | shift  | base | count  |         | middle     | its first| child 0 | child 1 | ...
//                  +------+--------+------+--------+---------+------------+----------+---------+---------+---
//                   child = (key >> shift) - base, below count; child `count` is empty, for all that lies outside
//   child           0           4            8          9       10      12
//                  +-----------+------------+----------+-------+-------+--------+
//                  | reference | first rule | 8 * key  | shift | count | base   |
//                  +-----------+------------+----------+-------+-------+--------+
//                   who has not (key >> shift) - base, of 32 bits, below count is in no box of it; empty: count 0
//                   a reference is an address, of a leaf with bit 0 set; 0: none
//   leaf            boxes, one behind the other, up to one that is the last
//   box             0              8 or 32        16 or 64                  24 or 72      28       29      30
//                  +--------------+--------------+-------------------------+-------------+--------+-------+--------+
//                  | value        | mask         | ports: first, last, two | rule's index| kinds  | flags | output |
//                  | from, to in wire order      | times, u16              |             | (bits) |       |        |
//                  +--------------+--------------+-------------------------+-------------+--------+-------+--------+
//                   kinds: bits of the kinds of protocol, and of what has no ports though its kind has some (KIND_PORTLESS);
//                   decides: who lies in the box matches the rule, nothing else needs to be asked

import { be32, be64 } from "pktflow/assembly";

export const KEY_FROM: u32 = 0;
export const KEY_TO: u32 = 1;
export const KEY_PORT0: u32 = 2;
export const KEY_PORT1: u32 = 3;
export const KEY_KIND: u32 = 4;
export const KEY_FROM_LOW: u32 = 5;
export const KEY_TO_LOW: u32 = 6;
export const KEYS4: u32 = 5;
export const KEYS6: u32 = 7;
/** Of all keys of a packet. */
export const KEYS_BYTES: usize = 56;

export const LAST_PORT: u32 = 0xffff;

export const NODE_KEY: usize = 0;
export const NODE_SHIFT: usize = 4;
export const NODE_BASE: usize = 8;
export const NODE_COUNT: usize = 16;
export const NODE_MIDDLE: usize = 24;
export const NODE_MIDDLE_FIRST: usize = 28;
export const NODE_CHILDREN: usize = 32;
export const CHILD: usize = 16;
/** log2 of it. */
export const CHILD_SHIFT: usize = 4;
export const CHILD_FIRST: usize = 4;
/** Key, shift and count, in one; the shift stands where a shift of 64 bits takes no notice of the count above it. */
export const CHILD_RANGE: usize = 8;
export const CHILD_BASE: usize = 12;
export const RANGE_KEY: u32 = 0x3f;
export const RANGE_SHIFT: u32 = 8;
export const RANGE_COUNT: u32 = 16;
export const LEAF: u32 = 1;

/** Where a box's parts lie: offsets for IPv4 and for IPv6. */
export const BOX4: usize = 32;
export const BOX6: usize = 80;
export const MASK4: usize = 8;
export const MASK6: usize = 32;
export const PORTS4: usize = 16;
export const PORTS6: usize = 64;
// Behind the ports.
export const BOX_RULE: usize = 8;
export const BOX_KINDS: usize = 12;
export const BOX_FLAGS: usize = 13;
export const BOX_OUTPUT: usize = 14;
export const BOX_DECIDES: u8 = 1;
export const BOX_MARKS: u8 = 2;
export const BOX_LAST: u8 = 4;

/** Kinds of protocol that have trees. */
export const KINDS: u32 = 4;
/** No tree is deeper: descend.ts keeps one reference a level. */
export const DEEPEST: u32 = 256;

/** What bounds() found: the first and the last value of a key in a box. */
export let low: u64 = 0;
export let high: u64 = 0;

/** Sets low and high. */
export function bounds(box: usize, key: u32, isIpv4: bool): void {
  const ports = box + (isIpv4 ? PORTS4 : PORTS6);
  if (key == KEY_PORT0 || key == KEY_PORT1) {
    const port = ports + ((<usize>(key - KEY_PORT0)) << 2);
    low = <u64>load<u16>(port);
    high = <u64>load<u16>(port, 2);
  } else if (key == KEY_KIND) {
    const kinds = <u32>load<u8>(ports, BOX_KINDS) & ((1 << KINDS) - 1);
    low = <u64>ctz<u32>(kinds);
    high = <u64>(31 - clz<u32>(kinds));
  } else if (isIpv4) {
    const at = box + ((<usize>key) << 2);
    low = <u64>be32(at);
    high = low | <u64>~be32(at + MASK4);
  } else {
    const at = box + (key >= KEY_FROM_LOW ? ((<usize>(key - KEY_FROM_LOW)) << 4) + 8 : (<usize>key) << 4);
    low = be64(at);
    high = low | ~be64(at + MASK6);
  }
}
