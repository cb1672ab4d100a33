// One connection in the table (conntrack-table.ts): its record, two cache lines, of which only TCP touches the second.
//
//    0       8      12       16                    56       64               128
//   +-------+------+--------+---------------------+--------+----------------+
//   | word  | next |        | key                 | opened | the protocol's |
//   |       |      |        | (conntrack-key.ts)  | (ms)   | own            |
//   +-------+------+--------+---------------------+--------+----------------+
//    word    bits 0-7 class (which timeout holds), 8-15 flags, 16-30 generation, 31 held, 32-63 last use in UNITs of 134 ms
//
// The word changes by compare-and-swap only, and has a new generation when its record gets or loses a connection, so whoever
// acts on what a record was fails when it is something else now. While a word is HELD its record is one worker's (TCP's
// windows). If that one is ended meanwhile, the host lets go of the record: what conntrack-tcp.ts has kept of the segment until
// then only widens the windows, and the connection is in the state that it was in before.

import { giveUp, LOCK_BIT_31, OnlyLock, patience } from "./held-locks";

export const RECORD: u32 = 128;
export const RECORD_KEY_AT: usize = 16;
export const RECORD_OPENED: usize = 56;
/** Where the protocol's own 64 bytes begin. */
export const RECORD_OWN: usize = 64;

export const WORD_LIVE: u64 = 1 << 8;
/** A packet came back. */
export const WORD_REPLIED: u64 = 1 << 10;
/** The endpoint with the lower number sent the first packet. */
export const WORD_LOWER_BEGAN: u64 = 1 << 11;
export const WORD_HELD: u64 = 0x80000000;
const FLAGS: u64 = 0xff00;
const GENERATION: u64 = 0x7fff0000;
const GENERATION_ONE: u64 = 1 << 16;
/** 2^27 ns: a connection lives up to two units longer than its timeout, never shorter. */
export const UNIT_SHIFT: u64 = 27;

/** The times in which last uses are kept. */
export function unitsOf(now: u64): u64 {
  return (now >> UNIT_SHIFT) & 0xffffffff;
}

/** Are two words of one connection, which is live? */
export function isOneConnection(word: u64, other: u64): bool {
  return (word & WORD_LIVE) != 0 && ((word ^ other) & (GENERATION | WORD_LIVE)) == 0;
}

/** The word of a connection that begins in a record, whose word is `before`. */
export function beginWord(before: u64, timeoutClass: u32, flags: u64, now: u64): u64 {
  return (unitsOf(now) << 32) | nextGeneration(before) | WORD_LIVE | flags | <u64>timeoutClass;
}

/** The record ceases to be a connection, unless its word has changed or is held. */
export function endWord(record: usize, word: u64): bool {
  if ((word & (WORD_LIVE | WORD_HELD)) != WORD_LIVE) return false;
  return atomic.cmpxchg<u64>(record, word, nextGeneration(word)) == word;
}

function nextGeneration(word: u64): u64 {
  return (word + GENERATION_ONE) & GENERATION;
}

/**
 * A packet of the connection seen as `word`: from now on this class and these flags hold, and it begins to time out anew.
 * Fails, and does nothing, when the record has another connection now.
 * @returns is this the first reply?
 */
export function useRecord(record: usize, word: u64, timeoutClass: u32, flags: u64, now: u64): bool {
  const units = unitsOf(now) << 32;
  let used = units | (word & (GENERATION | FLAGS)) | flags | <u64>timeoutClass;
  // Most packets change nothing, so the line stays where it is.
  while (used != word && (word & WORD_HELD) == 0) {
    const seen = atomic.cmpxchg<u64>(record, word, used);
    if (seen == word) return (used & ~word & WORD_REPLIED) != 0;
    if (!isOneConnection(word, seen)) break;
    word = seen;
    used = units | (word & (GENERATION | FLAGS)) | flags | <u64>timeoutClass;
  }
  return false;
}

/**
 * Makes a record this worker's until it lets go of it. Needs that it holds no other lock.
 * @param seen its word, as it was looked up
 * @returns its word, or 0: the connection is gone, or its holder did not let go for some 20 ms, or had not before in this batch
 */
export function holdRecord(record: usize, seen: u64): u64 {
  const word = atomic.load<u64>(record);
  if (!isOneConnection(seen, word)) return 0;
  const isFree = (word & WORD_HELD) == 0 && atomic.cmpxchg<u64>(record, word, word | WORD_HELD) == word;
  const held = isFree ? word : waitForRecord(record, seen);
  // The lower half of the word is what lies first.
  if (held != 0) OnlyLock.note(record | LOCK_BIT_31);
  return held;
}

function waitForRecord(record: usize, seen: u64): u64 {
  for (let spins = patience(); spins != 0; spins--) {
    const word = atomic.load<u64>(record);
    if (!isOneConnection(seen, word)) return 0;
    if ((word & WORD_HELD) != 0) continue;
    if (atomic.cmpxchg<u64>(record, word, word | WORD_HELD) == word) return word;
  }
  giveUp();
  return 0;
}

/**
 * Lets go of a record, as useRecord() does when `isUsed`.
 * @param word as holdRecord() gave it
 */
export function releaseRecord(
  record: usize,
  word: u64,
  timeoutClass: u32,
  flags: u64,
  isUsed: bool,
  now: u64,
): void {
  const last = isUsed ? unitsOf(now) << 32 : word & 0xffffffff00000000;
  OnlyLock.forget();
  atomic.store<u64>(record, last | (word & (GENERATION | FLAGS)) | flags | <u64>timeoutClass);
}
