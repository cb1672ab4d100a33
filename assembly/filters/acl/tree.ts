// Where a packet finds the rules that it may match, without going through all of them: a decision tree over seven keys.
//
// A rule is one or more boxes: a range of each key. A node cuts its range of one key into children of equal size (HiCuts:
// Gupta, McKeown 1999). A box that reaches over more than a few children goes to the node's middle child instead, which is
// cut further by other keys (after EffiCuts: Vamanan et al. 2010), so boxes are hardly ever repeated. Each child says the
// first rule in it: what comes after a match that was found already is not entered. Leaves hold the boxes themselves, side
// by side in the order of their rules.
//
//   keys            0 from   1 to   2 first port   3 second port   4 kind   5 from, low   6 to, low      u64 each
//                   IPv4 addresses are their 32 bits, IPv6 addresses their high 64 bits and, as keys of their own, the
//                   low 64; the ports are those of TCP and UDP, an ICMP code and type, or the protocol of others and 0
//
//   node            0      4        8      16       20        24           28         32
//                  +------+--------+------+--------+---------+------------+----------+---------------------+---
//                  | key  | shift  | base | count  |         | middle     | its first| child 0, its first  | ...
//                  +------+--------+------+--------+---------+------------+----------+---------------------+---
//                   child = (key >> shift) - base, below count; a reference is an address, of a leaf with bit 0 set; 0: none
//   leaf            boxes, one behind the other, up to one that is the last
//   box             0              8 or 32        16 or 64                  24 or 72      28       29      30
//                  +--------------+--------------+-------------------------+-------------+--------+-------+--------+
//                  | value        | mask         | ports: first, last, two | rule's index| kinds  | flags | output |
//                  | from, to in wire order      | times, u16              |             | (bits) |       |        |
//                  +--------------+--------------+-------------------------+-------------+--------+-------+--------+
//                   kinds: bits of the kinds of protocol, and of what has no ports though its kind has some (KIND_PORTLESS);
//                   decides: who lies in the box matches the rule, nothing else needs to be asked
//
// All memory is taken from ranges of fixed size: where one is used up, what is left becomes a longer leaf, so the answer
// is right whatever the rules are. Cost: README.md.

import { be32, be64 } from "pktflow/assembly";
import { ALL_KINDS, NO_RULE } from "./rule";

export const KEY_FROM: u32 = 0;
export const KEY_TO: u32 = 1;
export const KEY_PORT0: u32 = 2;
export const KEY_PORT1: u32 = 3;
export const KEY_KIND: u32 = 4;
export const KEY_FROM_LOW: u32 = 5;
export const KEY_TO_LOW: u32 = 6;
const KEYS4: u32 = 5;
const KEYS6: u32 = 7;
export const KEYS_BYTES: usize = 64;

export const LAST_PORT: u32 = 0xffff;

export const NODE_KEY: usize = 0;
export const NODE_SHIFT: usize = 4;
export const NODE_BASE: usize = 8;
export const NODE_COUNT: usize = 16;
export const NODE_MIDDLE: usize = 24;
export const NODE_MIDDLE_FIRST: usize = 28;
export const NODE_CHILDREN: usize = 32;
const CHILD: usize = 8;
export const CHILD_FIRST: usize = 4;
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

/** A leaf of so many boxes is not worth cutting. */
export const SMALL: u32 = 8;
/** No tree is deeper: classify.ts keeps one reference a level. */
export const DEEPEST: u32 = 256;
/** So few boxes may be in the trees of all kinds, whatever they are. */
const FEW: u32 = 64;
const KINDS: u32 = 4;
const MOST_CHILDREN: u32 = 65536;
/** A box over more children than this goes to the middle. */
const MOST_COPIES: u64 = 4;
/** Sizes of children that are tried, each four times coarser than the one before. */
const TRIES: u32 = 5;
/** Boxes in leaves, for each box that there is: no more copies than this. */
const COPIES: usize = 3;
/** Bits of work that a doubling of the children must save. */
const PRICE: f64 = 0.2;
const NODES: usize = 128;
const WORK: usize = 48;
const FLOOR: usize = 1 << 16;

/** What a look into a node counts, in boxes. */
const NODE_WORK: u32 = 2;
/** To look at so many boxes takes no longer than to ask what an earlier packet of the flow found (flow-cache.ts). */
const LITTLE: u32 = 16;

