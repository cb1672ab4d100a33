// Connections end here: those whose time is over, as each worker looks through a part of the table from time to time, and one
// where there is no room for another. What a worker has left behind that was ended meanwhile is put in order on the way.

import { WORD_LIVE, WORD_REPLIED } from "./conntrack-record";
import { entryIndex, isEntryOf, NO_ENTRY } from "./conntrack-ring";
import { AGE_REPLIED, ConntrackTable, TABLE_HAND } from "./conntrack-table";

/** Records that are looked at for one to give up: all of a small table. */
const WINDOW: u32 = 256;
const WINDOWS: u32 = 4;
/** Entries of the ring that a worker passes over in a batch. Each is passed over once, so they cost a batch some ms at worst. */
const PASSED_A_BATCH: u32 = 1 << 16;
/** Connections that could not be ended, as another worker had them, before others are looked at. */
const TRIES: u32 = 4;

let passing: u64 = 0;
let passed: u32 = 0;

/** What makeRoom() did: connections that nobody had answered, and those whose time was over. */
export let evictedForRoom: u32 = 0;
export let endedForRoom: u32 = 0;

/** No room was made. */
export function forgetRoom(): void {
  evictedForRoom = 0;
  endedForRoom = 0;
}

/** Removes the connections that have ended among `count` records from `from` on, round and round. @returns how many */
export function reapConnections(table: ConntrackTable, from: u32, count: u32, now: u64): u32 {
  const pool = table.pool;
  const used = pool.used;
  let removed: u32 = 0;
  if (used == 0) return 0;
  from = from % used;
  for (let i = min(count, used); i != 0; i--) {
    const record = pool.at(from);
    const age = atomic.load<u32>(table.ageAt(from));
    if (++from == used) from = 0;
    if (age == 0) continue;
    const word = atomic.load<u64>(record);
    if ((word & WORD_LIVE) == 0) {
      if (table.restore(record)) pool.put(record);
    } else if (table.hasEnded(word, now) && table.end(record, word)) {
      pool.put(record);
      removed++;
    }
  }
  return removed;
}

/**
 * A record for another connection: a free one; else that of the oldest connection which nobody answered, among the last ones
 * that began, as many as the table has; else of the oldest of those looked at; failing that, of one whose time is over.
 * @returns 0: there is none
 */
export function takeRecord(table: ConntrackTable, now: u64): usize {
  forgetRoom();
  const record = table.pool.take();
  if (record != 0) return record;
  const oldest = endOldest(table, now);
  return oldest != 0 ? oldest : makeRoom(table, now);
}

/** @returns the record of the oldest connection that nobody answered, or 0: the ring knows of none */
function endOldest(table: ConntrackTable, now: u64): usize {
  const ring = table.ring;
  if (passing != now) {
    passing = now;
    passed = 0;
  }
  for (let tries = TRIES; tries != 0 && passed < PASSED_A_BATCH; passed++) {
    const entry = ring.takeOldest();
    if (entry == NO_ENTRY) return 0;
    const index = entryIndex(entry);
    // Most of them show that here, where they lie close together.
    const age = atomic.load<u32>(table.ageAt(index));
    if (age == 0 || (age & AGE_REPLIED) != 0) continue;
    const record = table.pool.at(index);
    const word = atomic.load<u64>(record);
    if (!isEntryOf(entry, word) || (word & WORD_LIVE) == 0 || (word & WORD_REPLIED) != 0) continue;
    if (table.end(record, word)) {
      if (table.hasEnded(word, now)) endedForRoom++;
      else evictedForRoom++;
      return record;
    }
    // Used, held or ended just now. If it is there and not answered, it is found the next time round.
    ring.append(index, word);
    tries--;
  }
  return 0;
}

function makeRoom(table: ConntrackTable, now: u64): usize {
  const pool = table.pool;
  const used = pool.used;
  for (let windows = WINDOWS; windows != 0; windows--) {
    const length = min(WINDOW, used);
    const start = atomic.add<u32>(changetype<usize>(table) + TABLE_HAND, length) % used;
    const chosen = oldestUnanswered(table, start, length, used, ConntrackTable.msOf(now));
    if (chosen >= 0) {
      const record = pool.at(<u32>chosen);
      const word = atomic.load<u64>(record);
      if ((word & WORD_LIVE) == 0) {
        if (table.restore(record)) return record;
        continue;
      }
      const isOver = table.hasEnded(word, now);
      if ((word & WORD_REPLIED) != 0 || !table.end(record, word)) continue;
      if (isOver) endedForRoom++;
      else evictedForRoom++;
      return record;
    }
    let index = start;
    for (let i = length; i != 0; i--) {
      const record = pool.at(index);
      const age = atomic.load<u32>(table.ageAt(index));
      if (++index == used) index = 0;
      if (age == 0) continue;
      const word = atomic.load<u64>(record);
      if (table.hasEnded(word, now) && table.end(record, word)) {
        endedForRoom++;
        return record;
      }
    }
  }
  return 0;
}

/** @returns index of a record, or -1 */
function oldestUnanswered(table: ConntrackTable, index: u32, length: u32, used: u32, today: u32): i32 {
  let oldest: i32 = -1;
  let chosen: i32 = -1;
  for (let i = length; i != 0; i--) {
    const age = atomic.load<u32>(table.ageAt(index));
    if (age != 0 && (age & AGE_REPLIED) == 0) {
      const past = <i32>((today - age) & ~AGE_REPLIED);
      if (past > oldest) {
        oldest = past;
        chosen = <i32>index;
      }
    }
    if (++index == used) index = 0;
  }
  return chosen;
}
