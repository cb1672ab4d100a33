// acl's connections where there is no room for another: the oldest one that nobody has answered makes it.
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

const [OUT, BACK] = [
  { from: "10.0.0.1", to: "192.0.2.1" },
  { from: "192.0.2.1", to: "10.0.0.1" },
].map((ipv4) => buildPacket({ ipv4, udp: { "from-port": 1, "to-port": 1 } }).bytes);
const UDP = 20;

/** Connection i has a pair of ports of its own. */
function opens(i: number): Uint8Array {
  const bytes = OUT.slice();
  new DataView(bytes.buffer).setUint32(UDP, i + 0x10001);
  return bytes;
}
function answers(i: number): Uint8Array {
  const bytes = BACK.slice();
  const view = new DataView(bytes.buffer);
  view.setUint16(UDP, (i + 0x10001) & 0xffff);
  view.setUint16(UDP + 2, (i + 0x10001) >>> 16);
  return bytes;
}

function benchOf(connections: number): FilterBench {
  const rules = [{ action: "accept", from: "10.0.0.0/8" }];
  return new FilterBench(acl, { stateful: true, connections, rules }, { workers: 2 });
}

/** Answers connections from..to-1. @returns which of them there were */
function alive(bench: FilterBench, from: number, to: number): number[] {
  const found: number[] = [];
  for (let i = from; i < to; i++) if (bench.send(answers(i)).output === "next") found.push(i);
  return found;
}
const range = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

test("which connections there are is what the slow reference says, at one instant, on two workers", () => {
  const step = fc.record({
    isAnswer: fc.oneof(
      { weight: 2, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    which: fc.nat(0xffff),
    worker: fc.nat(1),
  });
  let [evicted, dropped] = [0, 0];
  const runs = (capacities: number[], minLength: number, numRuns: number) =>
    fc.assert(
      fc.property(
        fc.constantFrom(...capacities),
        fc.array(step, { minLength, maxLength: 4 * minLength, size: "max" }),
        (connections, steps) => {
          const bench = benchOf(connections);
          /** By number, in the order in which they began: has it been answered? */
          const table = new Map<number, boolean>();
          for (const [i, { isAnswer, which, worker }] of steps.entries()) {
            if (isAnswer) {
              const there = [...table.keys()];
              if (there.length === 0) continue;
              const one = there[which % there.length];
              expect(bench.send(answers(one), worker).output).toBe("next");
              table.set(one, true);
              continue;
            }
            const oldest = [...table].find(([, isAnswered]) => !isAnswered)?.[0];
            const isFull = table.size === connections;
            const fits = !isFull || oldest !== undefined;
            expect(bench.send(opens(i), worker).output, `packet ${i}`).toBe(fits ? "next" : "drop");
            if (!fits) dropped++;
            if (isFull && oldest !== undefined) {
              table.delete(oldest);
              evicted++;
            }
            if (fits) table.set(i, false);
          }
          expect(alive(bench, 0, steps.length)).toEqual([...table.keys()]);
        },
      ),
      { numRuns },
    );
  runs([1, 4, 64, 65], 60, 100);
  runs([300, 600], 500, 20);
  // Else it would show little.
  expect(evicted).toBeGreaterThan(1000);
  expect(dropped).toBeGreaterThan(100);
});

test("all unanswered: the oldest thousand of 3,000 make room for a thousand", () => {
  const bench = benchOf(3000);
  for (let i = 0; i < 4000; i++) expect(bench.send(opens(i), i & 1).output).toBe("next");
  expect(bench.counters).toMatchObject({ "connections-made": 4000, "connections-evicted": 1000 });
  expect(alive(bench, 0, 4000)).toEqual(range(1000, 4000));
});

test("16 unanswered among 65,536: the next 16 get in, and then the table is full", () => {
  const bench = benchOf(65_536);
  for (let i = 0; i < 65_536; i++) bench.send(opens(i));
  for (let i = 0; i < 65_536; i++) if (i % 4096 !== 4095) bench.send(answers(i));
  const outputs = range(65_536, 65_556).map((i) => {
    const { output } = bench.send(opens(i));
    if (output === "next") bench.send(answers(i));
    return output;
  });
  expect(outputs).toEqual([...Array(16).fill("next"), ...Array(4).fill("drop")]);
  expect(bench.counters).toMatchObject({ "connections-evicted": 16, "table-full": 4 });
});

test("connections that ended without making room do not stand before those that are there", () => {
  const bench = benchOf(300);
  for (let i = 0; i < 3000; i++) {
    if (i % 200 === 0) bench.advance(100);
    bench.send(opens(i));
  }
  bench.advance(100);
  for (let i = 3000; i < 3350; i++) expect(bench.send(opens(i)).output).toBe("next");
  expect(bench.counters).toMatchObject({ "connections-ended": 3000, "connections-evicted": 50 });
  expect(alive(bench, 3000, 3350)).toEqual(range(3050, 3350));
});
