// A table that all workers share: fixed-size values by keys of 128 bits. It is never full: in each set of 8 entries the one
// that was longest unused makes room. A value is the caller's alone from take() to release(); other workers wait that long, a
// few ns most often. Where each worker may have a table of its own, WorkerTable needs no lock.
//
//    0      8       12            64
//   +------+-------+-------------+-----------------------------------+
//   | seed | mask  | entry bytes | sets: lock (64), 8 entries        |
//   +------+-------+-------------+-----------------------------------+
//    entry
//    0          8         16                    24
//   +----------+---------+---------------------+--------
//   | key high | key low | used, ns; 0: empty  | value
//   +----------+---------+---------------------+--------
//
// Example: no more than 100 packets in all from each client, whichever worker they come to.
//
//   @unmanaged class Client { packets: u64; }
//   export function sharedStateSize(at: usize): usize { return SharedTable.bytes(1000, offsetof<Client>()); }
//   export function initShared(): void { SharedTable.format(sharedState(), 1000, offsetof<Client>(), random()); }
//   export function packet(p: Packet): Output {
//     const clients = SharedTable.at(sharedState());
//     const client = clients.take<Client>(0, Ipv4.of(p).source, now());
//     if (changetype<usize>(client) == 0) return OUTPUT_DROP;
//     const isMore = ++client.packets > 100;
//     clients.release();
//     return isMore ? OUTPUT_DROP : OUTPUT_NEXT;
//   }

import { lock, unlock } from "./spin-lock";

const HEADER: usize = 64;
const LOCK: usize = 64;
const WAYS: usize = 8;
const USED: usize = 16;
const VALUE: usize = 24;

/** The set whose lock this instance holds. */
let taken: usize = 0;

@unmanaged
export class SharedTable {
  private seed: u64;
  private mask: u32;
  private entryBytes: u32;

  /**
   * Bytes of state for a table. Never fails.
   * @param entries how many it shall hold, rounded up to 8 times a power of two
   * @param valueBytes of each: offsetof<Client>()
   */
  static bytes(entries: u32, valueBytes: usize): usize {
    return HEADER + <usize>sets(entries) * (LOCK + WAYS * strideOf(valueBytes));
  }

  /**
   * A table that was formatted: not checked.
   * @param address of its memory
   */
  @inline static at(address: usize): SharedTable {
    return changetype<SharedTable>(address);
  }

  /**
   * Makes an empty table. Once, in initShared(). Needs zeroed memory of bytes(entries, valueBytes) bytes.
   * @param address of the memory, a multiple of 8
   * @param entries as for bytes()
   * @param valueBytes as for bytes()
   * @param seed random(), so that nobody outside can aim for one set
   */
  static format(address: usize, entries: u32, valueBytes: usize, seed: u64): SharedTable {
    const table = changetype<SharedTable>(address);
    table.seed = seed;
    table.mask = sets(entries) - 1;
    table.entryBytes = <u32>strideOf(valueBytes);
    return table;
  }

  /**
   * A key's value, for this worker alone until release(); a key that was not there gets one of zeros. One value of one
   * table at a time: a second take() before release() traps.
   * @param high upper 64 bits of the key
   * @param low lower 64 bits
   * @param now ns, not 0
   * @returns a class over the value, or its address; 0: another worker had its set for too long, as lock() says
   */
  take<T>(high: u64, low: u64, now: u64): T {
    if (taken != 0) unreachable();
    const set = this.setOf(high, low);
    if (!lock(set)) return changetype<T>(0);
    taken = set;
    let at = set + LOCK;
    let oldest = at;
    for (let way: usize = 0; way < WAYS; way++, at += this.entryBytes) {
      const used = load<u64>(at, USED);
      if (used != 0 && load<u64>(at) == high && load<u64>(at, 8) == low) {
        store<u64>(at, max<u64>(now, used), USED);
        return changetype<T>(at + VALUE);
      }
      if (used < load<u64>(oldest, USED)) oldest = at;
    }
    store<u64>(oldest, high);
    store<u64>(oldest, low, 8);
    store<u64>(oldest, now, USED);
    memory.fill(oldest + VALUE, 0, <usize>this.entryBytes - VALUE);
    return changetype<T>(oldest + VALUE);
  }

  /** Lets go of what take() has given. Needs that it has given something. */
  release(): void {
    unlock(taken);
    taken = 0;
  }

  /** The finalizer of MurmurHash3 (Appleby), twice, over the key and the seed. */
  @inline private setOf(high: u64, low: u64): usize {
    const hash = mix(mix(high ^ this.seed) ^ low);
    const bytes = LOCK + WAYS * <usize>this.entryBytes;
    return changetype<usize>(this) + HEADER + <usize>(<u32>hash & this.mask) * bytes;
  }
}

function mix(key: u64): u64 {
  let h = (key ^ (key >> 33)) * 0xff51afd7ed558ccd;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 33);
}

function sets(entries: u32): u32 {
  const wanted = (entries + 7) / 8;
  return wanted <= 1 ? 1 : (<u32>1) << (32 - clz<u32>(wanted - 1));
}

function strideOf(valueBytes: usize): usize {
  return VALUE + ((valueBytes + 7) & ~7);
}
