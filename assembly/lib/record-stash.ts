// Records that a worker takes from a pool for a batch, all at once, so that workers which make many do not wait for each other's
// every one, and write to lines and pages of their own. What is left of them when the batch is over goes back, or, where the worker
// was ended in between, when the one in its place begins. One worker's own; zeroed memory is an empty one.
//
//    0      4     8
//   +------+-----+        indexes of records that were never used: next up to end
//   | next | end |
//   +------+-----+
//
// They are not read before they are written: the first read of memory that nobody has written maps the kernel's page of zeros, which
// the first write then replaces on all cores.

import { RecordPool } from "./record-pool";

/** So many are left to others, or none is taken in advance: nobody is told that a pool is empty when it is not. */
const SPARE: u32 = 4096;

@unmanaged
export class RecordStash {
  private next: u32;
  private end: u32;

  static readonly BYTES: usize = 8;

  @inline static at(address: usize): RecordStash {
    return changetype<RecordStash>(address);
  }

  /** Takes records in advance where the pool has many that were never used, unless it has some. */
  fill(pool: RecordPool, count: u32): void {
    const first = this.next == this.end ? pool.reserve(count, SPARE) : -1;
    if (first < 0) return;
    // In this order: a worker that is ended in between loses them, but has none that are not its own.
    this.next = this.end = <u32>first + count;
    this.next = <u32>first;
  }

  /** As RecordPool.take. */
  take(pool: RecordPool): usize {
    const next = this.next;
    if (next == this.end) return pool.take();
    this.next = next + 1;
    return pool.at(next);
  }

  /** Those that were not used. */
  giveBack(pool: RecordPool): void {
    for (let next = this.next; next != this.end; ) {
      this.next = next + 1;
      pool.put(pool.at(next));
      next = this.next;
    }
  }
}
