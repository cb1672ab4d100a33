// Counters are u64 that one thread adds to and others read.
import { expect, test } from "vitest";
import { counterAdd, counterRead, PacketMemory } from "../../src/batches/memory.ts";

const m = new PacketMemory(new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true }));

test.each([
  ["below 2^32", [1, 2, 3]],
  ["over 2^32", [2 ** 32 - 1, 1]],
  ["far over 2^32 at once", [2 ** 32 - 1, 2 ** 40 + 5]],
  ["over it twice", [2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, 3]],
  ["up to 2^53", [2 ** 53 - 2, 1]],
])("%s", (_, additions) => {
  const address = 1024;
  m.u32.fill(0, 0);
  // A neighbour on each side, which must not change.
  m.u32[(address - 4) >>> 2] = 7;
  m.u32[(address + 8) >>> 2] = 7;
  for (const n of additions) counterAdd(m, address, n);
  expect(counterRead(m, address)).toBe(additions.reduce((a, b) => a + b, 0));
  expect([m.u32[(address - 4) >>> 2], m.u32[(address + 8) >>> 2]]).toEqual([7, 7]);
});
