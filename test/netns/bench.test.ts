// `pktflow bench` against the real kernel, for a moment each: figures are sane and add up. Nothing timed is asserted.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { BenchResult, CompareResult } from "../../src/bench/results.ts";
import { describeKernel } from "../support/namespace.ts";
import { pktflow } from "../support/pktflow.ts";

const SHORT = ["--for", "200ms", "--flows", "64"];

async function bench(file: string, ...args: string[]): Promise<BenchResult> {
  const { status, stdout, stderr } = await pktflow([
    "bench",
    `pipelines/${file}`,
    ...SHORT,
    "--json",
    ...args,
  ]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

const compiler = spawnSync("cc", ["--version"]).error === undefined;
const nft = spawnSync("nft", ["--version"]).error === undefined;

describeKernel("pktflow bench --peers", () => {
  const PEERS = ["forward", "forward-uring", "forward-vnet", "forward-chain"];

  test("each peer forwards between the same hosts, and is measured alike; what is missing is said", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pktflow-test-"));
    try {
      const chart = join(folder, "peers.svg");
      const args = ["--peers", "--pairs", "2", "--queues", "1", "--sizes", "64", "--json", "--chart", chart];
      const { status, stdout } = await pktflow(["bench", "pipelines/nat-gateway.yaml", ...SHORT, ...args]);
      expect(status).toBe(0);
      const [comparison] = (JSON.parse(stdout) as CompareResult).peers;
      const { contenders, skipped } = comparison;
      const expected = ["pktflow", ...(compiler ? PEERS : []), ...(nft ? ["kernel"] : [])];
      expect(contenders.map(({ name }) => name)).toEqual(expected);
      expect(skipped.map(({ name }) => name)).toEqual([
        ...(compiler ? [] : PEERS),
        ...(nft ? [] : ["kernel"]),
      ]);
      for (const { name, datagrams, cpu, idle, ratio } of contenders) {
        expect(datagrams.min, name).toBeGreaterThan(0);
        expect(datagrams.median).toBeGreaterThanOrEqual(datagrams.min);
        expect(datagrams.max).toBeGreaterThanOrEqual(datagrams.median);
        expect(idle, name).toBeGreaterThan(0);
        expect(ratio.median).toBeGreaterThan(0);
        // The kernel forwards in whoever's time it finds.
        if (name === "kernel") expect(cpu).toBeUndefined();
        else expect(cpu, name).toBeGreaterThan(0);
      }
      expect(contenders[0].ratio).toEqual({ median: 1, min: 1, max: 1 });
      expect(readFileSync(chart, "utf8")).toMatch(/^<svg .*<\/svg>\n$/s);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("the C chain is left out where it would do other work, visibly", async () => {
    const args = ["--peers", "--pairs", "1", "--sizes", "64"];
    const { status, stdout } = await pktflow(["bench", "pipelines/forward.yaml", ...SHORT, ...args]);
    expect(status).toBe(0);
    expect(stdout).toContain("skipped forward-chain: the pipeline does not have checksum, acl and nat");
  });
});

describeKernel("pktflow bench", () => {
  const CASES = [
    { file: "forward.yaml", io: "uring", from: "a", to: "b" },
    { file: "forward.yaml", io: "poll", from: "a", to: "b" },
    { file: "nat-gateway.yaml", io: "auto", from: "lan", to: "wan" },
    { file: "router.yaml", io: "auto", from: "left", to: "right" },
  ];
  test.each(CASES)(
    "$file under $io: each size with each number of queues",
    async ({ file, io, from, to }) => {
      const result = await bench(file, "--sizes", "64,1400", "--queues", "1,2", "--io", io);
      expect([result.from, result.to]).toEqual([from, to]);
      expect(result.runs.map(({ size, queues }) => [size, queues.length])).toEqual([
        [64, 1],
        [1400, 1],
        [64, 2],
        [1400, 2],
      ]);
      for (const run of result.runs) {
        if (io !== "auto") expect(run.io).toBe(io);
        expect(run.balance.missing).toBe(0);
        // Two who count: the pipeline what it wrote, the kernel what came in.
        expect(run.balance.received).toBe(run.balance.delivered);
        expect(run.sum.packets).toBeGreaterThan(0);
        // A way that uses one queue of two would measure one.
        for (const queue of run.queues) {
          expect(queue.packets).toBeGreaterThan(0);
          expect(queue.cpuPerPacket).toBeGreaterThan(0);
          expect(queue.packetsPerBatch).toBeGreaterThanOrEqual(1);
          expect(queue.packetsPerBatch).toBeLessThanOrEqual(64);
        }
        expect(run.sum.packets).toBeCloseTo(
          run.queues.reduce((sum, { packets }) => sum + packets, 0),
          3,
        );
        // However many of them a packet carries.
        expect((run.sum.gigabits * 1e9) / 8 / run.sum.datagrams).toBeCloseTo(run.size, 3);
        expect(run.offered).toBeGreaterThan(0);
        expect(run.idle.received).toBeGreaterThan(0);
        expect(run.idle.received).toBeLessThanOrEqual(run.idle.sent);
        expect(run.idle.p50).toBeGreaterThan(0);
        expect(run.idle.p99).toBeGreaterThanOrEqual(run.idle.p50!);
        expect(run.idle.p999).toBeGreaterThanOrEqual(run.idle.p99!);
        expect(run.sendFailures).toBe(0);
      }
    },
  );

  test("the port is one that the filters let pass: 53, not the first, through the gateway's firewall", async () => {
    const { runs } = await bench("nat-gateway.yaml", "--sizes", "64", "--queues", "1");
    expect(runs[0].port).toBe(53);
    expect(Object.keys(runs[0].filters)).toContain("masquerade");
  });

  test("on Ethernet, where the wire's own firewall is told to let UDP pass", async () => {
    const set = ["--set", "filters.guard.default=accept"];
    const { runs } = await bench("tap-wire.yaml", "--sizes", "64", "--queues", "2", ...set);
    const { sum, balance } = runs[0];
    // 64 bytes of IP behind 14 of Ethernet; a neighbour's question and answer may be among them.
    expect((sum.gigabits * 1e9) / 8 / sum.datagrams / 78).toBeCloseTo(1, 1);
    expect(balance.missing).toBe(0);
  });

  test("where no datagram gets through, it says so and what to do", async () => {
    const { status, stdout, stderr } = await pktflow(["bench", "pipelines/tap-wire.yaml", ...SHORT]);
    expect(status).toBe(2);
    expect(stdout).toBe("");
    expect(stderr).toContain("no UDP datagram from left gets through to right (10.9.0.2)");
    expect(stderr).toContain("--port");
  });

  test("the table has a row a queue and their sum, and the latency without load and under it", async () => {
    const args = [...SHORT, "--sizes", "64", "--queues", "2", "--quiet"];
    const { status, stdout } = await pktflow(["bench", "pipelines/forward.yaml", ...args]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^forward: a -> b, Linux /);
    expect(stdout).toMatch(/\n64 +2 +0 .*\n +1 .*\n +sum .*\n/);
    expect(stdout).toMatch(/\n64 +2 +idle .*\n +under load .*\n/);
    expect(stdout).not.toContain("unaccounted");
  });
});

test.each([
  [["pipelines/quickstart.yaml"], "has no tun or tap device"],
  [["pipelines/forward.yaml", "--from", "c"], "the hosts are those of a, b"],
  [["pipelines/forward.yaml", "--sizes", "20"], "a number from 44 to 1500"],
  [["pipelines/forward.yaml", "--queues", "1,x"], "a number from 1 to 256"],
])("wrong usage: %s", async (args, message) => {
  const { status, stderr } = await pktflow(["bench", ...args]);
  expect(status).toBe(2);
  expect(stderr).toContain(message);
});
