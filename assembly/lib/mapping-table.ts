// Mappings between inside and outside endpoints (RFC 4787's terms), shared by all workers. One mapping an inside
// endpoint. Found by the inside endpoint through a hash table, by the outside endpoint through the pool of its port.
//
//    0          64                          then            then            then
//   +----------+---------------------------+---------------+---------------+---------------------------------+
//   | header   | HashTable by inside       | RecordPool    | mappings      | PortPool 0, PortPool 1, ...     |
//   +----------+---------------------------+---------------+---------------+---------------------------------+
//    mapping, 32 bytes
//    0               8       12                    16      17      18           20         24          32
//   +---------------+-------+---------------------+-------+-------+------------+----------+-----------+
//   | inside        | next  | outside: pool << 16 | class | flags | generation | last use | (free)    |
//   |               |       |          | port     |                the timer, one word     |           |
//   +---------------+-------+---------------------+-------+-------+------------+----------+-----------+
//
// inside: any number but 0 that the user makes of address, protocol and port. class: which timeout holds; flags: the
// user's (TCP states); generation: counts when the record became a mapping and when it ceased to be one. last use: in units
// of UNIT ns, so that the word of a busy mapping changes, and its cache line moves between workers, some 7 times a
// second at most.
//
// Who changes what: the worker that makes or removes a mapping holds the lock of its chain. Timers change by
// compare-and-swap only; as removing a mapping changes the generation, a use that comes too late fails and is nothing.

import { HashTable } from "./hash-table";
import { PortPool } from "./port-pool";
import { RECORD_KEY, RecordPool } from "./record-pool";

const HEADER: usize = 64;
const TIMEOUTS: usize = 16;
const MAPPING: u32 = 32;
const OUTSIDE: usize = 12;
const TIMER: usize = 16;
/** 2^27 ns, 134 ms: a mapping lives up to two units longer than its timeout, never shorter. */
const UNIT_SHIFT: u64 = 27;
const GENERATION: u64 = 0xffff0000;
export const TIMEOUT_CLASSES: u32 = 12;

/** What make() found instead of room for a mapping. */
export const MAPPING_NO_PORT: i32 = -1;
export const MAPPING_TABLE_FULL: i32 = -2;
/** Another worker held the chain for seconds: see HashTable.lock. */
export const MAPPING_BUSY: i32 = -3;
export const MAPPING_FOUND: i32 = 0;
export const MAPPING_MADE: i32 = 1;
/** Made in place of one that had timed out. */
export const MAPPING_REMADE: i32 = 2;

/**
 * The mapping that findInside, findOutside or make saw last, as it was then: plain values, one set an instance (and so
 * a worker). They stay right for the packet at hand even if another worker removes the mapping meanwhile.
 */
let record: usize = 0;
let seenInside: u64 = 0;
let seenOutside: u32 = 0;
let seenTimer: u64 = 0;

@unmanaged
export class MappingTable {
  private table: u32;
  private pools: u32;
  private firstPort: u32;
  private lastPort: u32;

  /** @param pools port pools, one an outside address and protocol */
  static bytes(capacity: u32, pools: u32): usize {
    return (
      HEADER +
      align64(HashTable.bytes(capacity)) +
      align64(RecordPool.bytes(capacity, MAPPING)) +
      <usize>pools * PortPool.BYTES
    );
  }

  /**
   * Once, in zeroed shared memory, before any worker looks.
   * @param capacity most mappings, up to 2^26
   */
  static format(at: usize, capacity: u32, firstPort: u32, lastPort: u32, seed: u64): MappingTable {
    const mappings = changetype<MappingTable>(at);
    const table = at + HEADER;
    const records = table + align64(HashTable.bytes(capacity));
    mappings.table = <u32>table;
    mappings.pools = <u32>(records + align64(RecordPool.bytes(capacity, MAPPING)));
    mappings.firstPort = firstPort;
    mappings.lastPort = lastPort;
    HashTable.format(table, RecordPool.format(records, capacity, MAPPING), seed);
    return mappings;
  }