/** Bytes for the tree of so many boxes, the boxes included. */
export function treeSize(boxes: u32, boxSize: usize): usize {
  if (boxes == 0) return 0;
  const each = boxSize + COPIES * boxSize + NODES + WORK;
  return <usize>boxes * each + 3 * FLOOR + ((<usize>histogramSize(boxes)) << 2);
}

function align(at: usize): usize {
  return (at + 63) & ~63;
}

function histogramSize(boxes: u32): u32 {
  return mostChildren(boxes) + 8;
}

function mostChildren(boxes: u32): u32 {
  return min<u32>(MOST_CHILDREN, max<u32>(16, (<u32>1) << (31 - clz<u32>(boxes))));
}

// The tree being built.
let boxes: usize = 0;
let boxSize: usize = 0;
let isIpv4: bool = false;
let histogram: usize = 0;
let nodeNext: usize = 0;
let nodeEnd: usize = 0;
let leafNext: usize = 0;
let workNext: usize = 0;
let workEnd: usize = 0;
/** Copies of boxes that may still be made. */
let spare: i64 = 0;
/** The first rule in what grow() made last. */
let grownFirst: u32 = 0xffffffff;
/** The most that a packet may have to look at in it. */
let grownWork: u32 = 0;

/**
 * Builds the trees over `count` boxes that lie at `at`, in the order of their rules, in the treeSize() bytes from there.
 * Each kind of protocol has a tree of its own, so that of a few rules a packet meets only those of its kind; but where
 * most rules say no protocol, all kinds have one tree.
 * @param roots where the references of the roots go, one a kind
 * @returns the kinds (bits) in whose trees a packet never has much to look at
 */
export function buildTrees(at: usize, count: u32, size: usize, roots: usize): u32 {
  if (count == 0) return ALL_KINDS;
  boxes = at;
  boxSize = size;
  isIpv4 = size == BOX4;
  const all = <usize>count;
  // A box of IPv4 never lies in two cache lines.
  leafNext = align(at + all * size);
  nodeNext = leafNext + COPIES * all * size + FLOOR;
  nodeEnd = nodeNext + NODES * all + FLOOR;
  histogram = nodeEnd;
  workNext = histogram + ((<usize>histogramSize(count)) << 2);
  workEnd = workNext + WORK * all + FLOOR;
  spare = <i64>count * <i64>(COPIES - 1);
  let inAll: u32 = 0;
  for (let kind: u32 = 0; kind < KINDS; kind++) inAll += listKind(kind, count);
  if (count > FEW && inAll > count + (count >> 1)) {
    const list = workNext;
    workNext += all << 2;
    for (let i: u32 = 0; i < count; i++) store<u32>(list + ((<usize>i) << 2), i);
    const root = grow(list, count, 0);
    for (let kind: usize = 0; kind < <usize>KINDS; kind++) store<u32>(roots + (kind << 2), root);
    return grownWork <= LITTLE ? ALL_KINDS : 0;
  }
  // Those that are in several trees are copies too.
  spare -= <i64>inAll - <i64>count;
  let little: u32 = 0;
  for (let kind: u32 = 0; kind < KINDS; kind++) {
    const list = workNext;
    const length = listKind(kind, count);
    workNext += (<usize>length) << 2;
    store<u32>(roots + ((<usize>kind) << 2), grow(list, length, 0));
    if (grownWork <= LITTLE) little |= 1 << kind;
    workNext = list;
  }
  return little;
}

/** Writes the indices of the boxes of a kind to workNext. @returns how many */
function listKind(kind: u32, count: u32): u32 {
  let length: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const kinds = <u32>load<u8>(boxes + <usize>i * boxSize + (isIpv4 ? PORTS4 : PORTS6), BOX_KINDS);
    if (((kinds >> kind) & 1) == 0) continue;
    store<u32>(workNext + ((<usize>length) << 2), i);
    length++;
  }
  return length;
}

