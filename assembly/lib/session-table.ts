// Sessions: what a translator knows of the packets between two endpoints, in both directions (the kernel's conntrack
// entry, RFC 6146's session table entry). Shared by all workers; found by what a packet of either direction shows.
//
//    session, one cache line
//    0                        16                       32      40        44         48        52       56        60
//   +------------------------+------------------------+-------+---------+----------+---------+--------+---------+------
//   | out: addresses, ports, | in: addresses, ports,  | timer | (index) |subscriber| changes | mapping| (index) | notes
//   |      kind              |     kind               |       |         |          |         |        |         |
//   +------------------------+------------------------+-------+---------+----------+---------+--------+---------+------
//    timer
//    0       8       16           32        64
//   +-------+-------+------------+----------+         class: which timeout holds; flags: the user's (TCP states);
//   | class | flags | generation | last use |         generation: odd while it is a session; last use in UNIT ns
//   +-------+-------+------------+----------+
//
// A tuple is a packet's source and destination address, its two ports, and a kind, all as they lie in the packet, so that
// nothing is swapped: out is a packet from inside before translation, in one from outside. Each tells what the other
// becomes. changes: of the checksums, made once: low half, what the addresses change on the way out, high half, what addresses
// and ports do; on the way in it is the complement (RFC 1624). The user may leave the remote end out of tuples
// (endpoint-independent filtering) by masking it to 0.
//
// Who changes what: whoever adds or removes a session of a mapping holds that mapping's lock (mapping-table.ts). Timers
// change by compare-and-swap only; removing a session changes the generation, so a use that comes too late fails and is
// nothing. A busy session's line is written, and moves between workers, some 7 times a second at most.
//
// Before a session is live, and when it is no longer, its record is HALF in the index. If its worker is ended then, it stays
// so, and its mapping and its subscriber count it: nothing is lost, for whoever holds the mapping's lock and finds it so ends
// it (expel). Where a line of the index was not to be had, what is left in it has to be taken out LATER; nothing counts it
// any more. Until both tuples are out the record is not used again.

import { RecordPool } from "./record-pool";
import { RecordStash } from "./record-stash";
import { TupleIndex } from "./tuple-index";

const HEADER: usize = 128;
const TIMEOUTS: usize = 64;
const ENDED: usize = 112;
export const SESSION: u32 = 64;
export const SESSION_OUT: usize = 0;
export const SESSION_IN: usize = 16;
export const SESSION_TIMER: usize = 32;
export const SESSION_CHANGES: usize = 48;
export const SESSION_MAPPING: usize = 52;
export const SESSION_SUBSCRIBER: usize = 44;
export const SESSION_NOTES: usize = 60;
const PORTS: usize = 8;
const KIND: usize = 12;
/** 2^27 ns, 134 ms: a session lives up to two units longer than its timeout, never shorter. */
const UNIT_SHIFT: u64 = 27;
export const SESSION_GENERATION: u64 = 0xffff0000;
/** Of a timer: it is a session's, and not what was left of one. */
export const SESSION_LIVE: u64 = 0x10000;
/** Classes of timers that are not live: see above. */
const HALF: u8 = 10;
const LATER: u8 = 11;
const CLASS: u64 = 0xff;
/** Those below are the user's. */
export const TIMEOUT_CLASSES: u32 = HALF;
/** Timeout classes of translators' sessions; TCP's two are session-tcp.ts's. */
export const CLASS_UDP: u8 = 0;
export const CLASS_TRANSITORY: u8 = 1;
export const CLASS_ESTABLISHED: u8 = 2;
export const CLASS_ICMP: u8 = 3;

@unmanaged
export class SessionTable {
  private at: u32;
  private pool: u32;

  static bytes(capacity: u32): usize {
    return HEADER + align64(RecordPool.bytes(capacity, SESSION)) + align64(TupleIndex.bytes(capacity));
  }

  /**
   * Once, in zeroed shared memory, at a multiple of 64, before any worker looks.
   * @param capacity most sessions, up to 2^22
   */
  static format(at: usize, capacity: u32, seed: u64): SessionTable {
    const table = changetype<SessionTable>(at);
    const records = at + HEADER;
    const index = records + align64(RecordPool.bytes(capacity, SESSION));
    table.pool = <u32>records;
    table.at = <u32>index;
    TupleIndex.format(index, RecordPool.format(records, capacity, SESSION), seed);
    return table;
  }

  @inline get index(): TupleIndex {
    return changetype<TupleIndex>(<usize>this.at);
  }
  @inline get records(): RecordPool {
    return changetype<RecordPool>(<usize>this.pool);
  }

  /** How long sessions of a class live after their last use, ns, up to 9 years. */
  setTimeout(timeoutClass: u32, ns: u64): void {
    const units = (ns + ((1 << UNIT_SHIFT) - 1)) >> UNIT_SHIFT;
    store<u32>(changetype<usize>(this) + ((<usize>timeoutClass) << 2), <u32>units, TIMEOUTS);
  }

  /** Has its time run out? Signed: a worker whose batch began a little earlier sees a use that is yet to come. */
  @inline isExpired(timer: u64, units: u32): bool {
    const timeout = load<u32>(changetype<usize>(this) + ((<usize>timer & 0xff) << 2), TIMEOUTS);
    return <i32>(units - <u32>(timer >> 32)) > <i32>timeout;
  }

  /** Has the time of a session run out, or is something to be expelled? */
  @inline isOver(timer: u64, units: u32): bool {
    return (timer & SESSION_LIVE) != 0 ? this.isExpired(timer, units) : <u8>timer >= HALF;
  }

