// core's partition, measure and copy, against what they say of themselves.
import fc from "fast-check";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { BATCH, CONTEXT, DESCRIPTOR, HEADROOM, OUTPUT_DROP } from "../../src/batches/layout.ts";
import { batchAt, batchCount, batchPush, u64Read } from "../../src/batches/memory.ts";
import { BATCH_ADDRESS, coreOnMemory, counters } from "./core.ts";

const OUTPUTS = 4;
const CONTEXT_ADDRESS = 1024;
const TABLE = 1280;
const OUTPUT_COUNTERS = 1344;
const FREE = 16_384;
const OTHERS = [20_480, 24_576];
const DESCRIPTORS = 32_768;

let bench: Awaited<ReturnType<typeof coreOnMemory>>;
beforeAll(async () => {
  bench = await coreOnMemory();
});
beforeEach(() => {
  const { u8, u32 } = bench.m;
  u8.fill(0);
  u32[(CONTEXT_ADDRESS + CONTEXT.OUTPUTS) >>> 2] = OUTPUTS;
  u32[(CONTEXT_ADDRESS + CONTEXT.OUTPUT_COUNTERS) >>> 2] = OUTPUT_COUNTERS;
  u32[(CONTEXT_ADDRESS + CONTEXT.OUTPUT_BATCHES) >>> 2] = TABLE;
  u32.set([0, FREE, ...OTHERS], TABLE >>> 2);
});

const descriptor = (i: number) => DESCRIPTORS + i * DESCRIPTOR.SIZE;
function fill(outputs: number[]): void {
  bench.m.u32[(BATCH_ADDRESS + BATCH.COUNT) >>> 2] = 0;
  outputs.forEach((output, i) => {
    bench.m.u8[descriptor(i) + DESCRIPTOR.OUTPUT] = output;
    batchPush(bench.m, BATCH_ADDRESS, descriptor(i));
  });
}
const contents = (batch: number) =>
  Array.from({ length: batchCount(bench.m, batch) }, (_, i) => batchAt(bench.m, batch, i));

describe("partition", () => {
  const outputs = fc.array(fc.oneof(fc.constant(0), fc.nat(OUTPUTS - 1), fc.constantFrom(OUTPUTS, 17, 255)), {
    maxLength: 64,
  });
  test("sends each packet where its output leads, in order; none is lost or doubled; all are counted", () => {
    fc.assert(
      fc.property(outputs, fc.nat(3), (chosen, alreadyThere) => {
        const { m, core } = bench;
        for (const batch of [FREE, ...OTHERS]) m.u32[(batch + BATCH.COUNT) >>> 2] = 0;
        const there = Array.from({ length: alreadyThere }, (_, i) => descriptor(100 + i));
        for (const d of there) batchPush(m, OTHERS[0], d);
        m.u8.fill(0, OUTPUT_COUNTERS, OUTPUT_COUNTERS + OUTPUTS * 8);
        m.u8.fill(0, CONTEXT_ADDRESS + CONTEXT.BAD_OUTPUTS, CONTEXT_ADDRESS + CONTEXT.BAD_OUTPUTS + 8);
        fill(chosen);
        core.partition(BATCH_ADDRESS, CONTEXT_ADDRESS);

        const goesTo = (output: number) => (output < OUTPUTS ? output : OUTPUT_DROP);
        const by = (output: number) =>
          chosen.flatMap((o, i) => (goesTo(o) === output ? [descriptor(i)] : []));
        expect(contents(BATCH_ADDRESS)).toEqual(by(0));
        expect(contents(FREE)).toEqual(by(OUTPUT_DROP));
        expect(contents(OTHERS[0])).toEqual([...there, ...by(2)]);
        expect(contents(OTHERS[1])).toEqual(by(3));
        expect(counters(m, OUTPUT_COUNTERS, OUTPUTS)).toEqual([0, 1, 2, 3].map((o) => by(o).length));
        const bad = chosen.filter((o) => o >= OUTPUTS).length;
        expect(u64Read(m, CONTEXT_ADDRESS + CONTEXT.BAD_OUTPUTS)).toBe(bad);
      }),
      { numRuns: 2000 },
    );
  });
  test("counts on from what was counted, past 32 bits", () => {
    bench.m.u32.set([0xffff_ffff, 1], OUTPUT_COUNTERS >>> 2);
    fill([0, 0]);
    bench.core.partition(BATCH_ADDRESS, CONTEXT_ADDRESS);
    expect(counters(bench.m, OUTPUT_COUNTERS, 1)).toEqual([0x2_0000_0001]);
  });
});

