// Space-saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k Elements in Data Streams", 2005):
// the largest of any number of keys in a table of a few. A key that has no row takes that of the smallest, its count with it:
// that is how much it may have missed, its error. So of every key with a row
//
//   count >= what it had >= count - error,
//
// and who had more than the N-th part of everything has a row in a table of N. Weights are whole numbers: packets, or bytes.
//
//   | Table: rows, each a key, then count, error | buckets | per row: next, place in the heap, hash | heap: count, row |
//
// Rows are found by their hash in chains; a binary heap has the smallest count on top. For one worker.

import { mix } from "./flow-key";
import { Table } from "./table";

const HEADER: usize = 32;
/** Of a row beside the table's: index + 1 of the next in its chain, its place in the heap, its hash. */
const LINK: usize = 12;
const PLACE: usize = 4;
const HASH: usize = 8;
/** Of the heap: a row's count again, so that it is compared without looking at the row. */
const HEAP: usize = 16;
const HEAP_ROW: usize = 8;

@unmanaged
export class SpaceSaving {
  private seed: u64;
  private mask: u32;
  private rows: u32;
  /** Bytes of a key, a multiple of 8, at the start of a row; right behind it its count and its error, u64 each. */
  private keyBytes: u32;
  private table: u32;
  /** How often a key has taken the row of another. */
  replaced: u64;

  /** @returns bytes of state beside the table's, a multiple of 8 */
  static bytes(rows: u32): usize {
    const links = ((<usize>buckets(rows)) << 2) + <usize>rows * LINK;
    return HEADER + ((links + 7) & ~7) + <usize>rows * HEAP;
  }

  @inline static at(address: usize): SpaceSaving {
    return changetype<SpaceSaving>(address);
  }

  /** @param seed nobody outside may know it, or could make keys that share a chain */
  static open(address: usize, table: Table, rows: u32, keyBytes: u32, seed: u64): SpaceSaving {
    memory.fill(address, 0, SpaceSaving.bytes(rows));
    const top = changetype<SpaceSaving>(address);
    top.seed = seed;
    top.mask = buckets(rows) - 1;
    top.rows = rows;
    top.keyBytes = keyBytes;
    top.table = <u32>changetype<usize>(table);
    return top;
  }

  /**
   * Counts a key.
   * @param key keyBytes at a multiple of 8
   * @returns its row; if it has just got it, the numbers behind count and error are 0
   */
  add(key: usize, weight: u64): usize {
    const table = changetype<Table>(<usize>this.table);
    const hash = this.hashOf(key);
    for (let link = load<u32>(this.bucket(hash)); link != 0; link = load<u32>(this.link(link - 1))) {
      const at = this.link(link - 1);
      if (load<u32>(at, HASH) != hash) continue;
      const row = table.row(link - 1);
      if (!this.isSame(row, key)) continue;
      this.grow(load<u32>(at, PLACE), weight);
      return row;
    }
    if (!table.isFull) return this.addRow(table, key, hash, weight);
    return this.replace(table, key, hash, weight);
  }

  private addRow(table: Table, key: usize, hash: u32, weight: u64): usize {
    const index = table.used;
    const row = table.add();
    memory.copy(row, key, this.keyBytes);
    store<u64>(row + this.keyBytes, weight);
    Table.end(row);
    this.chain(index, hash);
    // Up from the bottom, as long as those above it are larger.
    let place = index;
    while (place > 0) {
      const above = (place - 1) >> 1;
      if (load<u64>(this.entry(above)) <= weight) break;
      this.put(place, load<u64>(this.entry(above)), load<u32>(this.entry(above), HEAP_ROW));
      place = above;
    }
    this.put(place, weight, index);
    return row;
  }

  /** The smallest makes room. */
  private replace(table: Table, key: usize, hash: u32, weight: u64): usize {
    this.replaced++;
    const least = load<u64>(this.entry(0));
    const index = load<u32>(this.entry(0), HEAP_ROW);
    const row = table.row(index);
    this.unchain(index);
    Table.begin(row);
    memory.copy(row, key, this.keyBytes);
    const numbers = row + this.keyBytes;
    memory.fill(numbers, 0, table.rowEnd(row) - numbers);
    store<u64>(numbers, least + weight);
    store<u64>(numbers, least, 8);
    Table.end(row);
    this.chain(index, hash);
    this.sink(0, least + weight, index);
    return row;
  }

  /** What a key may have that has no row: what the smallest has, where there is no more room. To be told now and then. */
  tellOthers(): void {
    const table = changetype<Table>(<usize>this.table);
    if (!table.isFull) return;
    const least = load<u64>(this.entry(0));
    store<u64>(table.others + this.keyBytes, least);
    store<u64>(table.others + this.keyBytes, least, 8);
  }

  /** The row at a place in the heap has more. */
  private grow(place: u32, weight: u64): void {
    const count = load<u64>(this.entry(place)) + weight;
    const index = load<u32>(this.entry(place), HEAP_ROW);
    const row = changetype<Table>(<usize>this.table).row(index);
    store<u64>(row + this.keyBytes, count);
    this.sink(place, count, index);
  }

  /** Down from a place, as long as one below is smaller. */
  private sink(place: u32, count: u64, index: u32): void {
    const used = changetype<Table>(<usize>this.table).used;
    for (;;) {
      let below: u32 = 2 * place + 1;
      if (below >= used) break;
      if (below + 1 < used && load<u64>(this.entry(below + 1)) < load<u64>(this.entry(below))) below++;
      const least = load<u64>(this.entry(below));
      if (least >= count) break;
      this.put(place, least, load<u32>(this.entry(below), HEAP_ROW));
      place = below;
    }
    this.put(place, count, index);
  }

  private put(place: u32, count: u64, index: u32): void {
    const at = this.entry(place);
    store<u64>(at, count);
    store<u32>(at, index, HEAP_ROW);
    store<u32>(this.link(index), place, PLACE);
  }

  private chain(index: u32, hash: u32): void {
    const bucket = this.bucket(hash);
    const at = this.link(index);
    store<u32>(at, load<u32>(bucket));
    store<u32>(at, hash, HASH);
    store<u32>(bucket, index + 1);
  }

  private unchain(index: u32): void {
    let before = this.bucket(load<u32>(this.link(index), HASH));
    while (load<u32>(before) != index + 1) before = this.link(load<u32>(before) - 1);
    store<u32>(before, load<u32>(this.link(index)));
  }

  private isSame(row: usize, key: usize): bool {
    const end = key + this.keyBytes;
    for (; key < end; key += 8, row += 8) if (load<u64>(row) != load<u64>(key)) return false;
    return true;
  }

  private hashOf(key: usize): u32 {
    const end = key + this.keyBytes;
    let h = this.seed;
    for (; key < end; key += 8) h = mix(h ^ load<u64>(key));
    return <u32>h;
  }

  @inline private bucket(hash: u32): usize {
    return changetype<usize>(this) + HEADER + ((<usize>(hash & this.mask)) << 2);
  }
  @inline private link(index: u32): usize {
    return changetype<usize>(this) + HEADER + ((<usize>this.mask + 1) << 2) + <usize>index * LINK;
  }
  @inline private entry(place: u32): usize {
    const links = ((<usize>this.mask + 1) << 2) + <usize>this.rows * LINK;
    return changetype<usize>(this) + HEADER + ((links + 7) & ~7) + <usize>place * HEAP;
  }
}

function buckets(rows: u32): u32 {
  return rows <= 8 ? 8 : (<u32>1) << (32 - clz<u32>(rows - 1));
}
