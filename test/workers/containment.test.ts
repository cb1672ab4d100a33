// A filter that traps or does not end: what is lost, what is counted, and that the others go on.
import { mkdirSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { readWholeCapture } from "../../src/devices/pcap/whole.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { type Bad, misbehaving, type Style } from "./filters.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const PACKETS = 200_000;

/** How many captures this process has open. */
function openFiles(): number {
  const names = readdirSync("/proc/self/fd").map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return "";
    }
  });
  return names.filter((name) => name.startsWith(folder.path)).length;
}

/** Packets of 1000 flows in turn, of which one is to port 1500, through a filter that does not like that port. */
function scene(
  bad: Bad,
  options: { style?: Style; isolation?: "memory"; onTrap?: "drop" | "pass" | "stop"; packets?: number } = {},
) {
  const { style = "packet", onTrap = "drop", packets = PACKETS, isolation = "none" } = options;
  return pipeline({
    workers: 1,
    devices: {
      load: {
        kind: "generator",
        flows: { from: "10.0.0.1", "from-port": 999, to: "192.0.2.1", "to-port": "1000-1999", count: 1000 },
        packets,
      },
      other: { kind: "generator", flows: { from: "10.0.0.2", to: "192.0.2.1" }, packets },
      sink: { kind: "discard" },
      "other-sink": { kind: "discard" },
    },
    filters: {
      bad: {
        kind: misbehaving(folder.path, `${bad}-${style}-${isolation}`, bad, style) as "/",
        port: 1500,
        "on-trap": onTrap,
        isolation,
      },
      sane: { kind: "checksum", verify: ["ipv4", "udp"] },
    },
    paths: {
      main: { from: "load", through: ["bad", "sane"], to: "sink" },
      beside: { from: "other", through: ["sane"], to: "other-sink" },
    },
  });
}

