// Packets by the time at which they are due: a binary heap, those of the same time in the order in which they came.
//
//    0       4       8       16       24     28     32
//   +-------+-------+-------+--------+------+------+--
//   | count | added |       | time   | order| p    | ...      order: `added` when it came, modulo 2^32
//   +-------+-------+-------+--------+------+------+--

import { Packet } from "../abi/packet";

const ADDED: usize = 4;
const ENTRIES: usize = 16;
const ENTRY: usize = 16;
const ORDER: usize = 8;
const PACKET: usize = 12;

@unmanaged
export class TimedQueue {
  static bytes(capacity: u32): usize {
    return ENTRIES + <usize>capacity * ENTRY;
  }

  /** In zeroed memory it is empty. */
  static at(address: usize): TimedQueue {
    return changetype<TimedQueue>(address);
  }

  get count(): u32 {
    return load<u32>(changetype<usize>(this));
  }

  /** When the first is due, ns; 0: there is none. */
  get due(): u64 {
    return this.count == 0 ? 0 : load<u64>(changetype<usize>(this) + ENTRIES);
  }

  /** There must be room: capacity is the caller's. */
  push(p: Packet, time: u64): void {
    const at = changetype<usize>(this);
    const order = load<u32>(at, ADDED);
    store<u32>(at, order + 1, ADDED);
    let i = this.count;
    store<u32>(at, i + 1);
    while (i > 0) {
      const parent = (i - 1) >> 1;
      const above = this.entry(parent);
      // Whoever came later goes below.
      if (load<u64>(above) <= time) break;
      memory.copy(this.entry(i), above, ENTRY);
      i = parent;
    }
    const entry = this.entry(i);
    store<u64>(entry, time);
    store<u32>(entry, order, ORDER);
    store<u32>(entry, <u32>changetype<usize>(p), PACKET);
  }

  /** Takes the first one; there must be one. */
  pop(): Packet {
    const at = changetype<usize>(this);
    const first = load<u32>(this.entry(0), PACKET);
    const left = this.count - 1;
    store<u32>(at, left);
    const last = this.entry(left);
    let i: u32 = 0;
    for (let child: u32 = 1; child < left; child = 2 * i + 1) {
      if (child + 1 < left && isBefore(this.entry(child + 1), this.entry(child))) child++;
      if (isBefore(last, this.entry(child))) break;
      memory.copy(this.entry(i), this.entry(child), ENTRY);
      i = child;
    }
    memory.copy(this.entry(i), last, ENTRY);
    return changetype<Packet>(<usize>first);
  }

  private entry(i: u32): usize {
    return changetype<usize>(this) + ENTRIES + <usize>i * ENTRY;
  }
}

function isBefore(a: usize, b: usize): bool {
  const timeA = load<u64>(a);
  const timeB = load<u64>(b);
  return timeA < timeB || (timeA == timeB && <i32>(load<u32>(a, ORDER) - load<u32>(b, ORDER)) < 0);
}
