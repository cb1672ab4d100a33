// `pktflow bench --memory`: needs no privilege and no kernel. Nothing timed is asserted.
import { spawnSync } from "node:child_process";
import { expect, test, vi } from "vitest";
import { inMemory } from "../../src/bench/chain-traffic.ts";
import type { MemoryResult } from "../../src/bench/results.ts";
import { type BenchOptions, inMemory as measureInMemory } from "../../src/cli/bench-runs.ts";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { pktflow } from "../support/pktflow.ts";

const SHORT = ["--memory", "--for", "100ms", "--sizes", "64", "--json"];

const OPTIONS: Omit<BenchOptions, "sizes"> = {
  ...{ load: "udp", connections: 1, burst: 32, for: 100e6, io: "auto", set: [], versus: [] },
  ...{ memory: true, pairs: 1, queues: [1], json: true },
};

async function bench(file: string, ...args: string[]): Promise<MemoryResult> {
  const { status, stdout, stderr } = await pktflow(["bench", `pipelines/${file}`, ...SHORT, ...args]);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return JSON.parse(stdout);
}

test("one worker and two, each filter on the way, every packet through", async () => {
  const { memory } = await bench("nat-gateway.yaml", "--queues", "1,2");
  expect(memory.map(({ nanoseconds }) => nanoseconds.length)).toEqual([1, 2]);
  for (const run of memory) {
    expect(run).toMatchObject({ size: 64, port: 53, flows: 10_000, passed: 1 });
    // Not `unreachable`: nothing is refused on the way that was chosen.
    expect(Object.keys(run.filters)).toEqual(["sane", "firewall", "masquerade"]);
    for (const ns of [...run.nanoseconds, ...Object.values(run.filters)]) expect(ns).toBeGreaterThan(0);
    expect(run.packets).toBeCloseTo(
      run.nanoseconds.reduce((sum, ns) => sum + 1e9 / ns, 0),
      3,
    );
  }
});

test("the same work in C, in turn with it, or why not", async () => {
  const compiler = spawnSync("cc", ["--version"]).error === undefined;
  const { peers } = await bench("nat-gateway.yaml", "--queues", "1", "--peers", "--pairs", "2");
  expect(peers).toHaveLength(1);
  const [{ nanoseconds, ratio, skipped }] = peers!;
  if (compiler) {
    expect(nanoseconds).toBeGreaterThan(0);
    expect(ratio!.min).toBeGreaterThan(0);
    expect(ratio!.median).toBeGreaterThanOrEqual(ratio!.min);
    expect(ratio!.max).toBeGreaterThanOrEqual(ratio!.median);
  } else {
    expect(skipped).toContain("cc is not installed");
  }
  const other = await bench("forward.yaml", "--queues", "1", "--peers");
  expect(other.peers![0].skipped).toContain("does not have checksum, acl and nat");
});

test("who ends it gets what was measured until then", async () => {
  const interrupted = new AbortController();
  const sizes = (function* () {
    yield 64;
    interrupted.abort(new Error("ended by a test"));
    yield 1400;
  })();
  const options = { ...OPTIONS, sizes: sizes as Iterable<number> as number[] };
  const said = vi.spyOn(process.stdout, "write").mockReturnValue(true);
  try {
    const pipeline = loadPipeline("pipelines/nat-gateway.yaml");
    await expect(measureInMemory(pipeline, options, interrupted.signal)).rejects.toThrow("ended by a test");
    const { memory } = JSON.parse(String(said.mock.calls[0][0])) as MemoryResult;
    expect(memory.map(({ size }) => size)).toEqual([64]);
  } finally {
    said.mockRestore();
  }
});

test("a generator's own flows stand for themselves", async () => {
  const pipeline = loadPipeline("pipelines/quickstart.yaml");
  const generator = pipeline.devices.find(({ kind }) => kind === "generator")!;
  const made = inMemory(pipeline, 2, { size: 64, flows: 10, port: 9, source: undefined });
  expect(made.devices[0].params["flows"]).toEqual(generator.params["flows"]);
  expect(made.devices[0].params["packets"]).toBe(0);
  expect(made.devices.slice(1).every(({ kind }) => kind === "discard")).toBe(true);
});

test("otherwise UDP from the source's network to the other host's address", () => {
  const pipeline = loadPipeline("pipelines/nat-gateway.yaml");
  const { devices, paths } = inMemory(pipeline, 1, { size: 64, flows: 10_000, port: 53, source: "lan" });
  expect(devices[0].params["flows"]).toEqual([
    {
      proto: "udp",
      from: "10.77.0.0/24",
      to: "198.51.100.1/32",
      "from-port": { first: 1024, last: 65535 },
      "to-port": { first: 53, last: 53 },
      size: [64],
      count: 10_000,
    },
  ]);
  expect(paths.map(({ id, from }) => [id, from.length])).toEqual([
    ["outbound", 1],
    ["inbound", 0],
    ["bounce", 0],
  ]);
});

test.each([
  ["clean-capture.yaml", "there is no generator"],
  ["tap-wire.yaml", "no UDP packet gets through the filters on port 9, 53"],
])("%s: %s", async (file, message) => {
  const { status, stderr } = await pktflow(["bench", `pipelines/${file}`, ...SHORT]);
  expect(status).toBe(2);
  expect(stderr).toContain(message);
});