describe("a filter that traps on every 1000th packet under full load", () => {
  test.each(["trap", "out-of-bounds"] as const)(
    "loses that packet and no other, and the report accounts for each: %s",
    async (bad) => {
      const running = await run(scene(bad));
      const report = await running.ended;
      const { traps, trapped, lastTrap, outputs, packets, counters } = report.filters["bad"];
      expect({ traps, trapped, packets, next: outputs["next"] }).toEqual({
        traps: PACKETS / 1000,
        trapped: PACKETS / 1000,
        packets: PACKETS,
        next: PACKETS - PACKETS / 1000,
      });
      // Each was called for once: nothing that was done is done again.
      expect(counters["seen"]).toBe(PACKETS);
      expect(lastTrap).toMatch(bad === "trap" ? /^unreachable \(function \d+, byte 0x/ : /out of bounds/);
      expect(running.warnings).toEqual([
        expect.stringMatching(/^filter "bad" trapped: .*; the packet at fault is dropped$/),
      ]);
      expect(report.filters["sane"].outputs["drop"]).toBe(0);
      expect(report.devices["other-sink"].queues[0].tx.packets).toBe(PACKETS);
      expect(conservation(report)).toMatchObject({ drops: { "bad trapped": PACKETS / 1000 }, missing: 0 });
    },
  );
  test("on-trap: pass lets that packet by", async () => {
    const report = await (await run(scene("trap", { onTrap: "pass" }))).ended;
    expect(report.filters["bad"]).toMatchObject({
      traps: PACKETS / 1000,
      trapped: 0,
      outputs: { next: PACKETS, drop: 0 },
    });
    expect(conservation(report)).toMatchObject({ out: 2 * PACKETS, drops: {}, missing: 0 });
  });
  test("on-trap: stop ends the run, with the filter's name and why", async () => {
    const running = await run(scene("trap", { onTrap: "stop" }));
    await expect(running.ended).rejects.toThrow('filter "bad" trapped: unreachable');
    // The packet at fault, and those behind it in its batch.
    const report = running.report();
    const { trapped } = report.filters["bad"];
    expect(trapped).toBeGreaterThanOrEqual(1);
    expect(conservation(report)).toMatchObject({ drops: { "bad trapped": trapped }, missing: 0 });
  });
  test("of a batch() filter, loses that packet and no other, too", async () => {
    const report = await (await run(scene("trap", { style: "batch" }))).ended;
    const { traps, trapped, outputs, packets, counters } = report.filters["bad"];
    expect({ traps, trapped, packets, next: outputs["next"] }).toEqual({
      traps: PACKETS / 1000,
      trapped: PACKETS / 1000,
      packets: PACKETS,
      next: PACKETS - PACKETS / 1000,
    });
    expect(counters["seen"]).toBe(PACKETS);
    expect(report.devices["other-sink"].queues[0].tx.packets).toBe(PACKETS);
    expect(conservation(report)).toMatchObject({ drops: { "bad trapped": PACKETS / 1000 }, missing: 0 });
  });
  test("of a batch() filter that has looked at all of a batch, loses what has no output yet", async () => {
    const report = await (await run(scene("trap", { style: "two-passes" }))).ended;
    const { traps, trapped, outputs, counters } = report.filters["bad"];
    expect({ traps, all: trapped + outputs["next"] }).toEqual({ traps: PACKETS / 1000, all: PACKETS });
    // Those behind the one at fault were counted in the first pass: no packet is seen twice.
    expect(counters["seen"]).toBe(PACKETS);
    expect(trapped).toBeLessThanOrEqual(64 * traps);
    expect(conservation(report).missing).toBe(0);
  });
  test("of a batch() filter that traps when every packet has its output, loses none", async () => {
    const report = await (await run(scene("trap", { style: "afterwards" }))).ended;
    expect(report.filters["bad"]).toMatchObject({
      traps: PACKETS / 1000,
      trapped: 0,
      outputs: { next: PACKETS },
    });
    expect(conservation(report).missing).toBe(0);
  });
  test("of a batch() filter in a memory of its own, loses that packet and no other", async () => {
    const report = await (await run(scene("trap", { style: "batch", isolation: "memory" }))).ended;
    expect(report.filters["bad"]).toMatchObject({
      traps: PACKETS / 1000,
      trapped: PACKETS / 1000,
      outputs: { next: PACKETS - PACKETS / 1000 },
    });
    expect(conservation(report).missing).toBe(0);
  });
});

test("a filter that traps at every packet is paused, and costs its own path alone", async () => {
  const flow = scene("trap");
  const only = {
    ...flow.pipeline,
    devices: flow.pipeline.devices.map((device) => ({ ...device, params: { ...device.params } })),
  };
  const [load] = only.devices;
  load.params["flows"] = (load.params["flows"] as object[]).map((entry) => ({
    ...entry,
    "to-port": { first: 1500, last: 1500 },
    count: 1,
  }));
  const report = await (await run({ pipeline: only })).ended;
  const { traps, trapped, outputs } = report.filters["bad"];
  expect({ trapped, next: outputs["next"] }).toEqual({ trapped: PACKETS, next: 0 });
  // Without a pause there would be one a packet.
  expect(traps).toBeLessThan(PACKETS / 100);
  expect(report.devices["other-sink"].queues[0].tx.packets).toBe(PACKETS);
  expect(conservation(report)).toMatchObject({ drops: { "bad trapped": PACKETS }, missing: 0 });
});

test("a filter that asks for more state than there may be is refused before anything is opened", async () => {
  const path = join(folder.path, "greedy");
  mkdirSync(path);
  writeFileSync(join(path, "filter.yaml"), "summary: Greedy.\nstate: { shared: computed }\n");
  writeFileSync(
    join(path, "index.ts"),
    `import { OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
export function packet(p: Packet): Output { return OUTPUT_NEXT; }
export function sharedStateSize(params: usize): usize { return 0xc0000000; }
`,
  );
  const flow = pipeline({
    devices: {
      load: { kind: "generator", flows: { from: "10.0.0.1", to: "192.0.2.1" } },
      sink: { kind: "discard" },
    },
    filters: { greedy: { kind: path as "/" } },
    paths: { main: { from: "load", through: "greedy", to: "sink" } },
  });
  await expect(run(flow)).rejects.toThrow(
    `${path}: with these parameters it asks for 3.00 GiB of shared state, and 1 GiB is the most`,
  );
});

describe("a filter that does not end", () => {
  test("is ended with its worker, which is replaced; other paths go on, and the report accounts for each packet", async () => {
    const packets = 100_000;
    const running = await run(scene("loop", { packets }), {});
    const report = await running.ended;
    expect(report.replacedWorkers).toBe(1);
    const { traps, trapped, lastTrap, outputs } = report.filters["bad"];
    expect(traps).toBe(1);
    expect(lastTrap).toBe("did not end within 250 ms of processor time");
    expect(trapped + outputs["next"]).toBe(packets);
    // It is left alone for a while.
    expect(trapped).toBeGreaterThan(packets - 1000);
    expect(report.devices["other-sink"].queues[0].tx.packets).toBe(packets);
    expect(running.warnings).toEqual([
      expect.stringMatching(
        /^filter "bad" did not end within 250 ms of processor time on worker 0: the worker was replaced, \d+ packets in its hands are lost; the filter's packets there are dropped for a while$/,
      ),
    ]);
    expect(conservation(report).missing).toBe(0);
  });
  test.each(["pcap", "pcapng"])(
    "goes on with the captures that its worker reads and writes: %s",
    async (format) => {
      const packets = 5000;
      const [read, written] = [folder.file(`in.${format}`), folder.file(`out.${format}`)];
      const made = pipeline({
        devices: {
          load: {
            kind: "generator",
            flows: {
              from: "10.0.0.1",
              "from-port": 999,
              to: "192.0.2.1",
              "to-port": "1000-1999",
              count: 1000,
            },
            packets,
          },
          file: { kind: "pcap", write: read },
        },
        paths: { main: { from: "load", to: "file" } },
      });
      await (await run(made)).ended;
      const flow = pipeline({
        devices: { from: { kind: "pcap", read }, to: { kind: "pcap", write: written } },
        filters: {
          bad: {
            kind: misbehaving(folder.path, `captures-${format}`, "loop") as "/",
            port: 1500,
            "on-trap": "pass",
          },
        },
        paths: { main: { from: "from", through: ["bad"], to: "to" } },
      });
      const descriptors = openFiles();
      const report = await (await run(flow)).ended;
      const { traps, trapped } = report.filters["bad"];
      expect({ traps, replaced: report.replacedWorkers }).toEqual({ traps: 1, replaced: 1 });
      // The batch at hand, and nothing of what waited to be written or is still to be read.
      expect(trapped).toBeGreaterThan(0);
      expect(trapped).toBeLessThanOrEqual(64);
      expect(report.devices["from"].queues[0].rx.packets).toBe(packets);
      expect(report.devices["to"].queues[0].tx.packets).toBe(packets - trapped);
      expect(conservation(report).missing).toBe(0);
      const records = readWholeCapture(written).packets;
      expect(records).toHaveLength(packets - trapped);
      expect(openFiles()).toBe(descriptors);
    },
  );
  test("on-trap: pass lets its later packets by", async () => {
    const packets = 100_000;
    const report = await (await run(scene("loop", { packets, onTrap: "pass" }))).ended;
    const { trapped, outputs } = report.filters["bad"];
    expect(trapped).toBeLessThanOrEqual(1000);
    expect(trapped + outputs["next"]).toBe(packets);
    expect(conservation(report).missing).toBe(0);
  });
  test("on-trap: stop ends the run", async () => {
    const running = await run(scene("loop", { onTrap: "stop" }));
    await expect(running.ended).rejects.toThrow(
      'filter "bad" did not end within 250 ms of processor time on worker 0',
    );
  });
});

describe("a filter that never lets go of what it holds", () => {
  const HOLDS = 32;
  /** Holds what it may, lets the rest by, and does something when it is woken. */
  const holding = (name: string, wake: string) => {
    const path = join(folder.path, name);
    mkdirSync(path);
    writeFileSync(join(path, "filter.yaml"), `summary: Holds.\nholds: ${HOLDS}\n`);
    writeFileSync(
      join(path, "index.ts"),
      `import { hold, now, OUTPUT_HOLD, OUTPUT_NEXT, Output, Packet, wakeAt } from "pktflow/assembly";
export function packet(p: Packet): Output {
  ${wake}
  return hold(p) ? OUTPUT_HOLD : OUTPUT_NEXT;
}
export function wake(): void { ${wake} }
`,
    );
    const generator = (from: string) => ({
      ...{ kind: "generator" as const, packets: PACKETS, flows: [{ from, to: "192.0.2.1", count: 10 }] },
    });
    return pipeline({
      workers: 1,
      devices: {
        load: generator("10.0.0.1"),
        other: generator("10.0.0.2"),
        sink: { kind: "discard" },
        "other-sink": { kind: "discard" },
      },
      filters: { keeps: { kind: path as "/" } },
      paths: {
        main: { from: "load", through: ["keeps"], to: "sink" },
        beside: { from: "other", to: "other-sink" },
      },
    });
  };
  test.each([
    ["and is never woken", ""],
    ["though it is woken all the time: the run ends all the same", "wakeAt(now() + 1000);"],
  ])("%s", async (what, wake) => {
    const report = await (await run(holding(`keeps-${what.length}`, wake))).ended;
    expect(report.filters["keeps"]).toMatchObject({
      held: HOLDS,
      traps: 0,
      outputs: { next: PACKETS - HOLDS, drop: 0 },
    });
    expect(report.devices["sink"].queues[0].tx.packets).toBe(PACKETS - HOLDS);
    expect(report.devices["other-sink"].queues[0].tx.packets).toBe(PACKETS);
    expect(conservation(report)).toMatchObject({ held: HOLDS, missing: 0 });
  });
});
