// What each inside address has: so many ports, sessions, connections that nobody answered. Shared by all workers. An address is
// there as long as it has a port.
//
//    0          64                     then
//   +----------+----------------------+---------------+
//   | header   | HashTable by address | RecordPool    |
//   +----------+----------------------+---------------+
//    subscriber, 32 bytes
//    0               8       12       16         20          24
//   +---------------+-------+--------+----------+-----------+------
//   | key           | next  | ports  | sessions | half-open | (free)
//   +---------------+-------+--------+----------+-----------+------

import { HashTable } from "./hash-table";
import { RecordPool } from "./record-pool";

const HEADER: usize = 64;
const SUBSCRIBER: u32 = 32;
export const SUBSCRIBER_PORTS: usize = 12;
export const SUBSCRIBER_SESSIONS: usize = 16;
export const SUBSCRIBER_HALF_OPEN: usize = 20;
const KEYED: u64 = (<u64>1) << 32;

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
    HashTable.format(table, RecordPool.format(records, capacity, SUBSCRIBER), seed);
  }

  /**
   * One port more for an address.
   * @param limit most that it may have
   * @returns its number, for the functions below, or 0: it has as many as it may
   */
  takePort(address: u32, limit: u32): u32 {
    const table = this.index;
    const key = KEYED | <u64>address;
    const bucket = table.lock(key);
    if (bucket == 0) return 0;
    let record = table.findLocked(bucket, key);
    if (record == 0) {
      record = table.records.take();
      if (record != 0) {
        store<u32>(record, 0, SUBSCRIBER_PORTS);
        store<u32>(record, 0, SUBSCRIBER_SESSIONS);
        store<u32>(record, 0, SUBSCRIBER_HALF_OPEN);
        table.insertLocked(bucket, record, key);
      }
    }
    let number: u32 = 0;
    if (record != 0 && load<u32>(record, SUBSCRIBER_PORTS) < limit) {
      store<u32>(record, load<u32>(record, SUBSCRIBER_PORTS) + 1, SUBSCRIBER_PORTS);
      number = table.records.indexOf(record) + 1;
    }
    table.unlock(bucket);
    return number;
  }

  /** One port less. With the last, the number is no longer the address's. */
  givePort(address: u32): void {
    const table = this.index;
    const key = KEYED | <u64>address;
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
    atomic.sub<u32>(this.index.records.at(number - 1) + what, 1);
  }

  @inline private get index(): HashTable {
    return changetype<HashTable>(<usize>this.table);
  }
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