test("measure adds packets, bytes and the datagrams that they carry", () => {
  const { m, core } = bench;
  fill([0, 0, 0]);
  [60, 1500, 64_000].forEach((length, i) => {
    m.u32[(descriptor(i) + DESCRIPTOR.LENGTH) >>> 2] = length;
    m.u32[(descriptor(i) + DESCRIPTOR.DATAGRAMS) >>> 2] = [1, 1, 45][i];
  });
  core.measure(BATCH_ADDRESS, 2048);
  core.measure(BATCH_ADDRESS, 2048);
  expect(counters(m, 2048, 3)).toEqual([6, 2 * 65_560, 94]);
});

describe("copy", () => {
  const [FROM, TO] = [descriptor(0), descriptor(1)];
  const [FROM_SLOT, TO_SLOT] = [65_536, 98_304];
  const CAPACITY = 1024;

  function prepare(length: number): void {
    const { m } = bench;
    for (let i = 0; i < DESCRIPTOR.SLOT; i++) m.u8[FROM + i] = i + 1;
    m.u32[(FROM + DESCRIPTOR.DATA) >>> 2] = FROM_SLOT + 3;
    m.u32[(FROM + DESCRIPTOR.LENGTH) >>> 2] = length;
    m.u8[TO + DESCRIPTOR.OUTPUT] = 9;
    m.u32[(TO + DESCRIPTOR.SLOT) >>> 2] = TO_SLOT;
    m.u32[(TO + DESCRIPTOR.CAPACITY) >>> 2] = CAPACITY;
    for (let i = 0; i < CAPACITY; i++) m.u8[FROM_SLOT + 3 + i] = (i * 7) & 255;
  }

  test("makes the same packet in another slot, headroom before it, and leaves that slot's own fields", () => {
    const { m, core } = bench;
    prepare(500);
    expect(core.copy(TO, FROM)).toBe(1);
    expect(m.u32[(TO + DESCRIPTOR.DATA) >>> 2]).toBe(TO_SLOT + HEADROOM);
    expect(m.u32[(TO + DESCRIPTOR.LENGTH) >>> 2]).toBe(500);
    const copied = m.u8.slice(TO_SLOT + HEADROOM, TO_SLOT + HEADROOM + 500);
    expect(copied).toEqual(m.u8.slice(FROM_SLOT + 3, FROM_SLOT + 503));
    const known = (d: number) => [...m.u8.slice(d + DESCRIPTOR.L3, d + DESCRIPTOR.SLOT)];
    const outputAt = DESCRIPTOR.OUTPUT - DESCRIPTOR.L3;
    expect(known(TO)).toEqual(known(FROM).with(outputAt, 9));
    expect(m.u32[(TO + DESCRIPTOR.SLOT) >>> 2]).toBe(TO_SLOT);
    expect(m.u32[(TO + DESCRIPTOR.CAPACITY) >>> 2]).toBe(CAPACITY);
  });
  test("fits to the last byte, and changes nothing when it does not fit", () => {
    const { m, core } = bench;
    prepare(CAPACITY - HEADROOM);
    expect(core.copy(TO, FROM)).toBe(1);
    prepare(CAPACITY - HEADROOM + 1);
    const before = m.u8.slice(TO, TO_SLOT + CAPACITY);
    expect(core.copy(TO, FROM)).toBe(0);
    expect(m.u8.slice(TO, TO_SLOT + CAPACITY)).toEqual(before);
  });
});
