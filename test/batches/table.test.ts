// A filter may write anything where its tables are said to be: what is no table is an empty one, and nothing is read outside of the
// memory. A row that is never finished is left out.
import fc from "fast-check";
import { expect, test } from "vitest";
import { CONTEXT } from "../../src/batches/layout.ts";
import { PacketMemory, u64Write } from "../../src/batches/memory.ts";
import { readTable, TABLE } from "../../src/batches/table.ts";

const PAGE = 65_536;
const CONTEXT_AT = 1024;
const TABLE_AT = 4096;
const SHAPE = { keyBytes: 8, values: 2, index: 1 };
const ROW = TABLE.COLUMNS + 8 + 16;

function memory(): PacketMemory {
  const m = new PacketMemory(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));
  m.u32[(CONTEXT_AT + CONTEXT.TABLES + 4) >>> 2] = TABLE_AT;
  return m;
}

/** @param rows key, first and second number of each; the first row is what others have at most */
function write(m: PacketMemory, at: number, rows: [number, number, number][]): void {
  m.u32[(at + TABLE.CAPACITY) >>> 2] = rows.length - 1;
  m.u32[(at + TABLE.USED) >>> 2] = rows.length - 1;
  m.u32[(at + TABLE.ROW_BYTES) >>> 2] = ROW;
  rows.forEach(([key, first, second], i) => {
    const row = at + TABLE.ROWS + ROW * i;
    m.u32[(row + TABLE.COLUMNS) >>> 2] = key;
    u64Write(m, row + TABLE.COLUMNS + 8, first);
    u64Write(m, row + TABLE.COLUMNS + 16, second);
  });
}
const read = (m: PacketMemory, contexts = [CONTEXT_AT], most = 100) => {
  const { rows, others } = readTable(m, contexts, SHAPE, most);
  return { others, rows: rows.map(({ key, values }) => [key[0], ...values]) };
};

test("rows come in the order of their first number, and what is not shown has no more than others", () => {
  const m = memory();
  write(m, TABLE_AT, [
    [0, 3, 3],
    [1, 10, 5],
    [2, 2 ** 40, 7],
    [3, 12, 0],
  ]);
  const sorted = [
    [2, 2 ** 40, 7],
    [3, 12, 0],
    [1, 10, 5],
  ];
  expect(read(m)).toEqual({ others: 3, rows: sorted });
  expect(read(m, [CONTEXT_AT], 1)).toEqual({ others: 12, rows: sorted.slice(0, 1) });
});

test("of two workers numbers of a key are added, and who has no row on one counts as others there", () => {
  const m = memory();
  const second = CONTEXT_AT + CONTEXT.SIZE;
  m.u32[(second + CONTEXT.TABLES + 4) >>> 2] = 2 * TABLE_AT;
  write(m, TABLE_AT, [
    [0, 2, 2],
    [1, 10, 0],
    [2, 4, 1],
  ]);
  write(m, 2 * TABLE_AT, [
    [0, 5, 5],
    [2, 20, 0],
    [3, 6, 6],
  ]);
  expect(read(m, [CONTEXT_AT, second])).toEqual({
    others: 7,
    rows: [
      [2, 24, 1],
      [1, 15, 5],
      [3, 8, 8],
    ],
  });
});

test("a row whose key is being changed, for ever, is left out", () => {
  const m = memory();
  write(m, TABLE_AT, [
    [0, 0, 0],
    [1, 10, 0],
    [2, 4, 1],
  ]);
  m.u32[(TABLE_AT + TABLE.ROWS + ROW) >>> 2] = 7;
  expect(read(m).rows).toEqual([[2, 4, 1]]);
});

test("whatever stands in the context and in the head, nothing is read outside of the memory", () => {
  const word = fc.oneof(
    fc.constantFrom(0, 1, 3, 8, ROW, TABLE_AT, PAGE - 8, PAGE - ROW, PAGE, 2 ** 31, 2 ** 32 - 8, 2 ** 32 - 1),
    fc.nat(2 ** 32 - 1),
  );
  fc.assert(
    fc.property(word, fc.tuple(word, word, word), (at, head) => {
      const m = memory();
      m.u32[(CONTEXT_AT + CONTEXT.TABLES + 4) >>> 2] = at;
      if (at + 12 <= PAGE) for (const [i, value] of head.entries()) m.u32[(at >>> 2) + i] = value;
      const { rows } = readTable(m, [CONTEXT_AT], SHAPE, 10);
      expect(rows.length).toBeLessThanOrEqual(Math.min(10, PAGE / ROW));
      for (const { values } of rows) expect(values.every(Number.isFinite)).toBe(true);
    }),
  );
});
