// `pktflow bench` against the real kernel, for a moment each: figures are sane and add up. Nothing timed is asserted.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { residentMemory, sceneOf, startProcess } from "../../src/bench/process.ts";
import type { BenchResult, CompareResult, Spread } from "../../src/bench/results.ts";
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

/** Where there is something, and in order. */
function expectSpread(spread: Spread | undefined, name: string): void {
  expect(spread?.min, name).toBeGreaterThan(0);
  expect(spread!.median).toBeGreaterThanOrEqual(spread!.min);
  expect(spread!.max).toBeGreaterThanOrEqual(spread!.median);
}

const compiler = spawnSync("cc", ["--version"]).error === undefined;
const nft = spawnSync("nft", ["--version"]).error === undefined;

describeKernel("pktflow bench --peers", () => {
  const PEERS = ["forward", "forward-vnet", "forward-uring", "forward-chain"];

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
        expectSpread(datagrams, name);
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

describeKernel("pktflow bench --load", () => {
  async function turns(file: string, ...args: string[]): Promise<CompareResult["peers"][0]> {
    const { status, stdout, stderr } = await pktflow(["bench", file, ...SHORT, "--quiet", "--json", ...args]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    return (JSON.parse(stdout) as CompareResult).peers[0];
  }

  test.each(["uring", "poll"])(
    "tcp through the gateway, %s engine: what is received, on each queue",
    async (io) => {
      const args = ["--load", "tcp", "--connections", "4", "--queues", "2", "--io", io];
      const { runs } = await bench("nat-gateway.yaml", ...args);
      expect(runs).toHaveLength(1);
      const [run] = runs;
      expect(run.traffic).toBe("tcp");
      // The first that its firewall lets pass, and the MTU.
      expect([run.port, run.size, run.flows, run.sink]).toEqual([443, 1500, 4, "streams"]);
      expect(run.goodput).toBeGreaterThan(0);
      expect(run.cpuPerGigabyte).toBeGreaterThan(0);
      // The same bytes as the pipeline has counted, with headers and what is under way, at two ends of a short time: of one unit.
      expect(run.goodput! / run.sum.gigabits).toBeGreaterThan(0.4);
      expect(run.goodput! / run.sum.gigabits).toBeLessThan(2.5);
      expect(run.balance.missing).toBe(0);
      expect(run.sendFailures).toBe(0);
      // Of UDP probes, on a port of their own.
      expect(run.idle.received).toBeGreaterThan(0);
    },
  );

  test("tcp in turn with peers and with another setting", async () => {
    const args = ["--load", "tcp", "--pairs", "1", "--queues", "1", "--against", "forward-vnet,kernel"];
    const versus = "devices.lan.offload=off";
    const found = await turns("pipelines/nat-gateway.yaml", ...args, "--versus", versus);
    const expected = ["pktflow", versus, ...(compiler ? ["forward-vnet"] : []), ...(nft ? ["kernel"] : [])];
    expect(found.contenders.map(({ name }) => name)).toEqual(expected);
    for (const { name, goodput, cpuPerGigabyte } of found.contenders) {
      expectSpread(goodput, name);
      if (name !== "kernel") expect(cpuPerGigabyte, name).toBeGreaterThan(0);
    }
  });

  test("ping: round trips, alone and beside the C forwarder with one thread and with two", async () => {
    for (const threads of ["1", "2"]) {
      const args = ["--load", "ping", "--pairs", "2", "--against", "forward", "--peer-threads", threads];
      const { contenders, size } = await turns("pipelines/forward.yaml", ...args);
      expect(size).toBe(84);
      expect(contenders.map(({ name }) => name)).toEqual(["pktflow", ...(compiler ? ["forward"] : [])]);
      for (const { name, roundTrip, roundTripP99, roundTripBusy, above } of contenders) {
        expectSpread(roundTrip, name);
        expect(roundTripP99).toBeGreaterThanOrEqual(roundTrip!.min);
        expect(roundTripBusy).toBeGreaterThan(0);
        if (name === "pktflow") expect(above).toEqual({ median: 0, min: 0, max: 0 });
      }
    }
  });

  const V6 = `pktflow: 1
devices:
  a: { kind: tun, address: "fd01::2/64" }
  b: { kind: tun, address: "fd02::2/64" }
paths: { there: { from: a, to: b }, back: { from: b, to: a } }
`;
  test.skipIf(!nft)("the kernel routes IPv6, and is a bridge where the pipeline is a wire", async () => {
    const folder = mkdtempSync(join(tmpdir(), "pktflow-test-"));
    try {
      const v6 = join(folder, "v6.yaml");
      writeFileSync(v6, V6);
      for (const [file, size, what] of [
        [v6, 104, "veth, routing"],
        ["pipelines/tap-wire.yaml", 84, "veth, bridge"],
      ] as const) {
        const found = await turns(file, "--load", "ping", "--pairs", "1", "--against", "kernel");
        expect(found.size).toBe(size);
        expect(found.skipped).toEqual([]);
        expect(found.contenders[1].what).toBe(what);
        expectSpread(found.contenders[1].roundTrip, what);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("where no ping is answered, it says so and what to do", async () => {
    const args = ["--load", "ping", "--set", "filters.perimeter.rules.0.to=198.51.100.3"];
    const { status, stderr } = await pktflow(["bench", "pipelines/nat-gateway.yaml", ...SHORT, ...args]);
    expect(status).toBe(2);
    expect(stderr).toContain("no ping from lan to wan (198.51.100.1) is answered");
  });

  test("where no connection comes about, it says so and what to do", async () => {
    const args = ["--load", "tcp", "--port", "25"];
    const { status, stderr } = await pktflow(["bench", "pipelines/nat-gateway.yaml", ...SHORT, ...args]);
    expect(status).toBe(2);
    expect(stderr).toContain("no TCP connection comes about from lan to wan (198.51.100.1) on port 25");
  });
});

describeKernel("pktflow run as the benchmark starts it", () => {
  test.each(["forward", "nat-gateway"])(
    "%s: its first packet, its threads' time, its memory",
    async (name) => {
      const scene = await sceneOf(`pipelines/${name}.yaml`, 2);
      const running = await startProcess(scene);
      try {
        expect(running.firstPacket).toBeGreaterThan(1);
        expect(running.times()!.running).toBeGreaterThan(1e6);
        const { now, most } = residentMemory(running.pid);
        expect(now).toBeGreaterThan(20e6);
        expect(most).toBeGreaterThanOrEqual(now);
      } finally {
        await running.end();
      }
      expect(() => residentMemory(running.pid)).toThrow();
    },
  );

  test("one that cannot start is an error with its words", async () => {
    const scene = await sceneOf("pipelines/forward.yaml", 1);
    await expect(startProcess(scene, { args: ["--io", "carrier-pigeon"] })).rejects.toThrow(
      /no packet has got through: pktflow run has ended \(2\): .*it wants auto, uring or poll/s,
    );
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
        // However many of them a packet carries; a host may say something of its own among ten thousands of them.
        expect((run.sum.gigabits * 1e9) / 8 / run.sum.datagrams).toBeCloseTo(run.size, 1);
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

  test.each(["home-gateway", "bad-network"])(
    "%s: what filters hold and make is in the balance, and drops are there by reason",
    async (name) => {
      const file = `pipelines/${name}.yaml`;
      const args = [...SHORT, "--sizes", "64", "--queues", "1", "--quiet", "--set"];
      // What comes back late is held when the load is over: with a second of delay, for sure.
      const set = name === "bad-network" ? "filters.there.delay=1s" : "filters.upload.rate=1Mbit";
      const { status, stdout } = await pktflow(["bench", file, ...args, set]);
      expect(status).toBe(0);
      expect(stdout).not.toContain("unaccounted");
      const line =
        /in ([\d,]+)(?: \+ segmented ([\d,]+))?(?: \+ made ([\d,]+))? = out ([\d,]+)(?: \+ coalesced ([\d,]+))?(?: \+ held ([\d,]+))? \+ drops ([\d,]+) \((.*)\)/;
      const [, ...found] = line.exec(stdout)!;
      const [received, segmented, made, out, coalesced, held, drops] = found
        .slice(0, 7)
        .map((text) => Number((text ?? "0").replaceAll(",", "")));
      expect(received + segmented + made).toBe(out + coalesced + held + drops);
      if (name === "home-gateway") {
        expect(stdout).toMatch(/filter upload dropped \d+ %: this measures its rate, not the pipeline's/);
      }
      expect(found[7]).toMatch(name === "bad-network" ? /there drop [\d,]+/ : /upload drop [\d,]+/);
    },
  );

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
  [["pipelines/forward.yaml", "--for", "0s"], "nothing can be done in no time"],
  [["pipelines/forward.yaml", "--queues", "1,x"], "a number from 1 to 256"],
  [["pipelines/forward.yaml", "--load", "tcp,udp"], "it wants one of udp, tcp, ping"],
  [["pipelines/forward.yaml", "--against", "forward,vpp"], "vpp is none: they are forward, forward-vnet"],
  [["pipelines/forward.yaml", "--versus", "devices.c.queues=2"], "devices.c"],
])("wrong usage: %s", async (args, message) => {
  const { status, stderr } = await pktflow(["bench", ...args]);
  expect(status).toBe(2);
  expect(stderr).toContain(message);
});