/** The reference of a tree over the boxes of a list of indices. */
function grow(list: usize, count: u32, depth: u32): u32 {
  if (count <= SMALL || depth == DEEPEST || !chooseCut(list, count)) return growLeaf(list, count);
  const key = bestKey;
  const shift = bestShift;
  const base = bestBase;
  const children = bestChildren;
  const work = workNext;
  const node = nodeNext;
  nodeNext += NODE_CHILDREN + <usize>children * CHILD;
  store<u32>(node, key, NODE_KEY);
  store<u32>(node, <u32>shift, NODE_SHIFT);
  store<u64>(node, base, NODE_BASE);
  store<u32>(node, children, NODE_COUNT);
  const middleCount = deal(node, list, count);
  // What is a list until here becomes a tree, child by child.
  const middle = load<u32>(node, NODE_MIDDLE);
  store<u32>(node, grow(middle, middleCount, depth + 1), NODE_MIDDLE);
  store<u32>(node, grownFirst, NODE_MIDDLE_FIRST);
  let first = grownFirst;
  const middleWork = grownWork;
  let most: u32 = 0;
  for (let i: u32 = 0; i < children; i++) {
    const child = node + NODE_CHILDREN + <usize>i * CHILD;
    const length = load<u32>(child, CHILD_FIRST);
    store<u32>(child, grow(<usize>load<u32>(child), length, depth + 1));
    store<u32>(child, grownFirst, CHILD_FIRST);
    first = min(first, grownFirst);
    most = max(most, grownWork);
  }
  grownWork = NODE_WORK + middleWork + most;
  workNext = work;
  grownFirst = first;
  return <u32>node;
}

function growLeaf(list: usize, count: u32): u32 {
  grownWork = count;
  if (count == 0) {
    grownFirst = NO_RULE;
    return 0;
  }
  const leaf = leafNext;
  const ports = isIpv4 ? PORTS4 : PORTS6;
  let to = leaf;
  for (let i: u32 = 0; i < count; i++, to += boxSize) memory.copy(to, boxOf(list, i), boxSize);
  leafNext = to;
  const last = to - boxSize + ports;
  store<u8>(last, load<u8>(last, BOX_FLAGS) | BOX_LAST, BOX_FLAGS);
  grownFirst = load<u32>(leaf + ports, BOX_RULE);
  return <u32>leaf | LEAF;
}

function boxOf(list: usize, i: u32): usize {
  return boxes + <usize>load<u32>(list + ((<usize>i) << 2)) * boxSize;
}

/** Deals the list out to the node's children and its middle, as lists. @returns the middle's length */
function deal(node: usize, list: usize, count: u32): u32 {
  const key = bestKey;
  const shift = bestShift;
  const base = bestBase;
  const children = bestChildren;
  const copies = bestCopies;
  memory.fill(histogram, 0, (<usize>children) << 2);
  let middleCount: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    bounds(boxOf(list, i), key);
    const from = (low >> shift) - base;
    const to = (high >> shift) - base;
    if (goesToMiddle(from, to, children, copies)) middleCount++;
    else for (let c = from; c <= to; c++) bump(<u32>c);
  }
  let next = workNext;
  store<u32>(node, <u32>next, NODE_MIDDLE);
  next += (<usize>middleCount) << 2;
  for (let c: u32 = 0; c < children; c++) {
    const child = node + NODE_CHILDREN + <usize>c * CHILD;
    store<u32>(child, <u32>next);
    store<u32>(child, 0, CHILD_FIRST);
    next += (<usize>load<u32>(histogram + ((<usize>c) << 2))) << 2;
  }
  spare -= <i64>((next - workNext) >> 2) - <i64>count;
  workNext = next;
  let middle = <usize>load<u32>(node, NODE_MIDDLE);
  for (let i: u32 = 0; i < count; i++) {
    const box = load<u32>(list + ((<usize>i) << 2));
    bounds(boxes + <usize>box * boxSize, key);
    const from = (low >> shift) - base;
    const to = (high >> shift) - base;
    if (goesToMiddle(from, to, children, copies)) {
      store<u32>(middle, box);
      middle += 4;
      continue;
    }
    for (let c = from; c <= to; c++) {
      const child = node + NODE_CHILDREN + <usize>c * CHILD;
      const length = load<u32>(child, CHILD_FIRST);
      store<u32>(<usize>load<u32>(child) + ((<usize>length) << 2), box);
      store<u32>(child, length + 1, CHILD_FIRST);
    }
  }
  return middleCount;
}

/** A box from child `from` to child `to`; what lies outside of all children wraps round to large numbers. */
function goesToMiddle(from: u64, to: u64, children: u32, copies: u64): bool {
  return from >= <u64>children || to >= <u64>children || to - from >= copies;
}

function bump(child: u32): void {
  const at = histogram + ((<usize>child) << 2);
  store<u32>(at, load<u32>(at) + 1);
}

let bestKey: u32 = 0;
let bestShift: u64 = 0;
let bestBase: u64 = 0;
let bestChildren: u32 = 0;
let bestCopies: u64 = 0;
let bestCost: f64 = 0;

/**
 * Finds the cut that leaves a packet the least work: the mean over the children, weighted by the boxes in them (packets
 * are like rules), and that of the middle, into which it goes as well.
 * @returns false: none is worth it, or there is no room
 */
