// Percentiles by the nearest rank: the smallest sample that at least that share of the samples does not exceed.
import { expect, test } from "vitest";
import { latency } from "../../src/bench/results.ts";

test("of 1 to 1000 us in any order", () => {
  const samples = Array.from({ length: 1000 }, (_, i) => 1000 * (1 + ((i * 7) % 1000)));
  expect(latency(samples, 1010)).toEqual({ p50: 500, p99: 990, p999: 999, sent: 1010, received: 1000 });
});

test("one sample is every percentile", () => {
  expect(latency([12_340], 1)).toEqual({ p50: 12.34, p99: 12.34, p999: 12.34, sent: 1, received: 1 });
});

test("no sample is no time at all", () => {
  expect(latency([], 5)).toEqual({ sent: 5, received: 0 });
});