  /** Address of the tuple (SESSION_OUT or SESSION_IN of a session) that is this, or 0. A hint: see TupleIndex.find. */
  find(addresses: u64, ports: u64): usize {
    return this.index.find(this.index.hash(addresses, ports), addresses, ports);
  }

  /** Address of a record that is the caller's alone, to be written and then published, or 0: all are in use. */
  take(): usize {
    return this.records.take();
  }
  /** The same of those taken in advance, if there are any left. */
  takeOf(stash: RecordStash): usize {
    return changetype<usize>(stash) == 0 ? this.records.take() : stash.take(this.records);
  }

  /**
   * Makes what was written to a taken record a session. Needs the lock of its mapping, which counts it already.
   * @returns false: one of its tuples is another session's; the record is given back
   */
  publish(record: usize, timeoutClass: u8, flags: u8, units: u32): bool {
    const index = this.index;
    const rest = ((<u64>units) << 32) | ((<u64>flags) << 8);
    const generation = (atomic.load<u64>(record, SESSION_TIMER) + 0x20000) & SESSION_GENERATION;
    atomic.store<u64>(record, rest | generation | <u64>HALF, SESSION_TIMER);
    const out = index.hash(load<u64>(record), load<u64>(record, PORTS));
    const into = index.hash(load<u64>(record, SESSION_IN), load<u64>(record, SESSION_IN + PORTS));
    if (index.insert(out, record, 0) && index.insert(into, record, 1)) {
      // Released by this store: who finds the session finds all of it.
      atomic.store<u64>(record, rest | generation | SESSION_LIVE | <u64>timeoutClass, SESSION_TIMER);
      return true;
    }
    this.leave(record, rest | generation);
    return false;
  }

  /**
   * Ends a session, if it is still what it was when its timer was read. Needs the lock of its mapping.
   * @returns false: somebody used it since, or it ended already
   */
  remove(record: usize, timer: u64): bool {
    const ended = (timer & ~SESSION_GENERATION & ~CLASS) | nextGeneration(timer, 1);
    if (atomic.cmpxchg<u64>(record, timer, ended | <u64>HALF, SESSION_TIMER) != timer) return false;
    atomic.add<u32>(changetype<usize>(this), 1, ENDED);
    this.leave(record, ended);
    return true;
  }

  /**
   * Ends what is only half there, as its timer says, which was seen. Needs the lock of its mapping, unless that has ended.
   * @returns false: nothing was
   */
  expel(record: usize, timer: u64): bool {
    if ((timer & SESSION_LIVE) != 0 || <u8>timer < HALF) return false;
    const rest = (timer & ~SESSION_GENERATION & ~CLASS) | nextGeneration(timer, 2);
    // Nobody else holds the lock that what is counted needs. For the other, two may come at once, but one must do it.
    const own = isCounted(timer) ? rest | <u64>HALF : rest;
    if (atomic.cmpxchg<u64>(record, timer, own, SESSION_TIMER) != timer) return false;
    this.leave(record, rest);
    return true;
  }

  /** Out of the index, then back to the pool, both now or LATER. @param rest its timer but for the class */
  private leave(record: usize, rest: u64): void {
    const index = this.index;
    const out = index.hash(load<u64>(record), load<u64>(record, PORTS));
    const into = index.hash(load<u64>(record, SESSION_IN), load<u64>(record, SESSION_IN + PORTS));
    if (index.remove(out, record, 0) && index.remove(into, record, 1)) {
      atomic.store<u64>(record, rest, SESSION_TIMER);
      this.release(record);
    } else {
      atomic.store<u64>(record, rest | <u64>LATER, SESSION_TIMER);
    }
  }

  /**
   * Changes whenever a session ends, before its record becomes another's: what was read of sessions between two looks at it
   * that see the same is right, with a store by atomics before the second look.
   */
  get ended(): u32 {
    return atomic.load<u32>(changetype<usize>(this), ENDED);
  }

  /** Gives a taken record back that did not become a session. */
  release(record: usize): void {
    store<u32>(record, 0, KIND);
    atomic.store<u32>(record, 0, SESSION_IN + KIND);
    this.records.put(record);
  }

  /** Records below this index have been in use at least once: what a search for expired ones has to go through. */
  get used(): u32 {
    return this.records.used;
  }
}

/** Of a timer that expel() is given: do its mapping and its subscriber count it? */
export function isCounted(timer: u64): bool {
  return <u8>timer != LATER;
}

function nextGeneration(timer: u64, steps: u64): u64 {
  return (timer + steps * SESSION_LIVE) & SESSION_GENERATION;
}

/** The units in which timers count. */
export function unitsOf(now: u64): u32 {
  return <u32>(now >> UNIT_SHIFT);
}

/** The session that a tuple is of: sessions are cache lines. */
export function sessionOf(tuple: usize): usize {
  return tuple & ~63;
}

export function timerOf(record: usize): u64 {
  return atomic.load<u64>(record, SESSION_TIMER);
}

/** Is what was read from a session between two looks at its timer of one session? */
export function isSame(before: u64, after: u64): bool {
  return (before & SESSION_LIVE) != 0 && ((before ^ after) & SESSION_GENERATION) == 0;
}

/**
 * Notes that a session was used now, or only what state it is in.
 * @param timer as it was seen: where another worker was faster, its word stands
 * @param units when it was last used
 * @returns false: another worker was faster
 */
export function setTimer(record: usize, timer: u64, timeoutClass: u8, flags: u8, units: u32): bool {
  const next = ((<u64>units) << 32) | (timer & SESSION_GENERATION) | ((<u64>flags) << 8) | <u64>timeoutClass;
  return next == timer || atomic.cmpxchg<u64>(record, timer, next, SESSION_TIMER) == timer;
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
