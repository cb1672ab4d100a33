// Finds 64-byte records by either of two tuples: what a packet of one direction shows, and one of the other. Shared by
// all workers. A hit costs two cache lines: that of the index and that of the record.
//
//    line of the index, 64 bytes
//    0                16                            48        52
//   +----------------+-----------------------------+---------+--------
//   | u16 tag x 8,   | u32 entry x 8:              | chain   | (free)      chain: head (chain.ts) of those that have no
//   | 0: none        | record's index * 4 + side   |         |             room in the line; links are entry + 1
//   +----------------+-----------------------------+---------+--------
//    record: side 0's tuple at 0, side 1's at 16; while in a chain, its next at 40, or 56 for side 1
//    0              8        12      16             24       28       32          40      44        56      60
//   +--------------+--------+-------+--------------+--------+--------+-----------+-------+---------+-------+-------
//   | a: 64 bits   | b: 32  | kind  | a            | b      | kind   | (user's)  | next 0| (user's)| next 1| (user's)
//   +--------------+--------+-------+--------------+--------+--------+-----------+-------+---------+-------+-------
//
// kind is never 0 in a tuple, and differs between the sides. Eight tags are compared at once. A line is half full on
// average when all records are in use; what does not fit is chained, so the table is full when the records are, not before.
//
// Reading takes no lock. A reader may see an entry whose record has become another: it compares the tuple, and whoever
// uses the record holds its generation against that (session-table.ts). A reader may miss what is moved meanwhile: so find()
// is a hint when it finds nothing, and whoever acts on absence is told by insert(), which locks the line.
//
// A worker that is ended while it holds a line leaves it sound: an entry is written before the tag that makes it one, taking it
// out is one store, and so it is with chains. What it leaves is a tuple that is there or not. Taking out one that is not is
// nothing; so whoever finds half of a record's tuples takes out both. But a record that is still in the index must not be used
// again: see remove().

import { chain, firstLink, LONGEST_WALK, lockChain, unchain, unlockChain } from "./chain";
import { RecordPool } from "./record-pool";

const HEADER: usize = 64;
const SEEDS: usize = 16;
const LINE_SHIFT: usize = 6;
const ENTRIES: usize = 16;
const CHAIN: usize = 48;
const NEXT: usize = 40;
export const SIDE: usize = 16;

@unmanaged
export class TupleIndex {
  private pool: u32;
  /** A hash's upper bits say which line. */
  shift: u32;

  /** For `capacity` records, two entries each: four to eight bytes of line an entry. */
  static bytes(capacity: u32): usize {
    return HEADER + ((<usize>lines(capacity)) << LINE_SHIFT);
  }

  /** @param records of 64 bytes; @param seed random, so that nobody outside can aim for one line */
  static format(at: usize, records: RecordPool, seed: u64): TupleIndex {
    const index = changetype<TupleIndex>(at);
    index.pool = <u32>changetype<usize>(records);
    index.shift = <u32>(clz<u32>(lines(records.capacity)) + 1);
    for (let i: usize = 0; i < 5; i++) {
      seed = mix(seed + 0x9e3779b97f4a7c15);
      store<u64>(at + (i << 3), seed, SEEDS);
    }
    return index;
  }

  @inline get records(): RecordPool {
    return changetype<RecordPool>(<usize>this.pool);
  }

  /** Address of the first line. */
  @inline get lines(): usize {
    return changetype<usize>(this) + HEADER;
  }

  /** One of the five random numbers of hashOf. */
  @inline seed(i: usize): u64 {
    return load<u64>(changetype<usize>(this) + (i << 3), SEEDS);
  }

  hash(a: u64, b: u64): u32 {
    return TupleIndex.hashOf(a, b, this.seed(0), this.seed(1), this.seed(2), this.seed(3), this.seed(4));
  }

  @inline lineOf(hash: u32): usize {
    return this.lines + ((<usize>(hash >> this.shift)) << LINE_SHIFT);
  }

  /** Address of an entry's tuple. */
  @inline tupleOf(entry: u32): usize {
    return this.records.at(0) + <usize>entry * SIDE;
  }

  /** Address of the first tuple of a line whose tag is that of a hash, or 0: none is. */
  @inline firstLike(line: usize, hash: u32): usize {
    const like = i16x8.eq(v128.load(line), i16x8.splat(<i16>TupleIndex.tagOf(hash)));
    // Two bits a tag, an entry has twice the bytes of one.
    const hits = <u32>i8x16.bitmask(like);
    if (hits == 0) return 0;
    return this.tupleOf(load<u32>(line + ((<usize>ctz<u32>(hits)) << 1), ENTRIES));
  }

  /** Address of the tuple, in its record, or 0: none was seen. */
  find(hash: u32, a: u64, b: u64): usize {
    const line = this.lineOf(hash);
    for (let hits = TupleIndex.matches(line, TupleIndex.tagOf(hash)); hits != 0; hits &= hits - 1) {
      const tuple = this.tupleOf(TupleIndex.entryAt(line, ctz<u32>(hits)));
      if (isTuple(tuple, a, b)) return tuple;
    }
    let link = firstLink(line + CHAIN);
    for (let steps = LONGEST_WALK; link != 0 && steps != 0; steps--) {
      const tuple = this.tupleOf(link - 1);
      if (isTuple(tuple, a, b)) return tuple;
      link = atomic.load<u32>(this.nextOf(link - 1));
    }
    return 0;
  }

