// What V8 says of collections and deoptimisations, as Node 20 and 24 write it, is read to what it means.
import { expect, test } from "vitest";
import { readDeoptimisations, readGarbage } from "../../src/bench/v8-trace.ts";

const MAIN = `[16141:0x71d7820]      107 ms: Scavenge 4.6 (4.7) -> 4.0 (5.7) MB, 1.84 / 0.01 ms  (average mu = 1.000, current mu = 1.000) allocation failure;
[16141:0x71d7820]      828 ms: Mark-Compact 12.3 (19.0) -> 9.0 (19.0) MB, 20.15 / 0.06 ms  (+ 14.8 ms in 1 steps since start of marking) task
`;
const START = `${MAIN}[16141:0x7f500c000f00]      696 ms: Scavenge 8.1 (10.2) -> 6.9 (11.2) MB, 1.63 / 0.00 ms  (average mu = 1.000) task;
[bailout (kind: deopt-eager, reason: Insufficient type feedback for call): begin. deoptimizing 0x0d0d92a811f1 <JSFunction skipInstruction (sfi = 0x58dda374931)>, 0x3b650cbba469 <Code TURBOFAN>, opt id 31, bytecode offset 95]
`;
const SPAN = `[16141:0x7f500c000f00]     2298 ms: Scavenge 8.9 (11.2) -> 7.3 (15.5) MB, 3.20 / 0.00 ms  (average mu = 1.000) allocation failure;
[16141:0x71d7820]     2307 ms: Scavenge 99.0 (99.7) -> 4.0 (5.7) MB, 9.84 / 0.01 ms  (average mu = 1.000) allocation failure;
[bailout (kind: deopt-lazy, reason: (unknown)): begin. deoptimizing 0x0b66eca41539 <JSFunction run (sfi = 0x20a6c6c8ee71)>, 0x06ba47ae3459 <Code TURBOFAN>, opt id 34]
[16141:0x7f500c000f00]     7187 ms: Mark-Compact (reduce) 11.2 (15.5) -> 7.3 (15.5) MB, 3.98 / 0.00 ms  (average mu = 1.000) task;
[bailout (kind: deopt-eager, reason: wrong map): begin. deoptimizing 0x0b66eca41539 <JSFunction (sfi = 0x20a6c6c8ee71)>, 0x06ba47ae3459 <Code TURBOFAN>, opt id 35]
`;

test("of the workers' heaps, what was allocated between collections in the span", () => {
  const { bytes, paused, ...counts } = readGarbage(START + SPAN, SPAN);
  expect(counts).toEqual({ scavenges: 1, majors: 1 });
  // From 6.9 MB to 8.9, and from 7.3 to 11.2.
  expect(bytes / 2 ** 20).toBeCloseTo(2 + 3.9, 6);
  expect(paused).toBeCloseTo(7.18, 6);
});

test("nothing in the span is nothing", () => {
  expect(readGarbage(START, "")).toEqual({ scavenges: 0, majors: 0, paused: 0, bytes: 0 });
  expect(readDeoptimisations("")).toEqual([]);
});

test("deoptimisations with function, kind and reason", () => {
  expect(readDeoptimisations(SPAN)).toEqual([
    { name: "run", kind: "deopt-lazy", reason: "(unknown)" },
    { name: "(anonymous)", kind: "deopt-eager", reason: "wrong map" },
  ]);
});
