// Numbers as people read them, and time limits as long as people write them.
import { expect, test, vi } from "vitest";
import { after } from "../../src/cli/commands/run.ts";
import { compact } from "../../src/cli/format.ts";
import { summary } from "../../src/cli/summary.ts";
import type { Report } from "../../src/control/report.ts";

test.each([
  [0, "0"],
  [999, "999"],
  [1000, "1.00 k"],
  [1_234_567, "1.23 M"],
  [999_499, "999 k"],
  [999_999, "1.00 M"],
  [999_999_999, "1.00 G"],
])("%d is %s", (value, text) => {
  expect(compact(value)).toBe(text);
});

test("--for 30d, longer than a timer of Node's runs, is 30 days", () => {
  vi.useFakeTimers();
  try {
    const days = 86_400_000;
    const stop = vi.fn();
    after(30 * days, stop);
    vi.advanceTimersByTime(30 * days - 1);
    expect(stop).not.toHaveBeenCalled();
    vi.advanceTimersByTime(1);
    expect(stop).toHaveBeenCalledOnce();
    const cancel = after(30 * days, stop);
    vi.advanceTimersByTime(29 * days);
    cancel();
    vi.advanceTimersByTime(2 * days);
    expect(stop).toHaveBeenCalledOnce();
  } finally {
    vi.useRealTimers();
  }
});

test.each([
  [1, 1, "f: trapped once, 1 packet lost; last: unreachable"],
  [2, 0, "f: trapped 2 times, no packet lost; last: unreachable"],
  [1000, 2000, "f: trapped 1,000 times, 2,000 packets lost; last: unreachable"],
])("a filter that trapped %d times and lost %d packets", (traps, trapped, line) => {
  const filter = {
    packets: trapped,
    outputs: { next: 0, drop: 0 },
    counters: {},
    nsPerPacket: 0,
    traps,
    trapped,
  };
  const report = {
    ...{ pipeline: "p", seconds: 1, io: "poll", workers: 1, devices: {}, paths: {}, replacedWorkers: 0 },
    batches: { count: 0, packetsPerBatch: 0 },
    filters: { f: { ...filter, held: 0, fresh: 0, lastTrap: "unreachable", badOutputs: 0 } },
  };
  expect(summary(report as unknown as Report)).toContain(line);
});
