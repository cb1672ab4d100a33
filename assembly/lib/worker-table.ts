// A table of one worker's own: fixed-size values by keys of 128 bits. It is never full: in each set of 8 entries the one that
// was longest unused makes room. For one worker; not atomic (hash-table.ts is for state that workers share).
//
//    0      8       12            16      24      32        64
//   +------+-------+-------------+-------+-------+---------+-------------------------------+
//   | seed | mask  | entry bytes | free  | free  | reserved| sets of 8 entries             |
//   +------+-------+-------------+-------+-------+---------+-------------------------------+
//    entry
//    0          8         16                    24
//   +----------+---------+---------------------+--------
//   | key high | key low | used, ns; 0: empty  | value
//   +----------+---------+---------------------+--------
//
// Example: a counter for each client.
//
//   export function workerStateSize(at: usize): usize { return WorkerTable.bytes(1000, 8); }
//   export function init(): void { WorkerTable.format(workerState(), 1000, 8, random()); }
//   ...
//   const value = WorkerTable.at(workerState()).put(0, Ipv4.of(p).source, now());
//   store<u64>(value, load<u64>(value) + 1);

const HEADER: usize = 64;
const WAYS: u32 = 8;
const USED: usize = 16;
const VALUE: usize = 24;

@unmanaged
export class WorkerTable {
  private seed: u64;
  private mask: u32;
  private entryBytes: u32;

  /**
   * Bytes of state for a table. Never fails.
   * @param entries how many it shall hold, rounded up to 8 times a power of two
   * @param valueBytes of each
   */
  static bytes(entries: u32, valueBytes: u32): usize {
    return HEADER + <usize>sets(entries) * WAYS * strideOf(valueBytes);
  }

  /**
   * A table that was formatted: not checked.
   * @param address of its memory
   */
  @inline static at(address: usize): WorkerTable {
    return changetype<WorkerTable>(address);
  }

  /**
   * Makes an empty table. Once, in init(). Needs zeroed memory of bytes(entries, valueBytes) bytes.
   * @param address of the memory, a multiple of 8
   * @param entries as for bytes()
   * @param valueBytes as for bytes()
   * @param seed random(), so that nobody outside can aim for one set
   */
  static format(address: usize, entries: u32, valueBytes: u32, seed: u64): WorkerTable {
    const table = changetype<WorkerTable>(address);
    table.seed = seed;
    table.mask = sets(entries) - 1;
    table.entryBytes = strideOf(valueBytes);
    return table;
  }

  /**
   * The address of a key's value. Does not count as use.
   * @param high upper 64 bits of the key
   * @param low lower 64 bits
   * @returns 0: it is not there
   * @example
   *   const seen = WorkerTable.at(workerState()).find(0, Ipv4.of(p).source);
   *   if (seen == 0) return OUTPUT_DROP;
   */
  find(high: u64, low: u64): usize {
    let at = this.setOf(high, low);
    for (let way: u32 = 0; way < WAYS; way++, at += this.entryBytes) {
      if (load<u64>(at, USED) != 0 && load<u64>(at) == high && load<u64>(at, 8) == low) return at + VALUE;
    }
    return 0;
  }

  /**
   * The address of a key's value; a key that was not there gets one of zeros, in place of the one of its set that was
   * longest unused. Never fails. The address holds until the next put().
   * @param high upper 64 bits of the key
   * @param low lower 64 bits
   * @param now ns, not 0
   */
  put(high: u64, low: u64, now: u64): usize {
    let at = this.setOf(high, low);
    let oldest = at;
    for (let way: u32 = 0; way < WAYS; way++, at += this.entryBytes) {
      const used = load<u64>(at, USED);
      if (used != 0 && load<u64>(at) == high && load<u64>(at, 8) == low) {
        store<u64>(at, now, USED);
        return at + VALUE;
      }
      if (used < load<u64>(oldest, USED)) oldest = at;
    }
    store<u64>(oldest, high);
    store<u64>(oldest, low, 8);
    store<u64>(oldest, now, USED);
    memory.fill(oldest + VALUE, 0, this.entryBytes - VALUE);
    return oldest + VALUE;
  }

  /** The finalizer of MurmurHash3 (Appleby), twice, over the key and the seed. */
  @inline private setOf(high: u64, low: u64): usize {
    const hash = mix(mix(high ^ this.seed) ^ low);
    return changetype<usize>(this) + HEADER + <usize>(<u32>hash & this.mask) * WAYS * this.entryBytes;
  }
}

function mix(key: u64): u64 {
  let h = (key ^ (key >> 33)) * 0xff51afd7ed558ccd;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53;
  return h ^ (h >> 33);
}

function sets(entries: u32): u32 {
  const wanted = (entries + WAYS - 1) / WAYS;
  return wanted <= 1 ? 1 : (<u32>1) << (32 - clz<u32>(wanted - 1));
}

function strideOf(valueBytes: u32): u32 {
  return <u32>VALUE + ((valueBytes + 7) & ~7);
}
