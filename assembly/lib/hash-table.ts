// A hash table of records that all workers share. Chained: each bucket is one word, so a cache line holds 16, and the
// table is full when the records are, not before. Reading takes no lock; changing a chain locks its bucket alone.
//
//    0       8      12        64        68
//   +-------+------+---------+---------+---------+--            bucket: head of a chain (chain.ts) whose links are
//   | seed  | mask | records | bucket 0| bucket 1| ...                  index + 1 of the records
//   +-------+------+---------+---------+---------+--
//    record (of a RecordPool)
//    0                8                     12
//   +----------------+---------------------+-------
//   | key, 0: none   | next: index + 1     | the user's
//   +----------------+---------------------+-------
//
// A reader that walks a chain while a record of it is removed and used again may end up in another chain. It then
// misses what is there, but never finds what is not: keys are compared. So find() is a hint when it finds nothing;
// whoever acts on absence asks again under the lock. A record that was found may be removed at any moment after: what
// is read from it must be validated by the user (mapping-table.ts does it by a generation).

import { chain, firstLink, LONGEST_WALK, lockChain, unchain, unlockChain } from "./chain";
import { RECORD_KEY, RECORD_NEXT, RecordPool } from "./record-pool";

const HEADER: usize = 64;

@unmanaged
export class HashTable {
  private seed: u64;
  private mask: u32;
  private pool: u32;

  /** Bytes of a table for `capacity` records: a bucket each, rounded up to a power of two. */
  static bytes(capacity: u32): usize {
    return HEADER + ((<usize>buckets(capacity)) << 2);
  }

  /** @param seed random, so that nobody outside can aim for one bucket */
  static format(at: usize, pool: RecordPool, seed: u64): HashTable {
    const table = changetype<HashTable>(at);
    table.seed = seed;
    table.mask = buckets(pool.capacity) - 1;
    table.pool = <u32>changetype<usize>(pool);
    return table;
  }

  @inline get records(): RecordPool {
    return changetype<RecordPool>(<usize>this.pool);
  }

  /** The record with this key, or 0: none was seen. */
  find(key: u64): usize {
    const pool = this.records;
    let link = firstLink(this.bucket(key));
    for (let steps = LONGEST_WALK; link != 0 && steps != 0; steps--) {
      const record = pool.at(link - 1);
      if (atomic.load<u64>(record, RECORD_KEY) == key) return record;
      link = atomic.load<u32>(record, RECORD_NEXT);
    }
    return 0;
  }

  /**
   * Locks the chain that the key belongs to.
   * @returns the bucket, for the functions below, or 0: its holder did not let go for some 20 ms, or had not before in this batch
   */
  lock(key: u64): usize {
    const bucket = this.bucket(key);
    return lockChain(bucket) ? bucket : 0;
  }

  @inline unlock(bucket: usize): void {
    unlockChain(bucket);
  }

  /** Needs the lock. The record with this key, or 0: there is none. */
  findLocked(bucket: usize, key: u64): usize {
    const pool = this.records;
    for (let link = firstLink(bucket); link != 0; ) {
      const record = pool.at(link - 1);
      if (atomic.load<u64>(record, RECORD_KEY) == key) return record;
      link = atomic.load<u32>(record, RECORD_NEXT);
    }
    return 0;
  }

  /** Needs the lock, and that the key is absent. Readers see the record, complete, when this returns. */
  insertLocked(bucket: usize, record: usize, key: u64): void {
    atomic.store<u64>(record, key, RECORD_KEY);
    chain(bucket, this.records.indexOf(record) + 1, record + RECORD_NEXT);
  }

  /** Needs the lock, and that the record is in this chain. It stays the caller's: put it back to the pool. */
  removeLocked(bucket: usize, record: usize): void {
    const pool = this.records;
    unchain(bucket, pool.indexOf(record) + 1, pool.nexts, pool.stride);
    atomic.store<u64>(record, 0, RECORD_KEY);
  }

  /** Where lock() and find() will look first, and, if there is one, the first record there: to touch before they do. */
  @inline placeOf(key: u64): usize {
    return this.bucket(key);
  }
  @inline firstOf(place: usize): usize {
    const link = firstLink(place);
    return link == 0 ? place : this.records.at(link - 1);
  }

  /** Address of the bucket: the finalizer of MurmurHash3 (Appleby) over the key and the seed. */
  @inline private bucket(key: u64): usize {
    let h = key ^ this.seed;
    h = (h ^ (h >> 33)) * 0xff51afd7ed558ccd;
    h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
    h ^= h >> 33;
    return changetype<usize>(this) + HEADER + ((<usize>(<u32>h & this.mask)) << 2);
  }
}

function buckets(capacity: u32): u32 {
  return capacity <= 16 ? 16 : (<u32>1) << (32 - clz<u32>(capacity - 1));
}