  /**
   * Makes a record's tuple of one side be found; all of it must have been written, and released by a store of atomics.
   * @returns false: another record has the same one, or the line's lock was not to be had
   */
  insert(hash: u32, record: usize, side: u32): bool {
    const line = this.lineOf(hash);
    if (!lockChain(line + CHAIN)) return false;
    const tuple = record + <usize>side * SIDE;
    const fits = !this.isThere(line, hash, load<u64>(tuple), load<u64>(tuple, 8));
    if (fits) this.place(line, hash, this.entryOf(record, side));
    unlockChain(line + CHAIN);
    return fits;
  }

  /**
   * The record's tuple of one side is found no longer; nor is it if it never was.
   * @returns false: the line's lock was not to be had. The entry may still name the record, which must be kept from becoming
   * another until this has been done again: its next would lead from one chain into another.
   */
  remove(hash: u32, record: usize, side: u32): bool {
    const line = this.lineOf(hash);
    if (!lockChain(line + CHAIN)) return false;
    this.take(line, hash, this.entryOf(record, side));
    unlockChain(line + CHAIN);
    return true;
  }

  /**
   * Pair-multiply-shift (Thorup 2015, "High Speed Hashing for Integers and Strings", 3.5): strongly universal for whoever
   * does not know the seeds, with a multiplication for two words. The upper bits are the line, the lower ones the tag.
   */
  @inline static hashOf(a: u64, b: u64, s0: u64, s1: u64, s2: u64, s3: u64, s4: u64): u32 {
    const first = ((a & 0xffffffff) + s1) * ((a >> 32) + s2);
    const second = ((b & 0xffffffff) + s3) * ((b >> 32) + s4);
    return <u32>((s0 + first + second) >> 32);
  }

  @inline static tagOf(hash: u32): u32 {
    return hash | 0x8000;
  }

  /** A bit for each of a line's eight tags that is this one. */
  @inline static matches(line: usize, tag: u32): u32 {
    return <u32>i16x8.bitmask(i16x8.eq(v128.load(line), i16x8.splat(<i16>tag)));
  }

  @inline static entryAt(line: usize, i: u32): u32 {
    return load<u32>(line + ((<usize>i) << 2), ENTRIES);
  }

  private isThere(line: usize, hash: u32, a: u64, b: u64): bool {
    for (let hits = TupleIndex.matches(line, TupleIndex.tagOf(hash)); hits != 0; hits &= hits - 1) {
      if (isTuple(this.tupleOf(TupleIndex.entryAt(line, ctz<u32>(hits))), a, b)) return true;
    }
    for (let link = firstLink(line + CHAIN); link != 0; ) {
      if (isTuple(this.tupleOf(link - 1), a, b)) return true;
      link = atomic.load<u32>(this.nextOf(link - 1));
    }
    return false;
  }

  private place(line: usize, hash: u32, entry: u32): void {
    const free = TupleIndex.matches(line, 0);
    if (free != 0) {
      const i = <usize>ctz<u32>(free);
      // Plain: the lock has been taken since the record was released, and who sees the tag with what stood there before compares
      // another tuple.
      store<u32>(line + (i << 2), entry, ENTRIES);
      store<u16>(line + (i << 1), <u16>TupleIndex.tagOf(hash));
      return;
    }
    chain(line + CHAIN, entry + 1, this.nextOf(entry));
  }

  private take(line: usize, hash: u32, entry: u32): void {
    for (let hits = TupleIndex.matches(line, TupleIndex.tagOf(hash)); hits != 0; hits &= hits - 1) {
      const i = <usize>ctz<u32>(hits);
      if (TupleIndex.entryAt(line, <u32>i) != entry) continue;
      atomic.store<u16>(line + (i << 1), 0);
      return;
    }
    unchain(line + CHAIN, entry + 1, this.nextOf(0) - SIDE, SIDE);
  }

  /** A record's index * 4 + side: the address of one of 64 bytes says it without a division. */
  @inline private entryOf(record: usize, side: u32): u32 {
    return <u32>((record - this.records.at(0)) >> 4) | side;
  }

  @inline private nextOf(entry: u32): usize {
    return this.tupleOf(entry) + NEXT;
  }
}

function isTuple(tuple: usize, a: u64, b: u64): bool {
  return atomic.load<u64>(tuple) == a && atomic.load<u64>(tuple, 8) == b;
}

/** A power of two, two to four entries a line when full, up to 2^22 records. */
function lines(capacity: u32): u32 {
  const wanted = (capacity + 1) >> 1;
  return wanted <= 4 ? 4 : (<u32>1) << (32 - clz<u32>(wanted - 1));
}

/** The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
function mix(z: u64): u64 {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
