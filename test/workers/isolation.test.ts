// `isolation: memory` in a running pipeline: the packets, the counters, the traps; and what a hostile filter can do.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { misbehaving } from "./filters.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

/** A filter of its source's packet(), in a memory of its own. */
function isolated(name: string, source: string, manifest = ""): "/" {
  const path = join(folder.path, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "filter.yaml"), `summary: ${name}.\nisolation: memory\n${manifest}`);
  writeFileSync(
    join(path, "index.ts"),
    `import { counter, Ipv4, now, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, workerState } from "pktflow/assembly";\n` +
      `import { Counters, params } from "./params";\n${source}`,
  );
  return path as "/";
}

const PACKETS = 100_000;

/** Generated packets through a filter, then through those that trust what dissect has proved. */
function scene(kind: "/", params: Record<string, unknown> = {}) {
  return pipeline({
    workers: 1,
    devices: {
      load: {
        kind: "generator",
        flows: {
          from: "10.0.0.1",
          "from-port": 999,
          to: "192.0.2.1",
          "to-port": "1000-1999",
          count: 1000,
          size: [64, 700, 1500],
        },
        packets: PACKETS,
      },
      sink: { kind: "discard" },
    },
    filters: { own: { kind, ...params }, sane: { kind: "checksum", verify: ["ipv4", "udp"] } },
    paths: { main: { from: "load", through: ["own", "sane"], to: "sink" } },
  });
}

describe("a filter with a memory of its own", () => {
  test("gets every packet whole and gives it back so, with its parameters, state, time and counters", async () => {
    const kind = isolated(
      "whole",
      `const log: string[] = [];
export function packet(p: Packet): Output {
  log.push("a string for each packet, and the heap grows: " + p.length.toString());
  if (log.length == 1000) log.length = 0;
  store<u32>(workerState(), load<u32>(workerState()) + 1);
  counter(Counters.state).add(load<u32>(workerState()) % 2);
  counter(Counters.bytes).add(p.ipEnd - p.ip);
  if (now() == 0 || params.ports.at(1).last != 8999) return OUTPUT_DROP;
  return OUTPUT_NEXT;
}
`,
      "params: { ports: { type: list, of: port-range, doc: P. } }\ncounters: { state: S., bytes: B. }\nstate: { worker: 64 }\n",
    );
    const report = await (await run(scene(kind, { ports: [80, "8000-8999"] }))).ended;
    const { outputs, counters } = report.filters["own"];
    expect(report.filters["own"].lastTrap).toBe("");
    expect(outputs).toEqual({ next: PACKETS, drop: 0 });
    expect(counters["state"]).toBe(PACKETS / 2);
    expect(counters["bytes"]).toBe(report.devices["load"].queues[0].rx.bytes);
    expect(report.filters["sane"].outputs).toEqual({ next: PACKETS, drop: 0 });
    expect(conservation(report)).toMatchObject({ out: PACKETS, drops: {}, missing: 0 });
  });
  test.each([0, 1000])(
    "may grow its memory in init; traps (%i: none) lose their packets alone",
    async (every) => {
      const kind = isolated(
        `grows-${every}`,
        `let big: StaticArray<u8> = changetype<StaticArray<u8>>(0);
let seen: u32 = 0;
export function init(): void { big = new StaticArray<u8>(8 << 20); }
export function packet(_p: Packet): Output {
  seen = load<u32>(workerState()) + 1;
  store<u32>(workerState(), seen);
  big[seen] = 1;
  counter(Counters.seen).add(1);
  if (${every} != 0 && seen == 500) unreachable();
  return OUTPUT_NEXT;
}
`,
        "counters: { seen: S. }\nstate: { worker: 64 }\n",
      );
      const report = await (await run(scene(kind))).ended;
      const { traps, trapped, badOutputs, outputs } = report.filters["own"];
      expect(badOutputs).toBe(0);
      expect(trapped).toBe(traps);
      if (every === 0) expect(traps).toBe(0);
      else expect(traps).toBeGreaterThan(100);
      expect(outputs["next"]).toBe(PACKETS - trapped);
      expect(conservation(report).missing).toBe(0);
    },
  );
  test.each(["trap", "loop"] as const)("is contained as others are: %s", async (bad) => {
    const path = misbehaving(folder.path, `isolated-${bad}`, bad);
    const flow = scene(path as "/", { port: 1500, isolation: "memory" });
    const report = await (await run(flow)).ended;
    const { traps, trapped } = report.filters["own"];
    if (bad === "trap")
      expect({ traps, trapped }).toEqual({ traps: PACKETS / 1000, trapped: PACKETS / 1000 });
    else expect(report.replacedWorkers).toBe(1);
    expect(conservation(report).missing).toBe(0);
  });
});

describe("a hostile filter", () => {
  test.each([
    ["moves its packet out of its slot", "p.data = p.slot + p.capacity;"],
    ["moves it to another's", "p.data = p.data + 1728;"],
    ["makes it longer than its slot", "p.length = 0xffffffff;"],
    ["makes it empty", "p.length = 0;"],
    ["moves it before its slot", "p.data = 0;"],
  ])("that %s loses it, as a bad output", async (_what, source) => {
    const kind = isolated(
      `hostile-${source.length}`,
      `export function packet(p: Packet): Output { ${source} return OUTPUT_NEXT; }\n`,
    );
    const report = await (await run(scene(kind))).ended;
    expect(report.filters["own"]).toMatchObject({ badOutputs: PACKETS, outputs: { next: 0, drop: PACKETS } });
    expect(conservation(report).missing).toBe(0);
  });
  test("that lies about lengths and offsets deceives nobody behind it", async () => {
    const kind = isolated(
      "liar",
      `export function packet(p: Packet): Output {
  store<u16>(p.ip, 0xffff, 2);
  p.l4 = 60000; p.payload = 65535; p.protocol = 6;
  p.flags |= 2;
  return OUTPUT_NEXT;
}
`,
    );
    const report = await (await run(scene(kind))).ended;
    // IPv4's total length is wrong, so it is no IPv4 packet to the next filter, which drops what is malformed.
    expect(report.filters["own"].outputs["next"]).toBe(PACKETS);
    expect(report.filters["sane"]).toMatchObject({ traps: 0, packets: PACKETS });
    expect(conservation(report).missing).toBe(0);
  });
  test("that reads or writes outside of its own memory traps, and only its packets are lost", async () => {
    const kind = isolated(
      "reader",
      "export function packet(p: Packet): Output { return load<u8>(0x7fff0000) == 0 ? OUTPUT_NEXT : OUTPUT_DROP; }\n",
    );
    const report = await (await run(scene(kind))).ended;
    expect(report.filters["own"]).toMatchObject({
      trapped: PACKETS,
      lastTrap: expect.stringContaining("out of bounds"),
    });
    expect(conservation(report).missing).toBe(0);
  });
});

describe("is refused", () => {
  test("state that is shared, for nobody shares its memory", async () => {
    const kind = isolated(
      "shared",
      "export function packet(p: Packet): Output { return OUTPUT_NEXT; }\n",
      "state: { shared: 64 }\n",
    );
    await expect(run(scene(kind))).rejects.toThrow("with a memory of its own it can share no state");
  });
  test("isolation: none for a filter that needs its own memory", () => {
    const kind = isolated("needs", "export function packet(p: Packet): Output { return OUTPUT_NEXT; }\n");
    expect(() => scene(kind, { isolation: "none" })).toThrow(
      "isolation: none is not for this filter, which needs a memory of its own",
    );
  });
});