  /** How long mappings of a class live after their last use, ns, up to 9 years. */
  setTimeout(timeoutClass: u32, ns: u64): void {
    const units = (ns + ((1 << UNIT_SHIFT) - 1)) >> UNIT_SHIFT;
    store<u32>(changetype<usize>(this) + ((<usize>timeoutClass) << 2), <u32>units, TIMEOUTS);
  }

  @inline get inside(): u64 {
    return seenInside;
  }
  @inline get outsidePool(): u32 {
    return seenOutside >> 16;
  }
  @inline get outsidePort(): u16 {
    return <u16>seenOutside;
  }
  @inline get timeoutClass(): u8 {
    return <u8>seenTimer;
  }
  @inline get flags(): u8 {
    return <u8>(seenTimer >> 8);
  }

  /** Is there a live mapping of this inside endpoint? Without one, make() says for sure. No lock. */
  findInside(inside: u64, now: u64): bool {
    const found = this.index.find(inside);
    return found != 0 && this.look(found) && seenInside == inside && !this.isExpired(seenTimer, now);
  }

  /** Is there a live mapping with this outside endpoint? No lock. */
  findOutside(pool: u32, port: u16, now: u64): bool {
    const link = this.pool(pool).owner(port);
    if (link == 0) return false;
    const outside = (pool << 16) | <u32>port;
    if (!this.look(this.index.records.at(link - 1)) || seenOutside != outside) return false;
    return !this.isExpired(seenTimer, now);
  }

  /**
   * The mapping of an inside endpoint, made if there is none: two workers that race get the same one.
   * @param wanted the port that it shall have where it is free, else one of its parity, else any
   * @returns MAPPING_FOUND, MAPPING_MADE, MAPPING_REMADE, or why there is none (negative)
   */
  make(inside: u64, pool: u32, wanted: u16, start: u32, timeoutClass: u8, now: u64): i32 {
    const index = this.index;
    const bucket = index.lock(inside);
    if (bucket == 0) return MAPPING_BUSY;
    const result = this.makeLocked(bucket, inside, pool, wanted, start, timeoutClass, now);
    index.unlock(bucket);
    return result;
  }

  /**
   * Notes that the mapping seen last was used now, or only what state it is in.
   * @param refresh false: the time of its last use stays
   */
  @inline use(timeoutClass: u8, flags: u8, refresh: bool, now: u64): void {
    const used = refresh ? <u64>unitsOf(now) : seenTimer >> 32;
    const timer = (used << 32) | (seenTimer & GENERATION) | ((<u64>flags) << 8) | <u64>timeoutClass;
    if (timer == seenTimer) return;
    atomic.cmpxchg<u64>(record, seenTimer, timer, TIMER);
    seenTimer = timer;
  }

  /** Records that have ever been in use: what reap() has to go through. */
  get used(): u32 {
    return this.index.records.used;
  }

  /**
   * Removes the mappings that have timed out among `count` records from `from` on, around the end.
   * @returns how many it removed
   */
  reap(from: u32, count: u32, now: u64): u32 {
    const records = this.index.records;
    const used = records.used;
    if (used == 0) return 0;
    let removed: u32 = 0;
    let at = from % used;
    for (let left = min(count, used); left != 0; left--) {
      if (this.remove(records.at(at), now)) removed++;
      at = at + 1 == used ? 0 : at + 1;
    }
    return removed;
  }

  @inline private get index(): HashTable {
    return changetype<HashTable>(<usize>this.table);
  }

  @inline private pool(pool: u32): PortPool {
    return PortPool.at(<usize>this.pools + <usize>pool * PortPool.BYTES);
  }

