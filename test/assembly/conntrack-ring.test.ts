// assembly/lib/conntrack-ring.ts: entries leave in the order in which they came, and one that is never written holds up nothing
// for good.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { compile } from "../../src/filters/build.ts";
import { coreOnMemory } from "./core.ts";

const PROBE = `
import { ConntrackRing, entryIndex, isEntryOf, NO_ENTRY } from "pktflow/assembly/lib/conntrack-ring";
const at: usize = 131072;
export function format(capacity: u32): void {
  memory.fill(at, 0, ConntrackRing.bytes(capacity));
  ConntrackRing.format(at, capacity);
}
export function append(index: u32, generation: u32): void {
  ConntrackRing.at(at).append(index, ((<u64>generation) << 16) | 0xffffffff8000ffff);
}
export function take(generation: u32): i32 {
  const entry = ConntrackRing.at(at).takeOldest();
  if (entry == NO_ENTRY) return -1;
  return isEntryOf(entry, ((<u64>generation) << 16) | 0x180) ? <i32>entryIndex(entry) : -2;
}
/** As a worker that is ended before it writes its entry. */
export function reserve(): void { atomic.add<u64>(at, 1); }
export function begin(position: u32): void {
  store<u64>(at, <u64>position);
  store<u64>(at, <u64>position, 64);
}
`;

type Probe = Record<"format" | "append" | "take" | "reserve" | "begin", (...args: number[]) => number>;
let ring: Probe;
beforeAll(async () => {
  const { m } = await coreOnMemory();
  const bytes = await compile("/probe", "probe.ts", new Map([["/probe/probe.ts", PROBE]]));
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  ring = new WebAssembly.Instance(module, { env: { memory: m.memory } }).exports as unknown as Probe;
});

describe("the ring of the connections of a table", () => {
  test("gives what was appended, oldest first, of the last ones that it has room for, at any position", () => {
    const step = fc.oneof(
      { weight: 2, arbitrary: fc.constant("append") },
      { weight: 1, arbitrary: fc.constant("take") },
    );
    const positions = fc.constantFrom(0, 60, 2 ** 25 - 70, 2 ** 31 - 20);
    fc.assert(
      fc.property(
        fc.constantFrom(1, 64, 65, 100),
        positions,
        fc.array(step, { maxLength: 400, size: "max" }),
        (capacity, from, steps) => {
          ring.format(capacity);
          ring.begin(from);
          const size = capacity <= 64 ? 64 : 128;
          const wanted: number[] = [];
          for (const [i, one] of steps.entries()) {
            if (one === "append") {
              ring.append(i + 1, 7);
              if (wanted.push(i + 1) > size) wanted.shift();
            } else expect(ring.take(7)).toBe(wanted.shift() ?? -1);
          }
          for (const one of wanted) expect(ring.take(7)).toBe(one);
          expect(ring.take(7)).toBe(-1);
        },
      ),
    );
  });

  test("an entry has the generation that its record had, and the highest number that there is", () => {
    ring.format(1);
    ring.append(2 ** 24 - 1, 0x7fff);
    ring.append(3, 5);
    expect(ring.take(0x7fff)).toBe(2 ** 24 - 1);
    expect(ring.take(6)).toBe(-2);
  });

  test("an entry that is reserved and not written is waited for, and passed over when 32 have come behind it", () => {
    ring.format(1);
    ring.append(1, 1);
    ring.reserve();
    expect(ring.take(1)).toBe(1);
    for (let i = 2; i <= 32; i++) {
      ring.append(i, 1);
      expect(ring.take(1)).toBe(-1);
    }
    ring.append(33, 1);
    for (let i = 2; i <= 33; i++) expect(ring.take(1)).toBe(i);
    expect(ring.take(1)).toBe(-1);
    // What stood there a round before is not taken for it.
    for (let i = 0; i < 30; i++) ring.append(i, 1);
    for (let i = 0; i < 30; i++) ring.take(1);
    ring.reserve();
    expect(ring.take(1)).toBe(-1);
  });
});
