// The connections of a table in the order in which they began, so that where there is no room for another the oldest one that
// nobody has answered makes it. Any worker appends and takes without a lock. The memory must be zero.
//
//    0      8      16     64     72     128
//   +------+------+------+------+------+-------------------+     tail, head: positions, which only grow (u64)
//   | tail | size |      | head |      | entries, u64 each |     size: a power of two, not fewer than the table has records
//   +------+------+------+------+------+-------------------+     position p is entry p % size
//    entry   bits 0-23 index of the record, 24-38 generation of its word, 39-63 its position + 1
//
// An entry is a hint: who takes it asks the record whether it still has that connection. Nothing takes an entry out that was
// answered or has ended; it goes when it is taken, or when the tail comes round to it: then only the last `size` that began
// are known here. A place that is reserved and not yet written shows another position. It is waited for, by taking nothing,
// until the tail is PATIENCE further on: its worker was ended in between, and that connection is in no ring.

/** Not live, and no position: what takeOldest() says of an empty ring. */
export const NO_ENTRY: u64 = 0;
/** So many have begun behind one that is not written before it is passed over. Less than the smallest ring has. */
const PATIENCE: u64 = 32;
const SMALLEST: u32 = 64;

const TAIL: usize = 0;
const SIZE: usize = 8;
const HEAD: usize = 64;
const ENTRIES: usize = 128;

const INDEX: u64 = 0xffffff;
const WORD_GENERATION: u64 = 0x7fff0000;
const GENERATION_SHIFT: u64 = 8;
const POSITION_SHIFT: u64 = 39;

@unmanaged
export class ConntrackRing {
  /** A multiple of 64. @param capacity records of the table, 1 to 2^24 */
  static bytes(capacity: u32): usize {
    return ENTRIES + ((<usize>sizeFor(capacity)) << 3);
  }

  static format(at: usize, capacity: u32): void {
    store<u32>(at, sizeFor(capacity), SIZE);
  }

  @inline static at(address: usize): ConntrackRing {
    return changetype<ConntrackRing>(address);
  }

  /** A connection began. @param index of its record @param word of the record since then */
  append(index: u32, word: u64): void {
    const position = atomic.add<u64>(changetype<usize>(this), 1, TAIL);
    const entry = <u64>index | ((word & WORD_GENERATION) << GENERATION_SHIFT) | markOf(position);
    // No atomic, which would cost as much again: who sees it late, or half of it, asks the record all the same.
    store<u64>(this.entryAt(position), entry);
  }

  /** Takes the entry that has been here longest. @returns NO_ENTRY: there is none, or it is not written yet */
  takeOldest(): u64 {
    const at = changetype<usize>(this);
    const size = <u64>load<u32>(at, SIZE);
    // In this order: a tail that is read after a head is not before it.
    let head = atomic.load<u64>(at, HEAD);
    let tail = atomic.load<u64>(at, TAIL);
    while (head != tail) {
      let next = head + 1;
      let entry = NO_ENTRY;
      if (tail - head > size) {
        next = tail - size;
      } else {
        entry = atomic.load<u64>(this.entryAt(head));
        if ((entry ^ markOf(head)) >> POSITION_SHIFT != 0) {
          if (tail - head <= PATIENCE) return NO_ENTRY;
          entry = NO_ENTRY;
        }
      }
      if (atomic.cmpxchg<u64>(at, head, next, HEAD) == head && entry != NO_ENTRY) return entry;
      head = atomic.load<u64>(at, HEAD);
      tail = atomic.load<u64>(at, TAIL);
    }
    return NO_ENTRY;
  }

  @inline private entryAt(position: u64): usize {
    const index = <u32>position & (load<u32>(changetype<usize>(this), SIZE) - 1);
    return changetype<usize>(this) + ENTRIES + ((<usize>index) << 3);
  }
}

export function entryIndex(entry: u64): u32 {
  return <u32>(entry & INDEX);
}

/** Does the record whose word this is have the connection of the entry, or none? */
export function isEntryOf(entry: u64, word: u64): bool {
  return (((entry >> GENERATION_SHIFT) ^ word) & WORD_GENERATION) == 0;
}

function markOf(position: u64): u64 {
  return (position + 1) << POSITION_SHIFT;
}

function sizeFor(capacity: u32): u32 {
  return capacity <= SMALLEST ? SMALLEST : (<u32>1) << (32 - clz<u32>(capacity - 1));
}
