/**
 * Tables that filters keep for the report, as they lie in each instance's own state: rows of a key and of numbers. A worker's
 * filter writes (assembly/lib/table.ts, its twin), the main thread reads, at any time. Where they are stands in
 * CONTEXT.TABLES.
 *
 *    0          4      8            16
 *   +----------+------+------------+---------------------------+-------+-------+--
 *   | capacity | used | row bytes  | others: as a row          | row 0 | row 1 | ...
 *   +----------+------+------------+---------------------------+-------+-------+--
 *    a row, from TABLE.ROWS on
 *    0          4       8                       8 + key, rounded up to 8
 *   +----------+-------+-----------------------+---------+---------+--
 *   | sequence | -     | key: columns, zeros   | u64     | u64     | ...      sequence: odd while the key is being changed
 *   +----------+-------+-----------------------+---------+---------+--
 *
 * The numbers of a key are summed over the workers. `others` are those that a key may have at most that this worker has no row
 * for: they stand for it in the sum, so that what is an upper bound on each worker is one in the sum too (Agarwal and others,
 * "Mergeable Summaries", 2012).
 */
import { CONTEXT } from "./layout.ts";
import { counterRead, type PacketMemory } from "./memory.ts";

export const TABLE = {
  CAPACITY: 0,
  USED: 4,
  ROW_BYTES: 8,
  ROWS: 16,
  /** Of a row. */
  SEQUENCE: 0,
  COLUMNS: 8,
} as const;
/** Looks at a row whose key is being changed before it is left out: a worker may have been stopped in the middle. */
const LOOKS = 100;

export interface TableShape {
  /** Of the key's columns, rounded up to 8. */
  keyBytes: number;
  /** How many numbers a row has. */
  values: number;
  /** Which of the filter's tables it is. */
  index: number;
}
export interface TableRow {
  key: Uint8Array;
  values: number[];
}
export interface ReadTable {
  /** The largest by their first number, largest first. */
  rows: TableRow[];
  /** The most that any key may have, by that number, that is not among these rows. */
  others: number;
}

/**
 * The rows of all workers as one table.
 * @param contexts of the filter's instances, @param most rows that are wanted
 */
export function readTable(
  m: PacketMemory,
  contexts: readonly number[],
  shape: TableShape,
  most: number,
): ReadTable {
  const parts = contexts.map((context) =>
    readPart(m, m.u32[((context + CONTEXT.TABLES) >>> 2) + shape.index], shape),
  );
  const all = parts.length === 1 ? parts[0].rows : merged(parts, shape);
  const rows = all.sort((a, b) => b.values[0] - a.values[0]);
  const unseen = parts.reduce((sum, { others }) => sum + others[0], 0);
  return { rows: rows.slice(0, most), others: Math.max(unseen, rows[most]?.values[0] ?? 0) };
}

interface Part {
  rows: TableRow[];
  others: number[];
}

/** One worker's. A filter may have written anything: what cannot be a table is an empty one. */
function readPart(m: PacketMemory, at: number, { keyBytes, values }: TableShape): Part {
  const none = { rows: [], others: new Array<number>(values).fill(0) };
  const bytes = TABLE.COLUMNS + keyBytes + 8 * values;
  if (at === 0 || at % 8 !== 0 || at + TABLE.ROWS + bytes > m.u8.length) return none;
  const word = (offset: number) => Atomics.load(m.u32, (at + offset) >>> 2);
  const used = word(TABLE.USED);
  const fits = at + TABLE.ROWS + bytes * (used + 1) <= m.u8.length;
  if (word(TABLE.ROW_BYTES) !== bytes || used > word(TABLE.CAPACITY) || !fits) return none;
  const numbers = (row: number) =>
    Array.from({ length: values }, (_, i) => counterRead(m, row + TABLE.COLUMNS + keyBytes + 8 * i));
  const rows: TableRow[] = [];
  for (let i = 1; i <= used; i++) {
    const row = at + TABLE.ROWS + bytes * i;
    for (let look = 0; look < LOOKS; look++) {
      const sequence = Atomics.load(m.u32, row >>> 2);
      if ((sequence & 1) !== 0) continue;
      const key = m.u8.slice(row + TABLE.COLUMNS, row + TABLE.COLUMNS + keyBytes);
      const one = { key, values: numbers(row) };
      if (Atomics.load(m.u32, row >>> 2) !== sequence) continue;
      rows.push(one);
      break;
    }
  }
  return { rows, others: numbers(at + TABLE.ROWS) };
}

function merged(parts: Part[], { values }: TableShape): TableRow[] {
  const names = parts.map(({ rows }) => new Map(rows.map((row) => [nameOf(row.key), row])));
  const found = new Map<string, TableRow>();
  for (const rows of names) {
    for (const [name, { key }] of rows) {
      if (found.has(name)) continue;
      const sum = Array.from({ length: values }, (_, i) =>
        parts.reduce((total, { others }, p) => total + (names[p].get(name)?.values ?? others)[i], 0),
      );
      found.set(name, { key, values: sum });
    }
  }
  return [...found.values()];
}

function nameOf(key: Uint8Array): string {
  return String.fromCharCode(...key);
}
