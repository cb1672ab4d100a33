// What each inside address has: a number, so many ports, sessions, connections that nobody answered. Shared by all workers. An
// address is there as long as it has a port. IPv4 addresses are 32 of the 128 bits.
//
//    0          64                     then
//   +----------+----------------------+---------------+
//   | header   | HashTable by address | RecordPool    |
//   +----------+----------------------+---------------+
//    subscriber, 40 bytes
//    0               8       12       16         20          24                      40
//   +---------------+-------+--------+----------+-----------+-----------+-----------+
//   | key           | next  | ports  | sessions | half-open | address                |
//   +---------------+-------+--------+----------+-----------+-----------+-----------+
//   key: a hash of the address with the table's secret. Of two addresses that have the same one, which is by chance once in
//   2^64, the second is refused.

import { HashTable } from "./hash-table";
import { RecordPool } from "./record-pool";

const HEADER: usize = 64;
const SECRET: usize = 8;
const SUBSCRIBER: u32 = 40;
export const SUBSCRIBER_PORTS: usize = 12;
export const SUBSCRIBER_SESSIONS: usize = 16;
export const SUBSCRIBER_HALF_OPEN: usize = 20;
export const SUBSCRIBER_ADDRESS: usize = 24;

@unmanaged
export class Subscribers {
  private table: u32;

  @inline static at(address: usize): Subscribers {
    return changetype<Subscribers>(address);
  }

  static bytes(capacity: u32): usize {
    return HEADER + align64(HashTable.bytes(capacity)) + align64(RecordPool.bytes(capacity, SUBSCRIBER));
  }

  /** @param capacity as many as there may be mappings: then there is always room */
  static format(at: usize, capacity: u32, seed: u64): void {
    const table = at + HEADER;
    const records = table + align64(HashTable.bytes(capacity));
    changetype<Subscribers>(at).table = <u32>table;
    store<u64>(at, mix(seed), SECRET);
    HashTable.format(table, RecordPool.format(records, capacity, SUBSCRIBER), seed);
  }

  /**
   * One port more for an address.
   * @param high, low its bits, in whatever order they are always given in
   * @param limit most that it may have
   * @returns its number, for the functions below, or 0: it has as many as it may
   */
  takePort(high: u64, low: u64, limit: u32): u32 {
    const table = this.index;
    const key = this.keyOf(high, low);
    const bucket = table.lock(key);
    if (bucket == 0) return 0;
    let record = table.findLocked(bucket, key);
    if (record == 0) {
      record = table.records.take();
      if (record != 0) {
        store<u32>(record, 0, SUBSCRIBER_PORTS);
        store<u32>(record, 0, SUBSCRIBER_SESSIONS);
        store<u32>(record, 0, SUBSCRIBER_HALF_OPEN);
        store<u64>(record, high, SUBSCRIBER_ADDRESS);
        store<u64>(record, low, SUBSCRIBER_ADDRESS + 8);
        table.insertLocked(bucket, record, key);
      }
    }
    let number: u32 = 0;
    if (record != 0 && isOf(record, high, low) && load<u32>(record, SUBSCRIBER_PORTS) < limit) {
      store<u32>(record, load<u32>(record, SUBSCRIBER_PORTS) + 1, SUBSCRIBER_PORTS);
      number = table.records.indexOf(record) + 1;
    }
    table.unlock(bucket);
    return number;
  }

  /** One port less. With the last, the number is no longer the address's. */
  givePort(high: u64, low: u64): void {
    const table = this.index;
    const key = this.keyOf(high, low);
    const bucket = table.lock(key);
    if (bucket == 0) return;
    const record = table.findLocked(bucket, key);
    if (record != 0) {
      const left = load<u32>(record, SUBSCRIBER_PORTS) - 1;
      store<u32>(record, left, SUBSCRIBER_PORTS);
      if (left == 0) {
        table.removeLocked(bucket, record);
        table.records.put(record);
      }
    }
    table.unlock(bucket);
  }

  /**
   * One session, or one unanswered one, more for a subscriber that has a port.
   * @param what SUBSCRIBER_SESSIONS or SUBSCRIBER_HALF_OPEN
   * @returns false: it has as many as it may
   */
  take(number: u32, what: usize, limit: u32): bool {
    const at = this.index.records.at(number - 1) + what;
    if (atomic.add<u32>(at, 1) < limit) return true;
    atomic.sub<u32>(at, 1);
    return false;
  }

  @inline give(number: u32, what: usize): void {
    const at = this.index.records.at(number - 1) + what;
    // Never below 0: who is counted too few times may have more than his share, who is counted 2^32 times would have none.
    if (atomic.sub<u32>(at, 1) == 0) atomic.add<u32>(at, 1);
  }

  /** Where a number's address lies, 16 bytes; it may end at any moment unless one of its ports is known to be taken. */
  @inline addressOf(number: u32): usize {
    return this.index.records.at(number - 1) + SUBSCRIBER_ADDRESS;
  }

  /** Never 0. */
  private keyOf(high: u64, low: u64): u64 {
    return mix(mix(high ^ load<u64>(changetype<usize>(this), SECRET)) ^ low) | 1;
  }

  @inline private get index(): HashTable {
    return changetype<HashTable>(<usize>this.table);
  }
}

function isOf(record: usize, high: u64, low: u64): bool {
  return load<u64>(record, SUBSCRIBER_ADDRESS) == high && load<u64>(record, SUBSCRIBER_ADDRESS + 8) == low;
}

/** The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
function mix(z: u64): u64 {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
