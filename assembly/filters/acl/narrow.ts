// What a node (layout.ts) says of a child beside where it is: one key, and the range of it in which all boxes of the child
// are. Most packets that lie in none of them are outside of that, and need not look at the child's memory.

import { boxOf } from "./cut";
import { bounds, CHILD_BASE, CHILD_RANGE, high, KEYS4, KEYS6, low, RANGE_COUNT, RANGE_SHIFT } from "./layout";

/** Boxes wider than the extent of all, shifted so far, are left out of it. */
const WIDE: u64 = 8;
const ROUNDS: u32 = 3;
/** A count is 16 bits. */
const COUNT_BITS: u64 = 15;

let isIpv4: bool = false;
/** Of each key the bits of a number that tells apart the values in most boxes, one byte each. */
let extents: u64 = 0;

/** Another tree: over how much of each key its boxes are strewn. */
export function measure(list: usize, count: u32, ofIpv4: bool): void {
  isIpv4 = ofIpv4;
  extents = 0;
  const keys = isIpv4 ? KEYS4 : KEYS6;
  for (let key: u32 = 0; key < keys; key++) extents |= extentBits(list, count, key) << ((<u64>key) << 3);
}

function extentBits(list: usize, count: u32, key: u32): u64 {
  let widest = u64.MAX_VALUE;
  let bits: u64 = 0;
  for (let round: u32 = 0; round < ROUNDS; round++) {
    let lowest = u64.MAX_VALUE;
    let highest: u64 = 0;
    for (let i: u32 = 0; i < count; i++) {
      bounds(boxOf(list, i), key, isIpv4);
      if (high - low > widest) continue;
      lowest = min(lowest, low);
      highest = max(highest, high);
    }
    if (lowest > highest) break;
    bits = bitsOf(highest - lowest);
    widest = (highest - lowest) >> WIDE;
  }
  return bits;
}

function bitsOf(n: u64): u64 {
  return 64 - clz<u64>(n);
}

/**
 * Writes the range of the key that leaves out the most packets.
 * @param list of the child's boxes, `count` of them: not empty @param cut, shift key and size by which the child was cut
 */
export function narrow(child: usize, list: usize, count: u32, cut: u32, shift: u64): void {
  const keys = isIpv4 ? KEYS4 : KEYS6;
  let most: i64 = -65;
  for (let key: u32 = 0; key < keys; key++) {
    let lowest = u64.MAX_VALUE;
    let highest: u64 = 0;
    for (let i: u32 = 0; i < count; i++) {
      bounds(boxOf(list, i), key, isIpv4);
      lowest = min(lowest, low);
      highest = max(highest, high);
    }
    // Who comes here lies in the child already.
    const all = key == cut ? shift : (extents >> ((<u64>key) << 3)) & 0xff;
    const left = <i64>all - <i64>bitsOf(highest - lowest);
    if (left <= most) continue;
    most = left;
    const bits = bitsOf(highest - lowest);
    const by = bits > COUNT_BITS ? bits - COUNT_BITS : 0;
    const base = lowest >> by;
    const size = <u32>((highest >> by) - base) + 1;
    store<u32>(child, (key << 3) | ((<u32>by) << RANGE_SHIFT) | (size << RANGE_COUNT), CHILD_RANGE);
    store<u32>(child, <u32>base, CHILD_BASE);
  }
}
