// Addresses of a batch through the table (table.ts) together: a level of the trie at a time, for all of them. A level is a
// line of memory that no cache holds where there are many routes, and of many packets those are waited for at once.
//
//   what is kept of a packet, 32 bytes
//    0          8         16      20         24
//   +----------+---------+-------+----------+-----       at: of its entry in the direct table, then of its node; then of
//   | address: high, low | at    | packet   |            its leaf
//   +----------+---------+-------+----------+-----

import { Packet } from "pktflow/assembly";
import { CHILD, LEAF, LEAF_ENTRY, NODE, RUNS, STRIDE } from "./table";

export const KEPT: usize = 32;
const LOW: usize = 8;
const AT: usize = 16;
const PACKET: usize = 20;

/** @param at where it is kept @param direct table of its IP version, of 2^bits entries */
export function begin(at: usize, p: Packet, high: u64, low: u64, direct: usize, bits: u32): void {
  store<u64>(at, high);
  store<u64>(at, low, LOW);
  store<u32>(at, <u32>(direct + ((<usize>(high >> (64 - bits))) << 2)), AT);
  store<u32>(at, <u32>changetype<usize>(p), PACKET);
}

export function packetOf(at: usize): Packet {
  return changetype<Packet>(<usize>load<u32>(at, PACKET));
}

/** The value of the longest prefix that holds its address, or NO_ROUTE; after walk(). */
export function valueAt(at: usize): u32 {
  return load<u16>(<usize>load<u32>(at, AT));
}

let touched: u32 = 0;

/** Nothing but to have what those are at come nearer. */
function touch(list: usize, count: u32): void {
  const end = list + ((<usize>count) << 2);
  let seen: u32 = 0;
  for (let to = list; to < end; to += 4) seen ^= load<u32>(<usize>load<u32>(<usize>load<u32>(to), AT));
  touched = seen;
}

/**
 * Takes packets of one IP version to their leaves.
 * @param list addresses of what is kept of each, u32; it is used up
 * @param bits of their direct table; what it holds itself are the leaves of so many bits
 */
export function walk(list: usize, count: u32, bits: u32, nodes: usize, leaves: usize): void {
  touch(list, count);
  let left: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const at = <usize>load<u32>(list + ((<usize>i) << 2));
    const entry = load<u32>(<usize>load<u32>(at, AT));
    // A leaf's value is the lower half of the entry, where its address is.
    if ((entry & LEAF_ENTRY) != 0) continue;
    store<u32>(at, <u32>(nodes + <usize>entry * NODE), AT);
    store<u32>(list + ((<usize>left) << 2), <u32>at);
    left++;
  }
  for (let offset = bits; left != 0; offset += STRIDE) {
    touch(list, left);
    const word: usize = offset < 64 ? 0 : LOW;
    const shift = <u64>(offset & 63);
    count = left;
    left = 0;
    for (let i: u32 = 0; i < count; i++) {
      const at = <usize>load<u32>(list + ((<usize>i) << 2));
      const node = <usize>load<u32>(at, AT);
      const v = (load<u64>(at + word) << shift) >> 58;
      const children = load<u64>(node);
      const upTo = ((<u64>2) << v) - 1;
      if (((children >> v) & 1) != 0) {
        const child = load<u32>(node, CHILD) + <u32>popcnt<u64>(children & upTo) - 1;
        store<u32>(at, <u32>(nodes + <usize>child * NODE), AT);
        store<u32>(list + ((<usize>left) << 2), <u32>at);
        left++;
      } else {
        const run = load<u32>(node, LEAF) + <u32>popcnt<u64>(load<u64>(node, RUNS) & upTo) - 1;
        store<u32>(at, <u32>(leaves + ((<usize>run) << 1)), AT);
      }
    }
  }
}
