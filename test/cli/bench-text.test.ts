// What `pktflow bench` prints of its results, without a measurement.
import { stripVTControlCharacters } from "node:util";
import { expect, test } from "vitest";
import type { Contender, Latency, QueueRates, RunResult } from "../../src/bench/results.ts";
import * as bench from "../../src/cli/bench-text.ts";
import * as compare from "../../src/cli/compare-text.ts";

const { doubts } = bench;
// In colours where CI is set.
const benchText = (...of: Parameters<typeof bench.benchText>) =>
  stripVTControlCharacters(bench.benchText(...of));
const compareText = (...of: Parameters<typeof compare.compareText>) =>
  stripVTControlCharacters(compare.compareText(...of));

const machine = { date: "2026-11-25", kernel: "Linux 6", processor: "A", processors: 2, runtime: "node 20" };
const idle: Latency = { p50: 12, p99: 100, p999: 2000, sent: 100, received: 100 };

function rates(queue: string): QueueRates {
  return {
    ...{
      queue,
      inPackets: 900,
      packets: 20,
      datagrams: 20,
      gigabits: 0.5,
      drops: 30,
      filterDrops: 850,
      read: 900,
    },
    ...{ cpuPerPacket: 1100, busy: 1, waiting: 0, packetsPerBatch: 64 },
  };
}

function run(traffic: "udp" | "tcp", drops: Record<string, number>): RunResult {
  const dropped = Object.values(drops).reduce((a, b) => a + b, 0);
  return {
    ...{ traffic, size: 64, queues: [rates("0"), rates("1")], sum: rates("sum"), io: "uring", seconds: 1 },
    ...{ senders: 1, flows: 10, sink: "ingress", port: 9, overrun: 1, sendFailures: 0, idle, load: idle },
    ...(traffic === "tcp" ? { goodput: 1.5, cpuPerGigabyte: 900 } : { offered: 1e6 }),
    filters: { sane: 20, upload: 30 },
    balance: {
      ...{
        in: 1000,
        out: 1000 - dropped - 5,
        segmented: 0,
        coalesced: 0,
        fresh: 0,
        held: 5,
        drops,
        missing: 0,
      },
      ...{ received: 10, delivered: 10 },
    },
  };
}

test.each(["udp", "tcp"] as const)("%s: rows of two queues and their sum follow each other", (traffic) => {
  const text = benchText({ pipeline: "p", from: "a", to: "b", machine, runs: [run(traffic, {})] });
  expect(text.split("\n\n")[1].split("\n")).toHaveLength(4);
});

test("what the queue refused and what filters dropped, and of which packets CPU is", () => {
  const text = benchText({ pipeline: "p", from: "a", to: "b", machine, runs: [run("udp", {})] });
  const [head, first] = text.split("\n\n")[1].split("\n");
  expect(head).toMatch(/queue drops\/s +filter drops\/s +read\/s +CPU ns\/read/);
  expect(first).toMatch(/ 20 .* 30 +850 +900 +1,100 /);
});

test("a filter that dropped most is said, and is in the balance", () => {
  const found = run("udp", { "upload drop": 980, "sane drop": 5 });
  expect(doubts(found)).toEqual(["filter upload dropped 98 %: this measures its rate, not the pipeline's"]);
  expect(benchText({ pipeline: "p", from: "a", to: "b", machine, runs: [found] })).toContain(
    "in 1,000 = out 10 + held 5 + drops 985 (upload drop 980, sane drop 5)",
  );
  expect(doubts(run("udp", { "upload drop": 400 }))).toEqual([]);
});

test("a ping without peers has none in its title, and no column for them", () => {
  const spread = { median: 50, min: 40, max: 60 };
  const contender = (name: string): Contender => ({
    name,
    what: "",
    roundTrip: spread,
    above: spread,
    ratio: spread,
  });
  const text = (names: string[]) => {
    const ping = {
      traffic: "ping" as const,
      size: 84,
      flows: 1,
      queues: 1,
      pairs: 1,
      seconds: 3,
      skipped: [],
    };
    const peers = [{ ...ping, contenders: names.map(contender) }];
    return compareText({ pipeline: "p", machine, peers });
  };
  expect(text(["pktflow"])).toMatch(/^p: Linux 6/);
  expect(text(["pktflow"])).toContain("one turn of 3 s");
  expect(text(["pktflow"])).not.toContain("by it");
  expect(text(["pktflow"])).not.toContain("above it");
  expect(text(["pktflow", "forward"])).toMatch(/^p and its peers: .*pktflow above it, us +pktflow by it/s);
});
