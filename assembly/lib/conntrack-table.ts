// Connections that all workers share, in a table of fixed size. Found from packets of both directions: a key names the two
// endpoints in the order of their numbers, and the record says which of them began.
//
//    0       8      12         16        20     24     28     32         64            then         then        then
//   +-------+------+----------+---------+------+------+------+----------+-------------+------------+-----------+---------+
//   | seed  | mask | capacity | buckets | ages | pool | hand | timeouts | u32 a class | buckets    | ages (u32 | Record- |
//   |       |      |          |         |      |      |      | (address)| of timeouts | (u32 each) | a record) | Pool    |
//   +-------+------+----------+---------+------+------+------+----------+-------------+------------+-----------+---------+
//    record, two cache lines; only TCP touches the second
//    0       8      12       16                        48                            56       64               128
//   +-------+------+--------+-------------------------+-----------------------------+--------+----------------+
//   | word  | next |        | addresses: lower, higher| ports: lower << 48 | higher | opened | the protocol's |
//   |       |      |        | (IPv4: one u64)         | << 32 | protocol << 8 | ... | (ms)   | own            |
//   +-------+------+--------+-------------------------+-----------------------------+--------+----------------+
//    word    bits 0-7 class (which timeout holds), 8-15 flags, 16-31 generation, 32-63 last use in UNITs of 134 ms
//    age     0: no connection; else bit 31: replied to, below: when it was opened, ms
//
// Who changes what: making and removing holds the lock of a bucket (its bit 31). The word changes by compare-and-swap only,
// and has a new generation when its record gets or loses a connection, so whoever acts on what a record was fails when it
// is something else now. While a word is LOCKED its record is one worker's (TCP's windows). Looking takes no lock: a reader
// that is led astray by a chain in change finds nothing, and whoever acts on that asks again under the lock.

import { RECORD_NEXT, RecordPool } from "./record-pool";

const HEADER: usize = 64;
const SEED: usize = 0;
const MASK: usize = 8;
const CAPACITY: usize = 12;
const BUCKETS: usize = 16;
const AGES: usize = 20;
const POOL: usize = 24;
const HAND: usize = 28;
const TIMEOUTS: usize = 64;
export const CLASSES: u32 = 16;

const RECORD: u32 = 128;
const RECORD_ADDRESSES: usize = 16;
const RECORD_TAIL: usize = 48;
const RECORD_OPENED: usize = 56;
/** Where the protocol's own 64 bytes begin. */
export const RECORD_OWN: usize = 64;

const CLASS: u64 = 0xff;
export const WORD_LIVE: u64 = 1 << 8;
const WORD_LOCKED: u64 = 1 << 9;
/** A packet came back. */
export const WORD_REPLIED: u64 = 1 << 10;
/** The endpoint with the lower number sent the first packet. */
export const WORD_LOWER_BEGAN: u64 = 1 << 11;
const GENERATION: u64 = 0xffff0000;
const GENERATION_ONE: u64 = 1 << 16;
/** 2^27 ns: a connection lives up to two units longer than its timeout, never shorter. */
const UNIT_SHIFT: u64 = 27;
const MS_SHIFT: u64 = 20;
const REPLIED: u32 = 1 << 31;

const BUCKET_LOCKED: u32 = 1 << 31;
const LONGEST_WALK: u32 = 64;
/** Some 20 ms: see held-locks.ts. */
const SPINS: u32 = 1 << 24;
/** Records that are looked at for one to give up: all of a small table. */
const WINDOW: u32 = 256;
const WINDOWS: u32 = 4;

export const MADE: i32 = 1;
/** Another worker was first. */
export const FOUND: i32 = 0;
export const FULL: i32 = -1;

/** The key of the packet at hand, see setKey. */
let key0: u64 = 0;
let key1: u64 = 0;
let key2: u64 = 0;
let key3: u64 = 0;
let tail: u64 = 0;
/** Record and word that find() or make() saw last. */
export let foundRecord: usize = 0;
export let foundWord: u64 = 0;
/** What else make() did: connections that nobody had answered and that made room, and those whose time was over. */
export let evictedByMake: u32 = 0;
export let endedByMake: u32 = 0;

/** Nothing was made. */
export function forgetMade(): void {
  evictedByMake = 0;
  endedByMake = 0;
}

