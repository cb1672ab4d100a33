// Builds the trees of layout.ts over boxes, before any packet comes. In: boxes in the order of their rules. Out: a root for
// each kind of protocol.
//
// All memory is taken from ranges of fixed size: where one is used up, what is left becomes a longer leaf, so the answer
// is right whatever the rules are. Cost: README.md.

import {
  beginCuts,
  bestBase,
  bestChildren,
  bestCopies,
  bestKey,
  bestShift,
  boxOf,
  chooseCut,
  goesToMiddle,
  histogramBytes,
  nodeBytes,
} from "./cut";
import {
  BOX_FLAGS,
  BOX_KINDS,
  BOX_LAST,
  BOX_RULE,
  BOX4,
  bounds,
  CHILD,
  CHILD_FIRST,
  CHILD_RANGE,
  DEEPEST,
  high,
  KINDS,
  LEAF,
  low,
  NODE_BASE,
  NODE_CHILDREN,
  NODE_COUNT,
  NODE_KEY,
  NODE_MIDDLE,
  NODE_MIDDLE_FIRST,
  NODE_SHIFT,
  PORTS4,
  PORTS6,
} from "./layout";
import { measure, narrow } from "./narrow";
import { ALL_KINDS, NO_RULE } from "./rule";

/** A leaf of so many boxes is not worth cutting. */
const SMALL: u32 = 8;
/** So few boxes may be in the trees of all kinds, whatever they are. */
const FEW: u32 = 64;
/** Boxes in leaves, for each box that there is: no more copies than this. */
const COPIES: usize = 3;
/** Bytes of nodes and of lists for each box. */
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
  return <usize>boxes * each + 3 * FLOOR + histogramBytes(boxes);
}

function align(at: usize): usize {
  return (at + 63) & ~63;
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
  workNext = histogram + histogramBytes(count);
  workEnd = workNext + WORK * all + FLOOR;
  spare = <i64>count * <i64>(COPIES - 1);
  beginCuts(at, size, isIpv4, histogram);
  let inAll: u32 = 0;
  for (let kind: u32 = 0; kind < KINDS; kind++) inAll += listKind(kind, count);
  if (count > FEW && inAll > count + (count >> 1)) {
    const list = workNext;
    workNext += all << 2;
    for (let i: u32 = 0; i < count; i++) store<u32>(list + ((<usize>i) << 2), i);
    measure(list, count, isIpv4);
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
    measure(list, length, isIpv4);
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
  if (count <= SMALL || depth == DEEPEST || !isWorthCutting(list, count)) return growLeaf(list, count);
  const key = bestKey;
  const shift = bestShift;
  const base = bestBase;
  const children = bestChildren;
  const work = workNext;
  const node = nodeNext;
  nodeNext += nodeBytes(children);
  store<u32>(node, key, NODE_KEY);
  store<u32>(node, <u32>shift, NODE_SHIFT);
  store<u64>(node, base, NODE_BASE);
  store<u32>(node, children, NODE_COUNT);
  const outside = node + nodeBytes(children - 1);
  store<u32>(outside, 0);
  store<u32>(outside, NO_RULE, CHILD_FIRST);
  store<u64>(outside, 0, CHILD_RANGE);
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
    const own = <usize>load<u32>(child);
    const length = load<u32>(child, CHILD_FIRST);
    store<u32>(child, grow(own, length, depth + 1));
    store<u32>(child, grownFirst, CHILD_FIRST);
    if (length != 0) narrow(child, own, length, key, shift);
    first = min(first, grownFirst);
    most = max(most, grownWork);
  }
  grownWork = NODE_WORK + middleWork + most;
  workNext = work;
  grownFirst = first;
  return <u32>node;
}

function isWorthCutting(list: usize, count: u32): bool {
  return chooseCut(list, count, nodeEnd - nodeNext, workEnd - workNext, spare);
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
    bounds(boxOf(list, i), key, isIpv4);
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
    store<u64>(child, 0, CHILD_RANGE);
    next += (<usize>load<u32>(histogram + ((<usize>c) << 2))) << 2;
  }
  spare -= <i64>((next - workNext) >> 2) - <i64>count;
  workNext = next;
  let middle = <usize>load<u32>(node, NODE_MIDDLE);
  for (let i: u32 = 0; i < count; i++) {
    const box = load<u32>(list + ((<usize>i) << 2));
    bounds(boxes + <usize>box * boxSize, key, isIpv4);
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

function bump(child: u32): void {
  const at = histogram + ((<usize>child) << 2);
  store<u32>(at, load<u32>(at) + 1);
}
