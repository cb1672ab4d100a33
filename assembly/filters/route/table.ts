// The table of one IP version: a Poptrie (Asai, Ohara: "Poptrie: A Compressed Trie with Population Count for Fast and Scalable
// Software IP Routing Table Lookup", 2015). An address is taken apart from its top: the first bits find an entry of a plain
// table, then six at a time a node's child or leaf.
//
//   direct table, u32 each    bit 31: a leaf, the value below; else the index of a node
//
//    0        8         16      20      24
//   +--------+---------+-------+-------+      children: bit v: the six bits v lead to a node, the children lie in a row
//   |children| runs    | leaf  | child |      runs: bit v: a run of equal leaves begins at v; children leave no trace in it
//   +--------+---------+-------+-------+      leaf, child: indices of the first run's leaf (u16 each) and the first child
//
// It is built once, from the routes sorted by address and then by length: so what lies in a prefix follows it, and those that
// begin like a node are neighbours. Looked into by walk.ts.

import { length, wordHigh, wordLow } from "./routes";

/** No route: a leaf's value that is no output. */
export const NO_ROUTE: u32 = 0xffff;
/** Bits that a node takes. */
export const STRIDE: u32 = 6;
const SLOTS: u32 = 64;
export const NODE: usize = 24;
export const RUNS: usize = 8;
export const LEAF: usize = 16;
export const CHILD: usize = 20;
export const LEAF_ENTRY: u32 = 0x80000000;
/** Nodes on the way to the end of an IPv6 address, and one to spare. */
const LEVELS: usize = 24;
/** Routes of a version with which the larger direct table pays. */
const MANY: u32 = 256;

/** Where a table being built puts things; counted first, so that it gets exactly as much room. */
@unmanaged
export class Build {
  nodes: u32;
  leaves: u32;
  nodeAt: usize;
  leafAt: usize;
  /** SLOTS u16 for each level. */
  scratch: usize;
  static readonly BYTES: usize = 64 + LEVELS * <usize>SLOTS * 2;
}

/** Bits of the direct table; chosen so that six at a time end with a word. */
export function directBits(isIpv4: bool, routes: u32): u32 {
  if (isIpv4) return routes > MANY ? 18 : 12;
  return routes > MANY ? 16 : 4;
}

export function directBytes(bits: u32): usize {
  return (<usize>4) << bits;
}

export function nodeBytes(nodes: u32): usize {
  return <usize>nodes * NODE;
}

/** The six bits of a route's address behind the first `depth`. */
function slotOf(route: usize, depth: u32): u32 {
  return <u32>(depth < 64 ? (wordHigh(route) << depth) >> 58 : (wordLow(route) << (depth - 64)) >> 58);
}

function top(route: usize, bits: u32): u32 {
  return <u32>(wordHigh(route) >> (64 - bits));
}

let nodesCounted: u32 = 0;
let leavesCounted: u32 = 0;

/** Nodes and, at most, leaves that the routes from `from` to `to` (sorted, of one version) need. */
export function count(from: usize, to: usize, stride: usize, bits: u32): void {
  nodesCounted = 0;
  leavesCounted = 0;
  for (let at = from; at < to; ) {
    const end = groupEnd(at, to, stride, bits);
    if (hasLonger(at, end, stride, bits)) countNode(at, end, stride, bits);
    at = end;
  }
}

export function countedNodes(): u32 {
  return nodesCounted;
}

export function countedLeaves(): u32 {
  return leavesCounted;
}

function countNode(from: usize, to: usize, stride: usize, depth: u32): void {
  nodesCounted++;
  let ending: u32 = 0;
  for (let at = from; at < to; ) {
    const slot = slotOf(at, depth);
    let end = at;
    let isLonger = false;
    for (; end < to && slotOf(end, depth) == slot; end += stride) {
      const bits = length(end);
      if (bits > depth && bits <= depth + STRIDE) ending++;
      if (bits > depth + STRIDE) isLonger = true;
    }
    if (isLonger) countNode(at, end, stride, depth + STRIDE);
    at = end;
  }
  // Each prefix begins a run and ends one.
  leavesCounted += min<u32>(SLOTS, 2 * ending + 1);
}