/** What to look for. @param family 4 or 6: in IPv4, the first number is both addresses and the others are 0 */
export function setKey(
  a: u64,
  b: u64,
  c: u64,
  d: u64,
  ports: u32,
  protocol: u8,
  kind: u32,
  family: u32,
): void {
  key0 = a;
  key1 = b;
  key2 = c;
  key3 = d;
  tail = ((<u64>ports) << 32) | ((<u64>kind) << 16) | ((<u64>protocol) << 8) | <u64>family;
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
    RecordPool.format(at + recordsAt(capacity), capacity, RECORD);
    store<u32>(at, <u32>(at + recordsAt(capacity)), POOL);
    return changetype<ConntrackTable>(at);
  }

  /** @param ns after the last packet a connection of this class ends */
  setTimeout(timeoutClass: u32, ns: u64): void {
    const units = <u32>min<u64>((ns + ((1 << UNIT_SHIFT) - 1)) >> UNIT_SHIFT, 0x7fffffff);
    store<u32>(changetype<usize>(this) + ((<usize>timeoutClass) << 2), units + 1, TIMEOUTS);
  }

  @inline private get pool(): RecordPool {
    return changetype<RecordPool>(<usize>load<u32>(changetype<usize>(this), POOL));
  }

  /** Is there a connection of the key? Then foundRecord and foundWord are it. No lock. */
  find(now: u64): bool {
    const pool = this.pool;
    let link = atomic.load<u32>(this.bucket()) & ~BUCKET_LOCKED;
    for (let steps = LONGEST_WALK; link != 0 && steps != 0; steps--) {
      const record = pool.at(link - 1);
      const word = atomic.load<u64>(record);
      if ((word & WORD_LIVE) != 0 && isKey(record)) {
        // It was this connection all the while its key was compared, or it is none.
        const after = atomic.load<u64>(record);
        if (((word ^ after) & (GENERATION | WORD_LIVE)) == 0 && !this.hasEnded(after, now)) {
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
   * @param lowerBegan did the endpoint with the lower number send the packet
   * @returns MADE, FOUND (foundRecord and foundWord are what another worker made) or FULL
   */
  make(timeoutClass: u32, lowerBegan: bool, own: usize, now: u64): i32 {
    const pool = this.pool;
    forgetMade();
    let record = pool.take();
    if (record == 0) record = this.evict(now);
    if (record == 0) return FULL;
    const bucket = this.bucket();
    if (!lock(bucket)) {
      pool.put(record);
      return FULL;
    }
    let expired: usize = 0;
    let link = atomic.load<u32>(bucket) & ~BUCKET_LOCKED;
    while (link != 0) {
      const other = pool.at(link - 1);
      const word = atomic.load<u64>(other);
      if ((word & WORD_LIVE) != 0 && isKey(other)) {
        if (!this.hasEnded(word, now) || !endWord(other, word)) {
          unlock(bucket);
          // Nobody else ever saw it, so it has no age, and its place is free.
          pool.put(record);
          foundRecord = other;
          foundWord = word;
          return FOUND;
        }
        expired = other;
        break;
      }
      link = atomic.load<u32>(other, RECORD_NEXT);
    }
    if (expired != 0) {
      endedByMake++;
      this.unlink(bucket, expired);
      pool.put(expired);
    }
    store<u64>(record, key0, RECORD_ADDRESSES);
    store<u64>(record, key1, RECORD_ADDRESSES + 8);
    store<u64>(record, key2, RECORD_ADDRESSES + 16);
    store<u64>(record, key3, RECORD_ADDRESSES + 24);
    store<u64>(record, tail, RECORD_TAIL);
    const opened = <u32>(now >> MS_SHIFT);
    store<u32>(record, opened, RECORD_OPENED);
    if (own != 0) memory.copy(record + RECORD_OWN, own, 64);
    const generation = (atomic.load<u64>(record) + GENERATION_ONE) & GENERATION;
    const flags = WORD_LIVE | (lowerBegan ? WORD_LOWER_BEGAN : 0);
    const word = (unitsOf(now) << 32) | generation | flags | <u64>timeoutClass;
    atomic.store<u32>(record, atomic.load<u32>(bucket) & ~BUCKET_LOCKED, RECORD_NEXT);
    atomic.store<u64>(record, word);
    atomic.store<u32>(this.age(record), (opened & ~REPLIED) | 1);
    atomic.store<u32>(bucket, (pool.indexOf(record) + 1) | BUCKET_LOCKED);
    unlock(bucket);
    foundRecord = record;
    foundWord = word;
    return MADE;
  }

  /** ns from the first packet to `now`, in steps of 2^20. */
  @inline
  openFor(record: usize, now: u64): u64 {
    return (<u64>(<u32>(now >> MS_SHIFT) - load<u32>(record, RECORD_OPENED))) << MS_SHIFT;
  }

  /**
   * A packet of the connection at `record`, seen as `word`: from now on this class and these flags hold, and it begins
   * to time out anew. Fails, and does nothing, when the record has another connection now.
   */
  use(record: usize, word: u64, timeoutClass: u32, flags: u64, now: u64): void {
    const units = unitsOf(now) << 32;
    for (;;) {
      const used = units | (word & GENERATION) | (word & 0xff00) | flags | <u64>timeoutClass;
      // Most packets change nothing, so the line stays where it is.
      if (used == word || (word & WORD_LOCKED) != 0) return;
      const seen = atomic.cmpxchg<u64>(record, word, used);
      if (seen == word) {
        if ((used & ~word & WORD_REPLIED) != 0) this.markReplied(record);
        return;
      }
      if (((seen ^ word) & (GENERATION | WORD_LIVE)) != 0) return;
      word = seen;
    }
  }

  /** Makes the record at `foundRecord` this worker's until release(). @returns its word, or 0: the connection is gone */
  hold(): u64 {
    const generation = foundWord & GENERATION;
    for (let spins = SPINS; spins != 0; spins--) {
      const word = atomic.load<u64>(foundRecord);
      if ((word & (GENERATION | WORD_LIVE)) != (generation | WORD_LIVE)) return 0;
      if ((word & WORD_LOCKED) != 0) continue;
      if (atomic.cmpxchg<u64>(foundRecord, word, word | WORD_LOCKED) == word) return word;
    }
    return 0;
  }

  /** Lets go of foundRecord, as use() does when `isUsed`. @param word as hold() gave it */
  release(word: u64, timeoutClass: u32, flags: u64, isUsed: bool, now: u64): void {
    const last = isUsed ? unitsOf(now) << 32 : word & 0xffffffff00000000;
    const left = last | (word & GENERATION) | (word & 0xff00) | flags | <u64>timeoutClass;
    if ((left & ~word & WORD_REPLIED) != 0) this.markReplied(foundRecord);
    atomic.store<u64>(foundRecord, left);
  }

  /** Removes the connection seen last, if it is still that. */
  remove(): void {
    const word = atomic.load<u64>(foundRecord);
    if (((word ^ foundWord) & GENERATION) == 0) this.end(foundRecord, word, true);
  }

  /** Removes the connections that have ended among `count` records from `from` on, round and round. @returns how many */
  reap(from: u32, count: u32, now: u64): u32 {
    const pool = this.pool;
    const used = pool.used;
    let removed: u32 = 0;
    if (used == 0) return 0;
    from = from % used;
    for (let i = min(count, used); i != 0; i--) {
      const record = pool.at(from);
      if (++from == used) from = 0;
      if (atomic.load<u32>(this.age(record)) == 0) continue;
      const word = atomic.load<u64>(record);
      if (!this.hasEnded(word, now)) continue;
      if (this.end(record, word, true)) removed++;
    }
    return removed;
  }

  /**
   * Ends one of the connections that nobody answered, the oldest of those looked at; failing that, one whose time is over.
   * @returns its record, the caller's now, or 0
   */
  private evict(now: u64): usize {
    const pool = this.pool;
    const used = pool.used;
    const today = <u32>(now >> MS_SHIFT) & ~REPLIED;
    for (let windows = WINDOWS; windows != 0; windows--) {
      const length = min(WINDOW, used);
      let index = atomic.add<u32>(changetype<usize>(this) + HAND, length) % used;
      let oldest: i32 = -1;
      let chosen: u32 = 0;
      const start = index;
      for (let i = length; i != 0; i--) {
        const age = atomic.load<u32>(this.ageAt(index));
        if (age != 0 && (age & REPLIED) == 0) {
          const past = <i32>((today - age) & ~REPLIED);
          if (past > oldest) {
            oldest = past;
            chosen = index;
          }
        }
        if (++index == used) index = 0;
      }
      if (oldest >= 0) {
        const record = pool.at(chosen);
        const word = atomic.load<u64>(record);
        const isOver = this.hasEnded(word, now);
        if ((word & WORD_REPLIED) == 0 && this.end(record, word, false)) {
          if (isOver) endedByMake++;
          else evictedByMake++;
          return record;
        }
        continue;
      }
      index = start;
      for (let i = length; i != 0; i--) {
        const record = pool.at(index);
        if (++index == used) index = 0;
        if (atomic.load<u32>(this.age(record)) == 0) continue;
        const word = atomic.load<u64>(record);
        if (this.hasEnded(word, now) && this.end(record, word, false)) {
          endedByMake++;
          return record;
        }
      }
    }
    return 0;
  }

  /** Takes a connection out if its word is still `word`. @param isFreed does its record go back to the pool */
  private end(record: usize, word: u64, isFreed: bool): bool {
    if ((word & WORD_LIVE) == 0) return false;
    const bucket = this.bucketOf(
      load<u64>(record, RECORD_ADDRESSES),
      load<u64>(record, RECORD_ADDRESSES + 8),
      load<u64>(record, RECORD_ADDRESSES + 16),
      load<u64>(record, RECORD_ADDRESSES + 24),
      load<u64>(record, RECORD_TAIL),
    );
    if (!lock(bucket)) return false;
    // If the word is what it was, so was the key that the bucket was found by.
    const isEnded = endWord(record, word);
    if (isEnded) this.unlink(bucket, record);
    unlock(bucket);
    if (isEnded && isFreed) this.pool.put(record);
    return isEnded;
  }

  /** Needs the bucket's lock. */
  private unlink(bucket: usize, record: usize): void {
    const pool = this.pool;
    atomic.store<u32>(this.age(record), 0);
    const gone = pool.indexOf(record) + 1;
    const next = atomic.load<u32>(record, RECORD_NEXT);
    let link = atomic.load<u32>(bucket) & ~BUCKET_LOCKED;
    if (link == gone) {
      atomic.store<u32>(bucket, next | BUCKET_LOCKED);
      return;
    }
    while (link != 0) {
      const before = pool.at(link - 1);
      link = atomic.load<u32>(before, RECORD_NEXT);
      if (link == gone) {
        atomic.store<u32>(before, next, RECORD_NEXT);
        return;
      }
    }
  }

  private hasEnded(word: u64, now: u64): bool {
    const timeout = load<u32>(
      changetype<usize>(this) + ((<usize>(word & CLASS & <u64>(CLASSES - 1))) << 2),
      TIMEOUTS,
    );
    return (word & WORD_LOCKED) == 0 && <i32>(<u32>unitsOf(now) - <u32>(word >> 32) - timeout) > 0;
  }

  private markReplied(record: usize): void {
    const at = this.age(record);
    atomic.store<u32>(at, atomic.load<u32>(at) | REPLIED);
  }

  @inline private age(record: usize): usize {
    return this.ageAt(this.pool.indexOf(record));
  }
  @inline private ageAt(index: u32): usize {
    return <usize>load<u32>(changetype<usize>(this), AGES) + ((<usize>index) << 2);
  }

  @inline private bucket(): usize {
    return this.bucketOf(key0, key1, key2, key3, tail);
  }

  /** Multiply and xorshift as in splitmix64 (Steele, Lea, Flood 2014) over the key's words, with the seed. */
  @inline private bucketOf(a: u64, b: u64, c: u64, d: u64, e: u64): usize {
    let h = (a ^ load<u64>(changetype<usize>(this), SEED)) * 0xbf58476d1ce4e5b9;
    if ((e & 0xff) != 4) {
      h = (h ^ (h >> 29) ^ b) * 0x94d049bb133111eb;
      h = (h ^ (h >> 31) ^ c) * 0xbf58476d1ce4e5b9;
      h = (h ^ (h >> 30) ^ d) * 0x94d049bb133111eb;
    }
    h = (h ^ (h >> 31) ^ e) * 0x94d049bb133111eb;
    h ^= h >> 32;
    const index = <u32>h & load<u32>(changetype<usize>(this), MASK);
    return <usize>load<u32>(changetype<usize>(this), BUCKETS) + ((<usize>index) << 2);
  }
}

function isKey(record: usize): bool {
  if (load<u64>(record, RECORD_ADDRESSES) != key0 || load<u64>(record, RECORD_TAIL) != tail) return false;
  return (
    (tail & 0xff) == 4 ||
    (load<u64>(record, RECORD_ADDRESSES + 8) == key1 &&
      load<u64>(record, RECORD_ADDRESSES + 16) == key2 &&
      load<u64>(record, RECORD_ADDRESSES + 24) == key3)
  );
}

/** The record ceases to be a connection, unless its word has changed or is locked. */
function endWord(record: usize, word: u64): bool {
  if ((word & (WORD_LIVE | WORD_LOCKED)) != WORD_LIVE) return false;
  const ended = (word + GENERATION_ONE) & GENERATION;
  return atomic.cmpxchg<u64>(record, word, ended) == word;
}

function lock(bucket: usize): bool {
  for (let spins = SPINS; spins != 0; spins--) {
    const word = atomic.load<u32>(bucket);
    if ((word & BUCKET_LOCKED) != 0) continue;
    if (atomic.cmpxchg<u32>(bucket, word, word | BUCKET_LOCKED) == word) return true;
  }
  return false;
}

function unlock(bucket: usize): void {
  atomic.store<u32>(bucket, atomic.load<u32>(bucket) & ~BUCKET_LOCKED);
}

function unitsOf(now: u64): u64 {
  return (now >> UNIT_SHIFT) & 0xffffffff;
}

function buckets(capacity: u32): u32 {
  return capacity <= 16 ? 16 : (<u32>1) << (32 - clz<u32>(capacity - 1));
}

function agesAt(capacity: u32): usize {
  return HEADER + <usize>CLASSES * 4 + ((<usize>buckets(capacity)) << 2);
}

function recordsAt(capacity: u32): usize {
  return (agesAt(capacity) + ((<usize>capacity) << 2) + 63) & ~63;
}
