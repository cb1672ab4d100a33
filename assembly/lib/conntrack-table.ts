// Connections that all workers share, in a table of fixed size. Found from packets of both directions.
//
//    0       8      12         16        20     24     28     32     64            then         then        then     then
//   +-------+------+----------+---------+------+------+------+------+-------------+------------+-----------+--------+---------+
//   | seed  | mask | capacity | buckets | ages | pool | hand | ring | u32 a class | buckets    | ages (u32 | Ring   | Record- |
//   |       |      |          |         |      |      |      |      | of timeouts | (u32 each) | a record) |        | Pool    |
//   +-------+------+----------+---------+------+------+------+------+-------------+------------+-----------+--------+---------+
//    record  conntrack-record.ts
//    age     0: no connection; else bit 31: replied to, below: when it was opened, ms
//    ring    conntrack-ring.ts
//
// Who changes what: making and removing holds the lock of a bucket, a chain (chain.ts). Looking takes no lock: a reader that is
// led astray finds nothing, and whoever acts on that asks again under the lock.
//
// A worker may be ended while it holds a bucket. A connection begins in this order: key, word, age, chain; and ends so: word,
// chain, age, pool. So what has an age is live, or on its way into the pool, and restore() puts it there: conntrack-expiry.ts
// comes by. Lost for good is a record that has no age then: one that was just taken, or is about to be put back.

import { chain, firstLink, LONGEST_WALK, lockChain, unchain, unlockChain } from "./chain";
import { hashOfKey, hashOfKeyAt, isKey, writeKey } from "./conntrack-key";
import {
  beginWord,
  endWord,
  holdRecord,
  isOneConnection,
  RECORD,
  RECORD_KEY_AT,
  RECORD_OPENED,
  RECORD_OWN,
  releaseRecord,
  UNIT_SHIFT,
  unitsOf,
  useRecord,
  WORD_HELD,
  WORD_LIVE,
  WORD_LOWER_BEGAN,
  WORD_REPLIED,
} from "./conntrack-record";
import { ConntrackRing } from "./conntrack-ring";
import { RECORD_NEXT, RecordPool } from "./record-pool";

const HEADER: usize = 64;
const SEED: usize = 0;
const MASK: usize = 8;
const CAPACITY: usize = 12;
const BUCKETS: usize = 16;
const AGES: usize = 20;
const POOL: usize = 24;
/** Where conntrack-expiry.ts looks next for one that may make room. */
export const TABLE_HAND: usize = 28;
const RING: usize = 32;
const TIMEOUTS: usize = 64;
export const CLASSES: u32 = 16;
const CLASS: u64 = 0xff;
const MS_SHIFT: u64 = 20;
export const AGE_REPLIED: u32 = 1 << 31;

export const MADE: i32 = 1;
/** Another worker was first. */
export const FOUND: i32 = 0;
export const FULL: i32 = -1;

/** Record and word that find() or make() saw last. */
export let foundRecord: usize = 0;
export let foundWord: u64 = 0;
/** Did make() end a connection of the same key, whose time was over? */
export let endedByMake: u32 = 0;

/** Nothing was made. */
export function forgetMade(): void {
  endedByMake = 0;
}

@unmanaged
export class ConntrackTable {
  /** @param capacity most connections, 1 to 2^24 */
  static bytes(capacity: u32): usize {
    return recordsAt(capacity) + RecordPool.bytes(capacity, RECORD);
  }

  /** Once, in zeroed shared memory, at a multiple of 64, before any worker looks. @param seed random */
  static format(at: usize, capacity: u32, seed: u64): ConntrackTable {
    store<u64>(at, seed, SEED);
    store<u32>(at, buckets(capacity) - 1, MASK);
    store<u32>(at, capacity, CAPACITY);
    store<u32>(at, <u32>(at + HEADER + CLASSES * 4), BUCKETS);
    store<u32>(at, <u32>(at + agesAt(capacity)), AGES);
    ConntrackRing.format(at + ringAt(capacity), capacity);
    store<u32>(at, <u32>(at + ringAt(capacity)), RING);
    RecordPool.format(at + recordsAt(capacity), capacity, RECORD);
    store<u32>(at, <u32>(at + recordsAt(capacity)), POOL);
    return changetype<ConntrackTable>(at);
  }

