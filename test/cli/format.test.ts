// Numbers as people read them, and time limits as long as people write them.
import { stripVTControlCharacters } from "node:util";
import { expect, test, vi } from "vitest";
import { after } from "../../src/cli/commands/run.ts";
import { showText } from "../../src/cli/filter/show.ts";
import { filterTables } from "../../src/cli/filter-tables.ts";
import { compact, wordTable, wrap, wrapList } from "../../src/cli/format.ts";
import { summary } from "../../src/cli/summary.ts";
import type { Report } from "../../src/control/report.ts";
import { builtinManifests } from "../../src/filters/catalog.ts";

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

test.each([
  [["a text"], 80, "a text"],
  [["web 10", "dns 9", "mail 8"], 12, "web 10,\n  dns 9,\n  mail 8"],
  [["longer than that", "b"], 6, "longer than that,\n  b"],
  [["one", "two"], Number.POSITIVE_INFINITY, "one, two"],
])("the list %j in %d characters", (parts, width, lines) => {
  expect(wrapList(parts, width, ", ", "  ")).toBe(lines);
});

test("a port in a filter's table is no quantity", () => {
  const rows = [
    { from: "10.0.0.1/32", "to-port": 40275, bytes: 276696 },
    { from: "10.0.0.2/32", bytes: 1000 },
  ];
  const filters = { flows: { tables: { top: { keys: ["from", "to-port", "proto"], rows, others: 1000 } } } };
  expect(stripVTControlCharacters(filterTables({ filters } as unknown as Report)[0])).toBe(
    [
      "flows top",
      "from         to-port    bytes",
      "10.0.0.1/32  40275    276,696",
      "10.0.0.2/32             1,000",
      "others: at most 1,000 each",
    ].join("\n"),
  );
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

test.each([
  [5, "in 5 = out 5 + drops 0", "in 5 = out 5 + drops 0"],
  [7, "in 7 = out 5 + drops 0, 2 under way", "in 7 = out 5 + drops 0: 2 unaccounted for"],
  [
    4,
    "in 4 = out 5 + drops 0, 1 more came out while this was read",
    "in 4 = out 5 + drops 0: -1 unaccounted for",
  ],
])(
  "of %d packets in, a running pipeline may have some under way, one that has ended none",
  (packets, runs, ended) => {
    const none = { packets: 0, bytes: 0, datagrams: 0 };
    const offload = { segmented: 0, coalesced: 0 };
    const queue = (rx: number, tx: number) => ({
      ...{ rx: { ...none, packets: rx }, tx: { ...none, packets: tx } },
      ...{ drops: {}, malformed: {}, offload },
    });
    const report = {
      ...{ pipeline: "p", seconds: 1, io: "poll", workers: 1, paths: {}, filters: {}, replacedWorkers: 0 },
      batches: { count: 0, packetsPerBatch: 0 },
      devices: { a: { queues: [queue(packets, 0), queue(0, 5)] } },
    } as unknown as Report;
    const last = (text: string) => stripVTControlCharacters(text).split("\n").at(-1);
    expect(last(summary(report, true))).toBe(runs);
    expect(last(summary(report))).toBe(ended);
  },
);

test("Words go on below themselves where a terminal is narrow, and below their row where it is narrower", () => {
  const plain = (columns: number) =>
    stripVTControlCharacters(
      wordTable(
        ["name", "type", ""],
        [["rate", "u32", "Packets a second for each client and worker."]],
        columns,
      ),
    );
  const words = "Packets a second for each client and worker.";
  expect(plain(Number.POSITIVE_INFINITY)).toBe(`name  type\nrate  u32   ${words}`);
  expect(plain(80)).toBe(`name  type\nrate  u32   ${words}`);
  expect(plain(46)).toBe("name  type\nrate  u32   Packets a second for each client\n            and worker.");
  expect(plain(30)).toBe("name  type\nrate  u32\n    Packets a second for each\n    client and worker.");
  expect(wrap("a wholewordstayswhole b", 8)).toBe("a\nwholewordstayswhole\nb");
});

test.each([80, 120])("filter show has no line longer than a terminal of %d columns", (columns) => {
  const module = { path: "nat.wasm", bytes: 1024, exports: ["memory", "init", "process"] };
  for (const manifest of builtinManifests()) {
    const lines = (width: number) =>
      stripVTControlCharacters(showText(manifest, module, undefined, width)).split("\n");
    expect(lines(columns).filter((line) => line.length > columns)).toEqual([]);
    // Nothing is lost by it.
    const words = (width: number) => lines(width).join(" ").split(/\s+/).sort();
    expect(words(columns)).toEqual(words(Number.POSITIVE_INFINITY));
  }
});
