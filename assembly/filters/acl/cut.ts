// Which key a node of a tree (layout.ts) is cut by, and into how many children: the cut that leaves a packet the least work.

import {
  bounds,
  CHILD,
  high,
  KEY_KIND,
  KEY_PORT0,
  KEY_PORT1,
  KEYS4,
  KEYS6,
  LAST_PORT,
  low,
  NODE_CHILDREN,
} from "./layout";

const MOST_CHILDREN: u32 = 65536;
/** A box over more children than this goes to the middle. */
const MOST_COPIES: u64 = 4;
/** Sizes of children that are tried, each four times coarser than the one before. */
const TRIES: u32 = 5;
/** How often the range that is cut is made narrower. */
const NARROWER: u32 = 4;
/** Bits of work that a doubling of the children must save. */
const PRICE: f64 = 0.2;

// The boxes of the tree, and room for a number a child.
let boxes: usize = 0;
let boxSize: usize = 0;
let isIpv4: bool = false;
let histogram: usize = 0;

/** Bytes for the numbers of the children of a tree over so many boxes. */
export function histogramBytes(boxes: u32): usize {
  return (<usize>(mostChildren(boxes) + 8)) << 2;
}

function mostChildren(boxes: u32): u32 {
  return min<u32>(MOST_CHILDREN, max<u32>(16, (<u32>1) << (31 - clz<u32>(boxes))));
}

/** Another tree. @param numbers histogramBytes() of room */
export function beginCuts(at: usize, size: usize, ofIpv4: bool, numbers: usize): void {
  boxes = at;
  boxSize = size;
  isIpv4 = ofIpv4;
  histogram = numbers;
}

/** The box at a place of a list of indices. */
export function boxOf(list: usize, i: u32): usize {
  return boxes + <usize>load<u32>(list + ((<usize>i) << 2)) * boxSize;
}

// What a cut may take.
let nodeRoom: usize = 0;
let listRoom: usize = 0;
let spare: i64 = 0;

// The cut that was chosen.
export let bestKey: u32 = 0;
export let bestShift: u64 = 0;
export let bestBase: u64 = 0;
export let bestChildren: u32 = 0;
export let bestCopies: u64 = 0;
let bestCost: f64 = 0;

/**
 * Finds the cut that leaves a packet the least work: the mean over the children, weighted by the boxes in them (packets
 * are like rules), and that of the middle, into which it goes as well.
 * @param nodes, lists bytes of room for the node, and for the lists of its children @param copies of boxes that may be made
 * @returns false: none is worth it, or there is no room
 */
export function chooseCut(list: usize, count: u32, nodes: usize, lists: usize, copies: i64): bool {
  nodeRoom = nodes;
  listRoom = lists;
  spare = copies;
  bestCost = Infinity;
  bestChildren = 0;
  const keys = isIpv4 ? KEYS4 : KEYS6;
  for (let key: u32 = 0; key < keys; key++) tryKey(list, count, key);
  return bestChildren != 0;
}

/** Bytes of a node with so many children, and the one that is empty. */
export function nodeBytes(children: u32): usize {
  return NODE_CHILDREN + <usize>(children + 1) * CHILD;
}

function tryKey(list: usize, count: u32, key: u32): void {
  const last = lastOf(key);
  let lowest = u64.MAX_VALUE;
  let highest: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    bounds(boxOf(list, i), key, isIpv4);
    if (low == 0 && high >= last) continue;
    lowest = min(lowest, low);
    highest = max(highest, high);
  }
  if (lowest > highest) return;
  let most = mostChildren(count);
  while (most > 1 && nodeBytes(most) > nodeRoom) most >>= 1;
  if (most < 2) return;
  // Children of the size at which there are as many as there may be, then coarser ones.
  let shift: u64 = 0;
  while ((highest >> shift) - (lowest >> shift) >= <u64>most) shift++;
  // What is too wide for these goes to the middle: the others may lie closer together, and so allow of smaller ones.
  for (let rounds: u32 = 0; rounds < NARROWER; rounds++) {
    lowest = u64.MAX_VALUE;
    highest = 0;
    for (let i: u32 = 0; i < count; i++) {
      bounds(boxOf(list, i), key, isIpv4);
      if ((low == 0 && high >= last) || (high >> shift) - (low >> shift) >= MOST_COPIES) continue;
      lowest = min(lowest, low);
      highest = max(highest, high);
    }
    if (lowest > highest) return;
    const before = shift;
    while (shift > 0 && (highest >> (shift - 1)) - (lowest >> (shift - 1)) < <u64>most) shift--;
    if (shift == before) break;
  }
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
  if (placed == 0 || (<usize>(placed + middle)) << 2 > listRoom) return;
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
    bounds(boxOf(list, i), key, isIpv4);
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

/** A box from child `from` to child `to`; what lies outside of all children wraps round to large numbers. */
export function goesToMiddle(from: u64, to: u64, children: u32, copies: u64): bool {
  return from >= <u64>children || to >= <u64>children || to - from >= copies;
}

function lastOf(key: u32): u64 {
  if (key == KEY_PORT0 || key == KEY_PORT1) return <u64>LAST_PORT;
  if (key == KEY_KIND) return 3;
  return isIpv4 ? 0xffffffff : u64.MAX_VALUE;
}