  /** @param ns after the last packet a connection of this class ends */
  setTimeout(timeoutClass: u32, ns: u64): void {
    const units = <u32>min<u64>((ns + ((1 << UNIT_SHIFT) - 1)) >> UNIT_SHIFT, 0x7fffffff);
    store<u32>(changetype<usize>(this) + ((<usize>timeoutClass) << 2), units + 1, TIMEOUTS);
  }

  @inline get pool(): RecordPool {
    return changetype<RecordPool>(<usize>load<u32>(changetype<usize>(this), POOL));
  }

  /** In the order in which they began. */
  @inline get ring(): ConntrackRing {
    return ConntrackRing.at(<usize>load<u32>(changetype<usize>(this), RING));
  }

  /** Is there a connection of the key? Then foundRecord and foundWord are it. No lock. */
  find(now: u64): bool {
    const pool = this.pool;
    let link = firstLink(this.bucketOf(hashOfKey(this.seed)));
    for (let steps = LONGEST_WALK; link != 0 && steps != 0; steps--) {
      const record = pool.at(link - 1);
      const word = atomic.load<u64>(record);
      if ((word & WORD_LIVE) != 0 && isKey(record + RECORD_KEY_AT)) {
        // It was this connection all the while its key was compared, or it is none.
        const after = atomic.load<u64>(record);
        if (isOneConnection(word, after) && !this.hasEnded(after, now)) {
          foundRecord = record;
          foundWord = after;
          return true;
        }
      }
      link = atomic.load<u32>(record, RECORD_NEXT);
    }
    return false;
  }

  /**
   * Makes the connection of the key. What is the protocol's own is written before others see it: its 64 bytes are
   * copied from `own`, unless that is 0.
   * @param record of the pool, the caller's, or 0; given back if it is not used
   * @param lowerBegan did the endpoint with the lower number send the packet
   * @returns MADE, FOUND (foundRecord and foundWord are what another worker made) or FULL
   */
  make(record: usize, timeoutClass: u32, lowerBegan: bool, own: usize, now: u64): i32 {
    const pool = this.pool;
    forgetMade();
    if (record == 0) return FULL;
    const bucket = this.bucketOf(hashOfKey(this.seed));
    if (!lockChain(bucket)) {
      pool.put(record);
      return FULL;
    }
    for (let link = firstLink(bucket); link != 0; ) {
      const other = pool.at(link - 1);
      const word = atomic.load<u64>(other);
      link = atomic.load<u32>(other, RECORD_NEXT);
      if ((word & WORD_LIVE) == 0 || !isKey(other + RECORD_KEY_AT)) continue;
      if (!this.hasEnded(word, now) || !endWord(other, word)) {
        unlockChain(bucket);
        // Nobody else ever saw it, so it has no age, and its place is free.
        pool.put(record);
        foundRecord = other;
        foundWord = word;
        return FOUND;
      }
      endedByMake++;
      this.unlink(bucket, other);
      pool.put(other);
      break;
    }
    writeKey(record + RECORD_KEY_AT);
    const opened = <u32>(now >> MS_SHIFT);
    store<u32>(record, opened, RECORD_OPENED);
    if (own != 0) memory.copy(record + RECORD_OWN, own, 64);
    const flags = lowerBegan ? WORD_LOWER_BEGAN : 0;
    const word = beginWord(atomic.load<u64>(record), timeoutClass, flags, now);
    atomic.store<u64>(record, word);
    atomic.store<u32>(this.ageAt(pool.indexOf(record)), (opened & ~AGE_REPLIED) | 1);
    chain(bucket, pool.indexOf(record) + 1, record + RECORD_NEXT);
    unlockChain(bucket);
    this.ring.append(pool.indexOf(record), word);
    foundRecord = record;
    foundWord = word;
    return MADE;
  }

  /** ns from the first packet to `now`, in steps of 2^20. */
  @inline
  openFor(record: usize, now: u64): u64 {
    return (<u64>(<u32>(now >> MS_SHIFT) - load<u32>(record, RECORD_OPENED))) << MS_SHIFT;
  }

  /** A packet of the connection at `record`, seen as `word`: see useRecord. */
  use(record: usize, word: u64, timeoutClass: u32, flags: u64, now: u64): void {
    if (useRecord(record, word, timeoutClass, flags, now)) this.markReplied(record);
  }

  /** Makes the record at `foundRecord` this worker's until release(): see holdRecord. */
  @inline
  hold(): u64 {
    return holdRecord(foundRecord, foundWord);
  }