  private makeLocked(
    bucket: usize,
    inside: u64,
    pool: u32,
    wanted: u16,
    start: u32,
    timeoutClass: u8,
    now: u64,
  ): i32 {
    const index = this.index;
    const found = index.findLocked(bucket, inside);
    if (found != 0) return this.keepOrRenew(found, timeoutClass, now);
    const made = index.records.take();
    if (made == 0) return MAPPING_TABLE_FULL;
    const ports = this.pool(pool);
    const port = this.takePort(ports, wanted, start);
    if (port < 0) {
      index.records.put(made);
      return MAPPING_NO_PORT;
    }
    // Not that of the removal: whoever has read the old key since then must not take this mapping for the old one.
    const generation = (atomic.load<u64>(made, TIMER) + 0x10000) & GENERATION;
    const fresh = ((<u64>unitsOf(now)) << 32) | generation | <u64>timeoutClass;
    atomic.store<u32>(made, (pool << 16) | <u32>port, OUTSIDE);
    atomic.store<u64>(made, fresh, TIMER);
    index.insertLocked(bucket, made, inside);
    ports.setOwner(port, index.records.indexOf(made) + 1);
    this.look(made);
    return MAPPING_MADE;
  }

  /** One that has timed out but was not yet removed starts a new life at its old place and port. */
  private keepOrRenew(found: usize, timeoutClass: u8, now: u64): i32 {
    while (true) {
      this.look(found);
      if (!this.isExpired(seenTimer, now)) return MAPPING_FOUND;
      const fresh = ((<u64>unitsOf(now)) << 32) | (seenTimer & GENERATION) | <u64>timeoutClass;
      if (atomic.cmpxchg<u64>(found, seenTimer, fresh, TIMER) == seenTimer) {
        seenTimer = fresh;
        return MAPPING_REMADE;
      }
    }
  }

  private takePort(ports: PortPool, wanted: u16, start: u32): i32 {
    const first = this.firstPort;
    const last = this.lastPort;
    if (<u32>wanted >= first && <u32>wanted <= last && ports.take(wanted)) return wanted;
    return ports.takeAny(first, last, first + (start % (last - first + 1)), wanted);
  }

  private remove(candidate: usize, now: u64): bool {
    if (!this.look(candidate) || !this.isExpired(seenTimer, now)) return false;
    const index = this.index;
    const inside = seenInside;
    const bucket = index.lock(inside);
    if (bucket == 0) return false;
    let removed = false;
    // Again, now that nobody else can remove it; and a use since then changes the timer, so that the swap fails.
    if (this.look(candidate) && seenInside == inside && this.isExpired(seenTimer, now)) {
      const ended = (seenTimer & ~GENERATION) | ((seenTimer + 0x10000) & GENERATION);
      if (atomic.cmpxchg<u64>(candidate, seenTimer, ended, TIMER) == seenTimer) {
        index.removeLocked(bucket, candidate);
        this.pool(seenOutside >> 16).release(seenOutside & 0xffff);
        index.records.put(candidate);
        removed = true;
      }
    }
    index.unlock(bucket);
    return removed;
  }

  /** Reads a record as one: false if it is free, or became another mapping while it was read. */
  private look(at: usize): bool {
    const before = atomic.load<u64>(at, TIMER);
    seenInside = atomic.load<u64>(at, RECORD_KEY);
    seenOutside = atomic.load<u32>(at, OUTSIDE);
    seenTimer = atomic.load<u64>(at, TIMER);
    record = at;
    return seenInside != 0 && ((before ^ seenTimer) & GENERATION) == 0;
  }

  @inline private isExpired(timer: u64, now: u64): bool {
    const timeout = load<u32>(changetype<usize>(this) + ((<usize>timer & 0xff) << 2), TIMEOUTS);
    // Signed: a worker whose batch began a little earlier sees a use that is yet to come.
    return <i32>(unitsOf(now) - <u32>(timer >> 32)) > <i32>timeout;
  }
}

function unitsOf(now: u64): u32 {
  return <u32>(now >> UNIT_SHIFT);
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
