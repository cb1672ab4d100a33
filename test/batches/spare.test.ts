// Memory taken and given back while a pipeline runs: never twice at once, always zeroed, and used again.
import fc from "fast-check";
import { expect, test } from "vitest";
import { PacketMemory } from "../../src/batches/memory.ts";
import { NoMemory, SpareMemory } from "../../src/batches/spare.ts";

const PAGE = 65536;

function make(maximum = 4096) {
  const m = new PacketMemory(new WebAssembly.Memory({ initial: 2, maximum, shared: true }));
  m.u8.fill(0xee);
  return { m, spare: new SpareMemory(m) };
}

test("ranges do not overlap, are zeroed, lie behind what there was, and begin at cache lines", () => {
  const sizes = fc.array(fc.tuple(fc.integer({ min: 1, max: 300_000 }), fc.boolean()), { maxLength: 60 });
  fc.assert(
    fc.property(sizes, (asked) => {
      const { m, spare } = make();
      const held: { address: number; bytes: number }[] = [];
      for (const [bytes, isKept] of asked) {
        const address = spare.take(bytes);
        expect(address % 64).toBe(0);
        expect(address).toBeGreaterThanOrEqual(2 * PAGE);
        expect(m.u8.subarray(address, address + bytes).every((byte) => byte === 0)).toBe(true);
        for (const other of held) {
          expect(address >= other.address + other.bytes || address + bytes <= other.address).toBe(true);
        }
        m.u8.fill(0xee, address, address + bytes);
        const range = { address, bytes };
        if (isKept) held.push(range);
        else spare.give(range);
      }
    }),
    { numRuns: 50 },
  );
});

test("what is given back is taken again before the memory grows", () => {
  const { m, spare } = make();
  const give = (...ranges: { address: number; bytes: number }[]) => {
    for (const range of ranges) spare.give(range);
  };
  const take = (bytes: number) => ({ address: spare.take(bytes), bytes });
  const [a, b, c] = [take(PAGE), take(100), take(3 * PAGE)];
  const before = m.memory.buffer.byteLength;
  give(a, c, b);
  const all = take(4 * PAGE + 128);
  expect(all.address).toBe(a.address);
  expect(m.memory.buffer.byteLength).toBe(before);
  give(all);
  // Only what is missing at its end is grown.
  take(6 * PAGE);
  expect(m.memory.buffer.byteLength).toBe(2 * PAGE + 6 * PAGE);
  // The plan's own, that nobody reads any more.
  give({ address: PAGE, bytes: 100 });
  expect(spare.take(128)).toBe(PAGE);
  spare.give({ address: 0, bytes: 0 });
});

test("says how much more it wanted where there is no more", () => {
  const { spare } = make(16);
  expect(() => spare.take(64 * PAGE)).toThrow(NoMemory);
  expect(() => spare.take(64 * PAGE)).toThrow("4 MiB more than there is");
  expect(spare.take(8 * PAGE)).toBe(2 * PAGE);
});