  /** Lets go of foundRecord, as use() does when `isUsed`. @param word as hold() gave it */
  @inline
  release(word: u64, timeoutClass: u32, flags: u64, isUsed: bool, now: u64): void {
    if ((flags & ~word & WORD_REPLIED) != 0) this.markReplied(foundRecord);
    releaseRecord(foundRecord, word, timeoutClass, flags, isUsed, now);
  }

  /** Removes the connection seen last, if it is still that. */
  remove(): void {
    const word = atomic.load<u64>(foundRecord);
    if (!isOneConnection(foundWord, word)) return;
    if (this.end(foundRecord, word)) this.pool.put(foundRecord);
  }

  /** Takes a connection out if its word is still `word`. @returns is its record the caller's now? */
  end(record: usize, word: u64): bool {
    if ((word & WORD_LIVE) == 0) return false;
    const bucket = this.bucketOf(hashOfKeyAt(record + RECORD_KEY_AT, this.seed));
    if (!lockChain(bucket)) return false;
    // If the word is what it was, so was the key that the bucket was found by.
    const isEnded = endWord(record, word);
    if (isEnded) this.unlink(bucket, record);
    unlockChain(bucket);
    return isEnded;
  }

  /**
   * Takes out what is no connection and has an age: its worker was ended while it took it out.
   * @returns is its record the caller's now?
   */
  restore(record: usize): bool {
    const bucket = this.bucketOf(hashOfKeyAt(record + RECORD_KEY_AT, this.seed));
    if (!lockChain(bucket)) return false;
    // In this order: what had an age last, and was not live all the while, had its key, and who ends it needs the key's bucket.
    const word = atomic.load<u64>(record);
    const isLeft =
      (word & WORD_LIVE) == 0 &&
      this.bucketOf(hashOfKeyAt(record + RECORD_KEY_AT, this.seed)) == bucket &&
      atomic.load<u32>(this.ageAt(this.pool.indexOf(record))) != 0 &&
      atomic.load<u64>(record) == word;
    if (isLeft) this.unlink(bucket, record);
    unlockChain(bucket);
    return isLeft;
  }

  /** Needs the bucket's lock. */
  private unlink(bucket: usize, record: usize): void {
    const pool = this.pool;
    const index = pool.indexOf(record);
    unchain(bucket, index + 1, pool.nexts, RECORD);
    atomic.store<u32>(this.ageAt(index), 0);
  }

  hasEnded(word: u64, now: u64): bool {
    const timeout = load<u32>(
      changetype<usize>(this) + ((<usize>(word & CLASS & <u64>(CLASSES - 1))) << 2),
      TIMEOUTS,
    );
    return (word & WORD_HELD) == 0 && <i32>(<u32>unitsOf(now) - <u32>(word >> 32) - timeout) > 0;
  }

  /** Unless it has ended meanwhile: what has no age gets none here. */
  private markReplied(record: usize): void {
    const at = this.ageAt(this.pool.indexOf(record));
    const age = atomic.load<u32>(at);
    if (age != 0) atomic.cmpxchg<u32>(at, age, age | AGE_REPLIED);
  }

  @inline ageAt(index: u32): usize {
    return <usize>load<u32>(changetype<usize>(this), AGES) + ((<usize>index) << 2);
  }

  /** As ages have it. */
  @inline static msOf(now: u64): u32 {
    return <u32>(now >> MS_SHIFT) & ~AGE_REPLIED;
  }

  @inline private get seed(): u64 {
    return load<u64>(changetype<usize>(this), SEED);
  }

  @inline private bucketOf(hash: u32): usize {
    const index = hash & load<u32>(changetype<usize>(this), MASK);
    return <usize>load<u32>(changetype<usize>(this), BUCKETS) + ((<usize>index) << 2);
  }
}

function buckets(capacity: u32): u32 {
  return capacity <= 16 ? 16 : (<u32>1) << (32 - clz<u32>(capacity - 1));
}

function agesAt(capacity: u32): usize {
  return HEADER + <usize>CLASSES * 4 + ((<usize>buckets(capacity)) << 2);
}

function ringAt(capacity: u32): usize {
  return (agesAt(capacity) + ((<usize>capacity) << 2) + 63) & ~63;
}

function recordsAt(capacity: u32): usize {
  return ringAt(capacity) + ConntrackRing.bytes(capacity);
}