/** The end of those that share their first bits with the route at `at`. */
function groupEnd(at: usize, to: usize, stride: usize, bits: u32): usize {
  const group = top(at, bits);
  let end = at + stride;
  while (end < to && top(end, bits) == group) end += stride;
  return end;
}

function hasLonger(from: usize, to: usize, stride: usize, bits: u32): bool {
  for (let at = from; at < to; at += stride) if (length(at) > bits) return true;
  return false;
}

/** Writes the table of the routes from `from` to `to`. @param value of a route, by its address */
export function build(b: Build, direct: usize, bits: u32, from: usize, to: usize, stride: usize): void {
  const entries: u32 = (<u32>1) << bits;
  for (let i: u32 = 0; i < entries; i++) store<u32>(direct + ((<usize>i) << 2), LEAF_ENTRY | NO_ROUTE);
  for (let at = from; at < to; at += stride) {
    if (length(at) > bits) continue;
    const first = top(at, bits);
    const covered: u32 = (<u32>1) << (bits - length(at));
    for (let i: u32 = 0; i < covered; i++) {
      store<u32>(direct + ((<usize>(first + i)) << 2), LEAF_ENTRY | via(at));
    }
  }
  for (let at = from; at < to; ) {
    const end = groupEnd(at, to, stride, bits);
    if (hasLonger(at, end, stride, bits)) {
      const entry = direct + ((<usize>top(at, bits)) << 2);
      const node = b.nodes++;
      buildNode(b, node, at, end, stride, bits, load<u32>(entry) & 0xffff, 0);
      store<u32>(entry, node);
    }
    at = end;
  }
}

function via(route: usize): u32 {
  return load<u8>(route, 20);
}

/** @param inherited the value of the longest prefix that holds all of the node */
function buildNode(
  b: Build,
  node: u32,
  from: usize,
  to: usize,
  stride: usize,
  depth: u32,
  inherited: u32,
  level: usize,
): void {
  const values = b.scratch + level * <usize>SLOTS * 2;
  for (let v: u32 = 0; v < SLOTS; v++) store<u16>(values + ((<usize>v) << 1), <u16>inherited);
  let children: u64 = 0;
  for (let at = from; at < to; at += stride) {
    const bits = length(at);
    const slot = slotOf(at, depth);
    if (bits > depth + STRIDE) {
      children |= (<u64>1) << slot;
    } else if (bits > depth) {
      const covered: u32 = (<u32>1) << (depth + STRIDE - bits);
      for (let i: u32 = 0; i < covered; i++) store<u16>(values + ((<usize>(slot + i)) << 1), <u16>via(at));
    }
  }
  const firstChild = b.nodes;
  const firstLeaf = b.leaves;
  b.nodes += <u32>popcnt<u64>(children);
  let runs: u64 = 0;
  let last: u32 = 0xffffffff;
  for (let v: u32 = 0; v < SLOTS; v++) {
    if (((children >> v) & 1) != 0) continue;
    const value = <u32>load<u16>(values + ((<usize>v) << 1));
    if (value == last) continue;
    last = value;
    runs |= (<u64>1) << v;
    store<u16>(b.leafAt + ((<usize>b.leaves) << 1), <u16>value);
    b.leaves++;
  }
  const at = b.nodeAt + nodeBytes(node);
  store<u64>(at, children);
  store<u64>(at, runs, RUNS);
  store<u32>(at, firstLeaf, LEAF);
  store<u32>(at, firstChild, CHILD);
  let child = firstChild;
  for (let start = from; start < to; ) {
    const slot = slotOf(start, depth);
    let end = start;
    while (end < to && slotOf(end, depth) == slot) end += stride;
    if (((children >> slot) & 1) != 0) {
      const value = <u32>load<u16>(values + ((<usize>slot) << 1));
      buildNode(b, child++, start, end, stride, depth + STRIDE, value, level + 1);
    }
    start = end;
  }
}
