// Charts: XML that a parser takes, with everything that was measured in it.
import { spawnSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { benchChart, compareChart, memoryChart } from "../../src/bench/chart.ts";
import type { Machine, QueueRates, RunResult } from "../../src/bench/results.ts";

const PARSE = "import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.stdin)";
const python = spawnSync("/usr/bin/python3", ["--version"]).error === undefined;
const machine: Machine = {
  date: "2026-11-23",
  kernel: "Linux 6",
  processor: 'A <"&> B',
  processors: 2,
  runtime: "node 20",
};

function rates(queue: string, packets: number): QueueRates {
  const rest = {
    inPackets: packets,
    datagrams: packets,
    gigabits: 0.5,
    drops: 0,
    cpuPerPacket: 900,
    filterDrops: 0,
    read: packets,
  };
  return { queue, packets, ...rest, busy: 1, waiting: 0, packetsPerBatch: 64 };
}

function run(packets: number): RunResult {
  const latency = { p50: 12.5, p99: 100, p999: 2000, sent: 100, received: 100 };
  return {
    traffic: "udp",
    size: 64,
    queues: [rates("0", packets), rates("1", packets)],
    sum: rates("sum", 2 * packets),
    io: "uring",
    seconds: 1,
    senders: 1,
    flows: 10,
    sink: "ingress",
    port: 9,
    offered: 1e6,
    overrun: 0,
    sendFailures: 0,
    idle: latency,
    load: { sent: 100, received: 0 },
    filters: {},
    balance: {
      ...{ in: 1, out: 1, segmented: 0, coalesced: 0, fresh: 0, held: 0, drops: {}, missing: 0 },
      ...{ received: 1, delivered: 1 },
    },
  };
}

const spread = (median: number) => ({ median, min: median / 2, max: median * 2 });
const contender = (name: string, median: number) => {
  return { name, what: "", datagrams: spread(median), gigabits: 1, ratio: spread(1) };
};
const memory = {
  size: 64,
  port: 53,
  flows: 10,
  nanoseconds: [50, 51],
  packets: 39.6e6,
  filters: {},
  passed: 1,
};
const comparison = {
  traffic: "udp" as const,
  size: 64,
  flows: 9,
  queues: 1,
  pairs: 5,
  seconds: 1,
  skipped: [],
};
const stream = (name: string) => ({ name, what: "", goodput: spread(12), ratio: spread(1) });
const pinged = (name: string) => ({
  name,
  what: "",
  roundTrip: spread(40),
  ratio: spread(1),
  above: spread(0),
});
const CHARTS: Record<string, string> = {
  throughput: benchChart({ pipeline: "p", from: "a", to: "b", machine, runs: [run(123_456), run(5e6)] }),
  "no packet at all": benchChart({ pipeline: "p", from: "a", to: "b", machine, runs: [run(0)] }),
  peers: compareChart({
    pipeline: "p",
    machine,
    peers: [
      { ...comparison, contenders: [contender("pktflow", 1e6), contender("forward", 2e6)] },
      { ...comparison, traffic: "tcp", contenders: [stream("pktflow"), stream("kernel")] },
      { ...comparison, traffic: "ping", contenders: [pinged("pktflow"), pinged("forward")] },
    ],
  }),
  memory: memoryChart({ pipeline: "p", machine, memory: [memory] }),
};

describe.each(Object.entries(CHARTS))("%s", (_, svg) => {
  (python ? test : test.skip)(`is well-formed${python ? "" : " (skipped: needs /usr/bin/python3)"}`, () => {
    const { status, stderr } = spawnSync("/usr/bin/python3", ["-c", PARSE], { input: svg, encoding: "utf8" });
    expect(stderr).toBe("");
    expect(status).toBe(0);
  });

  test("has no number that is none, and lies within its width", () => {
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
    for (const [, x, width] of svg.matchAll(/<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g)) {
      expect(Number(x) + Number(width)).toBeLessThanOrEqual(900);
    }
  });
});

test("bars of the queues stand in proportion, one behind the other", () => {
  const bars = [...CHARTS["throughput"].matchAll(/<rect x="([\d.]+)" y="114" width="([\d.]+)"/g)].map((bar) =>
    bar.slice(1).map(Number),
  );
  expect(bars).toHaveLength(2);
  expect(bars[1][0]).toBeCloseTo(bars[0][0] + bars[0][1] + 1, 0);
  expect(CHARTS["throughput"]).toContain("12.5 / 100 / 2000");
  expect(CHARTS["throughput"]).toContain("no probe came");
});
