// Mappings between inside and outside endpoints (RFC 4787's terms), shared by all workers. One mapping a key, which the user
// makes of the inside endpoint; it holds a port of a pool as long as it has sessions (session-table.ts).
//
//    0          64                          then            then            then
//   +----------+---------------------------+---------------+---------------+---------------------------------+
//   | header   | HashTable by key          | RecordPool    | mappings      | PortPool 0, PortPool 1, ...     |
//   +----------+---------------------------+---------------+---------------+---------------------------------+
//    mapping, 32 bytes
//    0               8       12                    16         20          24         28
//   +---------------+-------+---------------------+----------+-----------+----------+----------+
//   | key           | next  | outside: pool << 16 | sessions | subscriber| remote   | remote   |
//   |               |       |          | port     |          |           | address  | port     |
//   +---------------+-------+---------------------+----------+-----------+----------+----------+
//
// remote: whom a mapping is for where mappings depend on that, else 0. No packet that has a session comes here. Whoever looks
// for, makes or ends a mapping, or adds or removes a session of it, holds the lock of its chain: two workers that race to
// make the same mapping make one.

import { HashTable } from "./hash-table";
import { PortPool } from "./port-pool";
import { RECORD_KEY, RecordPool } from "./record-pool";
import { RecordStash } from "./record-stash";

const HEADER: usize = 64;
const MAPPING: u32 = 32;

/** Why make() made none. */
export const MAPPING_NO_PORT: i32 = -1;
export const MAPPING_TABLE_FULL: i32 = -2;

@unmanaged
export class Mapping {
  key: u64;
  /** HashTable's. */
  next: u32;
  /** Port pool and port. */
  outside: u32;
  sessions: u32;
  /** The user's. */
  subscriber: u32;
  remoteAddress: u32;
  remotePort: u32;

  @inline get pool(): u32 {
    return this.outside >> 16;
  }
  /** In host order. */
  @inline get port(): u16 {
    return <u16>this.outside;
  }
}

@unmanaged
export class MappingTable {
  private table: u32;
  private pools: u32;

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
  static format(at: usize, capacity: u32, seed: u64): MappingTable {
    const mappings = changetype<MappingTable>(at);
    const table = at + HEADER;
    const records = table + align64(HashTable.bytes(capacity));
    mappings.table = <u32>table;
    mappings.pools = <u32>(records + align64(RecordPool.bytes(capacity, MAPPING)));
    HashTable.format(table, RecordPool.format(records, capacity, MAPPING), seed);
    return mappings;
  }

  /** @returns for the functions below and unlock(), or 0: it was not to be had, see HashTable.lock */
  @inline lock(key: u64): usize {
    return this.index.lock(key);
  }
  @inline unlock(bucket: usize): void {
    this.index.unlock(bucket);
  }

  @inline get records(): RecordPool {
    return this.index.records;
  }

  /** See HashTable.placeOf. */
  @inline placeOf(key: u64): usize {
    return this.index.placeOf(key);
  }
  @inline firstOf(place: usize): usize {
    return this.index.firstOf(place);
  }

  /** The mapping of a number that a session keeps: see numberOf. */
  @inline at(number: u32): Mapping {
    return changetype<Mapping>(this.index.records.at(number - 1));
  }
  /** Never 0. */
  @inline numberOf(mapping: Mapping): u32 {
    return this.index.records.indexOf(changetype<usize>(mapping)) + 1;
  }

  /** Needs the lock. Its address is 0 if there is none. */
  find(bucket: usize, key: u64): Mapping {
    return changetype<Mapping>(this.index.findLocked(bucket, key));
  }

  /**
   * A mapping without sessions yet, of a key that has none. Needs the lock.
   * @param port of the pool, which the caller has taken
   * @param stash of records that were taken in advance, if there is one
   * @returns its address is 0 if there are as many mappings as there may be
   */
  make(
    bucket: usize,
    key: u64,
    pool: u32,
    port: u16,
    stash: RecordStash = changetype<RecordStash>(0),
  ): Mapping {
    const records = this.records;
    const record = changetype<usize>(stash) == 0 ? records.take() : stash.take(records);
    const mapping = changetype<Mapping>(record);
    if (record == 0) return mapping;
    mapping.outside = (pool << 16) | <u32>port;
    mapping.sessions = 0;
    mapping.subscriber = 0;
    mapping.remoteAddress = 0;
    mapping.remotePort = 0;
    this.index.insertLocked(bucket, record, key);
    return mapping;
  }

  /** Ends a mapping and gives its port back. Needs the lock. */
  end(bucket: usize, mapping: Mapping): void {
    const outside = this.forget(bucket, mapping);
    this.pool(outside >> 16).release(outside & 0xffff);
  }

  /** Ends a mapping whose port stays taken. Needs the lock. @returns port pool << 16 | port: the caller gives it back */
  forget(bucket: usize, mapping: Mapping): u32 {
    const record = changetype<usize>(mapping);
    const outside = mapping.outside;
    this.index.removeLocked(bucket, record);
    this.index.records.put(record);
    return outside;
  }

  /** The key of a mapping that may end at any moment; 0: it has. */
  @inline keyOf(number: u32): u64 {
    return atomic.load<u64>(this.index.records.at(number - 1), RECORD_KEY);
  }

  @inline pool(pool: u32): PortPool {
    return PortPool.at(<usize>this.pools + <usize>pool * PortPool.BYTES);
  }

  @inline private get index(): HashTable {
    return changetype<HashTable>(<usize>this.table);
  }
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