function chooseCut(list: usize, count: u32): bool {
  bestCost = Infinity;
  bestChildren = 0;
  const keys = isIpv4 ? KEYS4 : KEYS6;
  for (let key: u32 = 0; key < keys; key++) tryKey(list, count, key);
  return bestChildren != 0;
}

function tryKey(list: usize, count: u32, key: u32): void {
  const last = lastOf(key);
  let lowest = u64.MAX_VALUE;
  let highest: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    bounds(boxOf(list, i), key);
    if (low == 0 && high >= last) continue;
    lowest = min(lowest, low);
    highest = max(highest, high);
  }
  if (lowest > highest) return;
  let most = mostChildren(count);
  const room = nodeEnd - nodeNext;
  while (most > 1 && NODE_CHILDREN + <usize>most * CHILD > room) most >>= 1;
  if (most < 2) return;
  // Children of the size at which there are as many as there may be, then coarser ones.
  let shift: u64 = 0;
  while ((highest >> shift) - (lowest >> shift) >= <u64>most) shift++;
  for (let tries: u32 = 0; tries < TRIES && shift < 64; tries++, shift += 2) {
    const base = lowest >> shift;
    const children = <u32>((highest >> shift) - base) + 1;
    if (children < 2) return;
    tryCut(list, count, key, shift, base, children);
  }
}

function tryCut(list: usize, count: u32, key: u32, shift: u64, base: u64, children: u32): void {
  // Where too many copies would have to be made, a box is either within one child or in the middle.
  let copies = MOST_COPIES;
  let middle = spread(list, count, key, shift, base, children, copies);
  const made = <i64>placed + <i64>middle - <i64>count;
  if (made > spare || made << 1 > <i64>count) {
    copies = 1;
    middle = spread(list, count, key, shift, base, children, copies);
  }
  if (placed == 0 || workNext + ((<usize>(placed + middle)) << 2) > workEnd) return;
  // Each child must have fewer boxes than there are, and a packet must have a tenth less to look at.
  if (largest >= count || middle >= count) return;
  // Memory has a price too: twice the children must be worth it.
  if (<f64>squares / <f64>placed + <f64>middle > 0.9 * <f64>count) return;
  let cost = bits(middle) + PRICE * bits(children);
  for (let c: u32 = 0; c < children; c++) {
    const n = load<u32>(histogram + ((<usize>c) << 2));
    if (n != 0) cost += (<f64>n * bits(n)) / <f64>placed;
  }
  if (cost >= bestCost) return;
  bestCost = cost;
  bestKey = key;
  bestShift = shift;
  bestBase = base;
  bestChildren = children;
  bestCopies = copies;
}

/** log2(n + 1), straight between powers of two: how much work is left in n boxes. */
function bits(n: u32): f64 {
  const whole = 31 - clz<u32>(n + 1);
  return <f64>whole + <f64>(n + 1 - ((<u32>1) << whole)) / <f64>((<u32>1) << whole);
}

/** Boxes in all children together, the sum of the squares of their numbers, and the most in one. */
let placed: u32 = 0;
let squares: u64 = 0;
let largest: u32 = 0;

/** Counts what a cut would put where: placed and largest. @returns how many go to the middle */
function spread(list: usize, count: u32, key: u32, shift: u64, base: u64, children: u32, copies: u64): u32 {
  memory.fill(histogram, 0, (<usize>children) << 2);
  let middle: u32 = 0;
  placed = 0;
  squares = 0;
  largest = 0;
  for (let i: u32 = 0; i < count; i++) {
    bounds(boxOf(list, i), key);
    const from = (low >> shift) - base;
    const to = (high >> shift) - base;
    if (goesToMiddle(from, to, children, copies)) {
      middle++;
      continue;
    }
    for (let c = from; c <= to; c++) {
      const at = histogram + ((<usize>c) << 2);
      const n = load<u32>(at);
      // The sum of n * n, one by one.
      squares += 2 * <u64>n + 1;
      store<u32>(at, n + 1);
      largest = max(largest, n + 1);
      placed++;
    }
  }
  return middle;
}

let low: u64 = 0;
let high: u64 = 0;

function lastOf(key: u32): u64 {
  if (key == KEY_PORT0 || key == KEY_PORT1) return <u64>LAST_PORT;
  if (key == KEY_KIND) return 3;
  return isIpv4 ? 0xffffffff : u64.MAX_VALUE;
}

/** Sets low and high: the first and the last value of a key in a box. */
function bounds(box: usize, key: u32): void {
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
