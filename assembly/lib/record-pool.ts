// Fixed-size records in shared memory, taken and put back by any worker without a lock: a stack (Treiber 1986) of the
// records that came back, and before that a mark below which all have been handed out once, so that nothing has to be
// linked at the start. The memory must be zero.
//
//    0       4     8       12         16       20        24    64
//   +-------+-----+-------+----------+--------+---------+-----+----------+----------+--
//   | free  | tag | fresh | capacity | stride | records |     | record 0 | record 1 | ...     records: their address
//   +-------+-----+-------+----------+--------+---------+-----+----------+----------+--
//   free: index + 1 of the top; tag: counts changes, so that a compare-and-swap never takes an old top for the present
//   one. While a record is free, its 32 bits at RECORD_NEXT are the index + 1 of the next free one.

/** A record begins with these two, whoever uses it: see hash-table.ts. */
export const RECORD_KEY: usize = 0;
export const RECORD_NEXT: usize = 8;

const FREE: usize = 0;
const FRESH: usize = 8;
const HEADER: usize = 64;

@unmanaged
export class RecordPool {
  // These two change by atomics at FREE and FRESH only.
  free: u64;
  fresh: u32;
  capacity: u32;
  stride: u32;
  private records: u32;

  static bytes(capacity: u32, stride: u32): usize {
    return HEADER + <usize>capacity * <usize>stride;
  }

  /** @param stride bytes of a record, a multiple of 8, at least 16 */
  static format(at: usize, capacity: u32, stride: u32): RecordPool {
    const pool = changetype<RecordPool>(at);
    pool.capacity = capacity;
    pool.stride = stride;
    pool.records = <u32>(at + HEADER);
    return pool;
  }

  @inline at(index: u32): usize {
    return <usize>this.records + <usize>index * <usize>this.stride;
  }

  /** Where the next of link 0 would be, were there one: links of chains are index + 1 (chain.ts). */
  @inline get nexts(): usize {
    return <usize>this.records - <usize>this.stride + RECORD_NEXT;
  }

  @inline indexOf(record: usize): u32 {
    return (<u32>record - this.records) / this.stride;
  }

  /** Records below this index have been in use at least once; the others are all zero. */
  get used(): u32 {
    return min(atomic.load<u32>(changetype<usize>(this), FRESH), this.capacity);
  }

  /** Address of a record that is the caller's alone, or 0: all are in use. */
  take(): usize {
    const at = changetype<usize>(this);
    for (;;) {
      const top = atomic.load<u64>(at, FREE);
      if (<u32>top == 0) break;
      const record = this.at(<u32>top - 1);
      // May be stale if another worker took the record meanwhile; then the tag has changed and the swap fails.
      const next = atomic.load<u32>(record, RECORD_NEXT);
      if (atomic.cmpxchg<u64>(at, top, retagged(top, next), FREE) == top) return record;
    }
    // Looked at first, so that a full pool does not count up for ever.
    if (atomic.load<u32>(at, FRESH) >= this.capacity) return 0;
    const index = atomic.add<u32>(at, 1, FRESH);
    return index < this.capacity ? this.at(index) : 0;
  }

  /**
   * Takes records that were never used, one after the other, for record-stash.ts.
   * @param spare as many must be left then @returns the index of the first, or -1
   */
  reserve(count: u32, spare: u32): i32 {
    const at = changetype<usize>(this);
    if (atomic.load<u32>(at, FREE) != 0) return -1;
    const fresh = atomic.load<u32>(at, FRESH);
    if (fresh + count + spare > this.capacity) return -1;
    return atomic.cmpxchg<u32>(at, fresh, fresh + count, FRESH) == fresh ? <i32>fresh : -1;
  }

  put(record: usize): void {
    const at = changetype<usize>(this);
    const link = this.indexOf(record) + 1;
    for (;;) {
      const top = atomic.load<u64>(at, FREE);
      atomic.store<u32>(record, <u32>top, RECORD_NEXT);
      if (atomic.cmpxchg<u64>(at, top, retagged(top, link), FREE) == top) return;
    }
  }
}

function retagged(top: u64, link: u32): u64 {
  return (((top >> 32) + 1) << 32) | <u64>link;
}
