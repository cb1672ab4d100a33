// Chains of records in tables that all workers share, and the lock of one. HashTable, TupleIndex and the connections of
// conntrack-table.ts are made of them.
//
//    head, a u32: bit 31 locked, the rest the first link       next, a u32 in each record: the link behind it
//   +---+--------+        +---------------+--------+--         link: a number, 0: none; link n has its next at
//   | 1 | link ───────►   | ...           | next ──────►       `nexts` + n * `stride`
//   +---+--------+        +---------------+--------+--
//
// Reading takes no lock: a reader that walks while a record is taken out and used again may end up in another chain. So it
// compares what it finds, gives up after LONGEST_WALK links, and "not there" is a hint until it is asked under the lock.
//
// A worker may be ended between any two of these stores (a filter traps, or does not end), and the host lets go of its lock.
// The chain is sound even then, for it changes by one store a time: a record's next is written before the head says that it is
// there, and one store takes it out. What can be lost is the record at hand, which is in no chain and in no pool. Therefore
// no user gives a record back to its pool, or changes its next, before unchain() has returned: a record in a chain and in a
// pool at once is what makes a cycle.

import { forgetLock, giveUp, LOCK_BIT_31, noteLock, patience } from "./held-locks";

const LOCKED: u32 = 0x80000000;
/** A chain this long is walked under the lock only; a reader astray in changing chains gives up here. */
export const LONGEST_WALK: u32 = 64;

/** @returns false: its holder did not let go for some 20 ms, or had not before in this batch */
export function lockChain(head: usize): bool {
  const word = atomic.load<u32>(head);
  if ((word & LOCKED) != 0 || atomic.cmpxchg<u32>(head, word, word | LOCKED) != word) {
    if (!wait(head)) return false;
  }
  noteLock(head | LOCK_BIT_31);
  return true;
}

/**
 * Not memory.atomic.wait32: with it in this loop, threads that raced on V8 11.3 (Node 20) lost their way, with --no-liftoff
 * they did not (test/filters/nat-race.test.ts).
 */
function wait(head: usize): bool {
  for (let spins = patience(); spins != 0; spins--) {
    const word = atomic.load<u32>(head);
    if ((word & LOCKED) != 0) continue;
    if (atomic.cmpxchg<u32>(head, word, word | LOCKED) == word) return true;
  }
  giveUp();
  return false;
}

export function unlockChain(head: usize): void {
  forgetLock(head | LOCK_BIT_31);
  atomic.store<u32>(head, atomic.load<u32>(head) & ~LOCKED);
}

/** The first link of a chain, or 0. */
export function firstLink(head: usize): u32 {
  return atomic.load<u32>(head) & ~LOCKED;
}

/** Puts a link at the front. Needs the lock. What readers are to see of the record is written already. @param next its next */
export function chain(head: usize, link: u32, next: usize): void {
  store<u32>(next, firstLink(head));
  atomic.store<u32>(head, link | LOCKED);
}

/**
 * Takes a link out. Needs the lock. Its own next stays, for readers who are there.
 * @returns false: it is not in this chain
 */
export function unchain(head: usize, link: u32, nexts: usize, stride: usize): bool {
  let before = head;
  let locked = LOCKED;
  for (let at = firstLink(head); at != 0; ) {
    const next = nexts + <usize>at * stride;
    const behind = atomic.load<u32>(next);
    if (at == link) {
      atomic.store<u32>(before, behind | locked);
      return true;
    }
    before = next;
    locked = 0;
    at = behind;
  }
  return false;
}
