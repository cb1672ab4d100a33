// A running pipeline takes over other parameters: at once, on every worker, without a packet lost, or not at all.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { conservation, type Report } from "../../src/control/report.ts";
import { FilterError } from "../../src/filters/error.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { type Flow, pipeline } from "../../src/library/pipeline.ts";
import { type Running, run } from "../../src/library/run.ts";
import { NotReloadable } from "../../src/workers/reload.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { misbehaving } from "./filters.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

type Rule = Record<string, unknown>;

/** An acl between two memory devices. */
function firewall(params: Record<string, unknown>, more: { workers?: number } = {}) {
  const { workers = 1 } = more;
  return pipeline({
    workers,
    devices: { in: { kind: "memory", queues: workers }, out: { kind: "memory" } },
    filters: { firewall: { kind: "acl", ...params } },
    paths: { main: { from: "in", through: ["firewall"], to: "out" } },
  });
}

const accept = (name: string, from: string | string[]): Rule => ({ name, action: "accept", from });

const udp = (from: string, to = "192.0.2.1", ports = [1000, 53]): Uint8Array =>
  buildPacket({ ipv4: { from, to }, udp: { "from-port": ports[0], "to-port": ports[1] } }).bytes;

type Wired = Running<"in" | "out">;

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 1));
}

/** Sends a packet into each queue. @returns how many of them came out */
async function through(running: Wired, packet: Uint8Array, filter = "firewall", queues = 1): Promise<number> {
  const { packets, outputs } = running.report().filters[filter];
  for (let queue = 0; queue < queues; queue++) await running.devices.in.write(packet, { queue });
  await until(() => running.report().filters[filter].packets === packets + queues);
  return running.report().filters[filter].outputs["next"] - outputs["next"];
}

async function finish(running: Wired): Promise<Report> {
  running.devices.in.end();
  for await (const _ of running.devices.out);
  return await running.ended;
}

describe("acl", () => {
  test("other rules hold on every worker when reload() returns, and named ones keep their counters", async () => {
    const running = await run(firewall({ rules: [accept("a", "10.0.0.1")] }, { workers: 2 }));
    expect(await through(running, udp("10.0.0.1"), "firewall", 2)).toBe(2);
    expect(await through(running, udp("10.0.0.2"), "firewall", 2)).toBe(0);
    const next = firewall({ rules: [accept("b", "10.0.0.2"), accept("a", "10.0.0.1")] }, { workers: 2 });
    expect(await running.reload(next)).toEqual({
      changed: [{ filter: "firewall", params: ["rules"] }],
      waiting: [],
      trapped: [],
    });
    expect(await through(running, udp("10.0.0.2"), "firewall", 2)).toBe(2);
    expect(await through(running, udp("10.0.0.1"), "firewall", 2)).toBe(2);
    const { counters, outputs } = (await finish(running)).filters["firewall"];
    expect(counters).toMatchObject({ "rules.a": 4, "rules.b": 2, unmatched: 2 });
    expect(outputs).toEqual({ next: 6, drop: 2 });
  });
  test("outputs lead where they led, though the file names them in another order, once and again, or one of them no more", async () => {
    const [one, two, drop] = [1, 2, 3].map((i) => ({
      ...accept(`r${i}`, `10.0.0.${i}`),
      action: ["one", "two", "drop"][i - 1],
    }));
    const flow = (...rules: Rule[]) => {
      const isWired = (name: string) => rules.some(({ action }) => action === name);
      const wires = { ...(isWired("two") && { two: "two" as const }), one: "one" as const };
      const through = [{ firewall: wires }];
      return pipeline({
        devices: { in: { kind: "memory" }, also: { kind: "memory" }, out: { kind: "memory" } },
        filters: { firewall: { kind: "acl", rules } },
        paths: {
          main: { from: "in", through, to: "out" },
          one: { to: "out" },
          two: { from: "also", to: "out" },
        },
      });
    };
    const running = await run(flow(one, two));
    const went = async () => {
      const before = running.report();
      for (const host of [1, 2, 2]) await running.devices.in.write(udp(`10.0.0.${host}`));
      const { packets } = before.filters["firewall"];
      await until(() => running.report().filters["firewall"].packets === packets + 3);
      await until(() => conservation(running.report()).missing === 0);
      const { paths } = running.report();
      return ["one", "two"].map((path) => paths[path].packets - before.paths[path].packets);
    };
    expect(await went()).toEqual([1, 2]);
    await running.reload(flow(two, one));
    expect(await went()).toEqual([1, 2]);
    await running.reload(flow(two, one));
    await running.reload(flow(drop, two, one));
    expect(await went()).toEqual([1, 2]);
    await running.reload(flow(drop, one));
    await running.reload(flow(drop, one));
    expect(await went()).toEqual([1, 0]);
    await running.reload(flow(two, drop, one));
    expect(await went()).toEqual([1, 2]);
    running.devices.also.end();
    await finish(running);
  });
  test("what is the same changes nothing", async () => {
    const flow = firewall({ rules: [accept("a", "10.0.0.1")] });
    const running = await run(flow);
    expect(await running.reload(firewall({ rules: [accept("a", "10.0.0.1")] }))).toEqual({
      changed: [],
      waiting: [],
      trapped: [],
    });
    await finish(running);
  });
  test("named sets, read again from their file; unnamed rules keep their counters", async () => {
    const file = join(folder.path, "friends.txt");
    const read = () =>
      firewall({
        sets: { friends: { file }, office: ["10.9.0.0/16"] },
        rules: [{ action: "accept", from: ["friends", "office"] }],
      });
    writeFileSync(file, "10.0.0.1\n");
    const running = await run(read());
    expect(await through(running, udp("10.0.0.1"))).toBe(1);
    expect(await through(running, udp("10.0.0.2"))).toBe(0);
    writeFileSync(file, "# others\n10.0.0.2\n2001:db8::/32\n");
    const { changed } = await running.reload(read());
    expect(changed).toEqual([{ filter: "firewall", params: ["sets.friends", "rules"] }]);
    expect(await through(running, udp("10.0.0.1"))).toBe(0);
    expect(await through(running, udp("10.0.0.2"))).toBe(1);
    expect(await through(running, udp("10.9.0.2"))).toBe(1);
    const { counters } = (await finish(running)).filters["firewall"];
    expect(counters).toMatchObject({ "rules.0": 3, unmatched: 2 });
  });
  test("connections that began by a rule that is gone go on, others do not begin", async () => {
    const stateful = (rules: Rule[]) => firewall({ stateful: true, rules });
    const running = await run(stateful([accept("a", "10.0.0.0/8")]));
    expect(await through(running, udp("10.0.0.1"))).toBe(1);
    expect(await through(running, udp("192.0.2.1", "10.0.0.1", [53, 1000]))).toBe(1);
    await running.reload(stateful([]));
    expect(await through(running, udp("10.0.0.1"))).toBe(1);
    expect(await through(running, udp("192.0.2.1", "10.0.0.1", [53, 1000]))).toBe(1);
    expect(await through(running, udp("10.0.0.1", "192.0.2.1", [1001, 53]))).toBe(0);
    expect((await finish(running)).filters["firewall"].counters).toMatchObject({ "connections-made": 1 });
  });
  test("from few rules to trees and back, again and again, in memory that does not grow for ever", async () => {
    const flow = (round: number) => {
      const count = round % 2 === 0 ? 3 : 3000;
      // Of each 10.x.y.0/24, those whose y is in this round's half.
      const rules = Array.from({ length: count }, (_, i) =>
        accept(`r${i}`, `10.${i >> 8}.${(i & 254) + ((round >> 1) & 1)}.${i & 1 ? "0/25" : "128/25"}`),
      );
      // So many that cannot be told apart make it worth while to remember what flows found.
      const ports = Array.from({ length: count > 3 ? 60 : 0 }, (_, i): Rule => {
        return { name: `p${i}`, action: "drop", proto: "udp", "to-port": `${2000 + i}-60000` };
      });
      return { count, half: (round >> 1) & 1, flow: firewall({ rules: [...ports, ...rules] }) };
    };
    const first = flow(0);
    const running = await run(first.flow);
    const ask = async ({ count, half }: { count: number; half: number }) => {
      for (const i of [0, 1, 2, 1998, 2999]) {
        const inside = i < count ? 1 : 0;
        const host = i & 1 ? 5 : 133;
        expect(await through(running, udp(`10.${i >> 8}.${(i & 254) + half}.${host}`)), `rule ${i}`).toBe(
          inside,
        );
        expect(await through(running, udp(`10.${i >> 8}.${(i & 254) + 1 - half}.${host}`))).toBe(0);
      }
    };
    await ask(first);
    const sizes: number[] = [];
    for (let round = 1; round <= 12; round++) {
      const next = flow(round);
      await running.reload(next.flow);
      await ask(next);
      sizes.push(running.memory);
    }
    // What the third large one needs, the first and the second have left.
    expect(sizes.slice(4)).toEqual(sizes.slice(4).map(() => sizes[4]));
    expect(conservation(await finish(running)).missing).toBe(0);
  });
});

describe("while packets flow", () => {
  test("every packet meets the rules of one version, and none is lost", async () => {
    const flow = (rules: Rule[]) =>
      pipeline({
        workers: 2,
        devices: {
          load: {
            kind: "generator",
            queues: 2,
            flows: { from: "10.0.0.1", to: "192.0.2.1", "to-port": "1-1000", count: 1000, size: 64 },
          },
          sink: { kind: "discard" },
        },
        filters: { firewall: { kind: "acl", default: "drop", rules } },
        paths: { main: { from: "load", through: ["firewall"], to: "sink" } },
      });
    const open = flow([{ name: "all", action: "accept" }]);
    const shut = flow([
      ...Array.from({ length: 100 }, (_, i) => accept(`never-${i}`, `172.16.${i}.0/24`)),
      { name: "all", action: "drop" },
    ]);
    const running = await run(open);
    for (let round = 0; round < 40; round++) {
      await running.reload(round % 2 === 0 ? shut : open);
      const { outputs } = running.report().filters["firewall"];
      const way = round % 2 === 0 ? "drop" : "next";
      await until(() => running.report().filters["firewall"].outputs[way] > outputs[way]);
    }
    const report = await running.stop();
    const { counters, outputs, packets } = report.filters["firewall"];
    expect(counters["rules.all"]).toBe(packets);
    expect(outputs["next"] + outputs["drop"]).toBe(packets);
    expect(conservation(report).missing).toBe(0);
  });
});

describe("counters", () => {
  /** A filter that hangs in reload() with 13, and at its next packet with 14; then an acl that accepts all. */
  const twoFilters = (limit: number, rules: Rule[], kinds: ("h" | "firewall")[] = ["h", "firewall"]) => {
    const never = "while (atomic.load<u32>(4096) != 0xdeadbeef) {}";
    const kind = own(
      "hangs-later",
      `export function reload(): void { if (params.limit == 13) { ${never} } }
export function packet(_p: Packet): Output {
  counter(Counters.seen).add(1);
  if (params.limit == 14) { ${never} }
  return OUTPUT_NEXT;
}
`,
    );
    const filters = { h: { kind, limit }, firewall: { kind: "acl" as const, rules } };
    return pipeline({
      devices: {
        in: { kind: "generator", rate: "10kpps", flows: { from: "10.0.0.1", to: "192.0.2.1" } },
        out: { kind: "discard" },
      },
      filters: Object.fromEntries(kinds.map((id) => [id, filters[id]])) as typeof filters,
      paths: { main: { from: "in", through: ["h", "firewall"], to: "out" } },
    });
  };
  const all = [{ name: "all", action: "accept" }];
  const more = [{ name: "none", action: "drop", proto: "tcp" }, ...all];
  const counted = ({ filters: { h, firewall } }: Report) => ({
    h: [h.counters["seen"], h.packets],
    firewall: [firewall.counters["rules.all"], firewall.packets],
  });
  const flowing = async (running: Running, packets: number) => {
    const before = running.report().filters["firewall"].packets;
    await until(() => running.report().filters["firewall"].packets >= before + packets);
  };
  test("of a worker that is ended in reload(), and of one that hangs at a packet meanwhile", async () => {
    const running = await run(twoFilters(1, all));
    await flowing(running, 100);
    const reloaded = await running.reload(twoFilters(13, more));
    // On a machine that is very busy the worker is given time, and said to be behind.
    const isOver = reloaded.waiting.length === 0;
    expect(reloaded.trapped).toEqual(isOver ? ["h"] : []);
    const warning = 'filter "h" trapped as it went over to other parameters';
    expect(running.warnings.includes(warning)).toBe(isOver);
    await until(() => running.report().replacedWorkers === 1);
    // At the next packet that it is called for, when it is no longer left alone.
    const { h, firewall } = counted(await running.stop());
    expect(h[0]).toBeGreaterThanOrEqual(100);
    expect(h[0]).toBeLessThanOrEqual(h[1]);
    expect(firewall[0]).toBe(firewall[1]);
  });
  test("of a worker that hangs while there is a reload", async () => {
    const running = await run(twoFilters(1, all));
    await flowing(running, 100);
    await running.reload(twoFilters(14, all));
    await running.reload(twoFilters(15, more));
    expect(running.report().replacedWorkers).toBeLessThanOrEqual(1);
    const { h, firewall } = counted(await running.stop());
    expect(h[0]).toBeGreaterThanOrEqual(100);
    expect(firewall[0]).toBe(firewall[1]);
  });
  test("of workers that are told to stop and to go over at the same time", async () => {
    for (let turn = 0; turn < 12; turn++) {
      const running = await run(twoFilters(1, all));
      await flowing(running, 20);
      const reloaded = running.reload(twoFilters(2, more)).catch((error: Error) => error.message);
      for (let i = 0; i < 3 * turn; i++) await new Promise((resolve) => setImmediate(resolve));
      const { h, firewall } = counted(await running.stop());
      expect({ h: h[0], firewall: firewall[0] }).toEqual({ h: h[1], firewall: firewall[1] });
      expect(["string", "object"]).toContain(typeof (await reloaded));
    }
  });
  test("and parameters go to their filters, in whatever order the file has them", async () => {
    const running = await run(twoFilters(1, all));
    const turned = await running.reload(twoFilters(1, all, ["firewall", "h"]));
    expect(turned.changed).toEqual([]);
    await running.reload(twoFilters(1, [{ name: "shut", action: "drop" }], ["firewall", "h"]));
    await flowing(running, 100);
    const { filters } = await running.stop();
    expect(filters["firewall"].counters["rules.shut"]).toBeGreaterThanOrEqual(100);
    expect(filters["h"].outputs["drop"]).toBe(0);
  });
});

describe("what cannot be taken over leaves all as it was", () => {
  test("devices, paths, workers, other filters, and parameters that memory was laid out by: all that is so is said", async () => {
    const running = await run(firewall({ rules: [accept("a", "10.0.0.1")] }));
    const next = pipeline({
      name: "other",
      devices: { in: { kind: "memory", mtu: 9000 }, out: { kind: "memory" }, more: { kind: "memory" } },
      filters: {
        firewall: { kind: "acl", connections: 77, rules: [] },
        sane: { kind: "checksum", verify: ["ipv4"] },
      },
      paths: {
        main: { from: "in", through: ["firewall"], to: "out" },
        other: { from: "more", through: ["sane"], to: "out" },
      },
    });
    const refused = await running.reload(next).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(NotReloadable);
    expect((refused as NotReloadable).reasons).toEqual([
      "name: only a restart changes it",
      "devices.in.mtu: only a restart changes it",
      "devices.more: only a restart adds it",
      "filters.firewall.connections: only a restart changes it",
      "filters.sane: only a restart adds it",
      "paths.other: only a restart adds it",
    ]);
    expect(await through(running, udp("10.0.0.1"))).toBe(1);
    await finish(running);
    await expect(running.reload(next)).rejects.toThrow("the pipeline has ended");
  });
});

/** A filter of the user's with a parameter `limit`. */
function own(name: string, source: string, manifest = ""): "/" {
  const path = join(folder.path, name);
  mkdirSync(path, { recursive: true });
  writeFileSync(
    join(path, "filter.yaml"),
    `summary: ${name}.\nparams:\n  limit: { type: u32, reload: true, default: 1, doc: L. }\n  fixed: { type: u32, default: 1, doc: F. }\n` +
      `counters: { seen: S. }\n${manifest}`,
  );
  writeFileSync(
    join(path, "index.ts"),
    `import { counter, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, preparedState, workerState } from "pktflow/assembly";\n` +
      `import { Counters, params } from "./params";\n${source}`,
  );
  return path as "/";
}

const wired = (kind: "/", params: Record<string, unknown>): Flow<"in" | "out"> =>
  pipeline({
    devices: { in: { kind: "memory" }, out: { kind: "memory" } },
    filters: { own: { kind, ...params } },
    paths: { main: { from: "in", through: ["own"], to: "out" } },
  });

/** Lets a packet by as long as it has seen fewer than `limit`. */
const COUNTING = `export function packet(_p: Packet): Output {
  counter(Counters.seen).add(1);
  store<u32>(workerState(), load<u32>(workerState()) + 1);
  return load<u32>(workerState()) <= limit() ? OUTPUT_NEXT : OUTPUT_DROP;
}
`;

describe("a filter of the user's", () => {
  test.each([
    ["that reads its parameters when it wants them", "function limit(): u32 { return params.limit; }\n", 2],
    [
      "that keeps them, and has reload()",
      "let kept: u32 = 0;\nexport function init(): void { kept = params.limit; }\nexport function reload(): void { kept = params.limit; }\nfunction limit(): u32 { return kept; }\n",
      2,
    ],
    // Made anew, it has seen none.
    [
      "that keeps them in init() alone",
      "let kept: u32 = 0;\nexport function init(): void { kept = params.limit; }\nfunction limit(): u32 { return kept; }\n",
      3,
    ],
    [
      "whose prepared state is made of them",
      "export function prepare(): void { store<u32>(preparedState(), params.limit); }\nfunction limit(): u32 { return load<u32>(preparedState()); }\n",
      2,
    ],
  ])("%s", async (what, source, passed) => {
    const name = what.replace(/[^a-z]+/g, "-");
    const kind = own(name, source + COUNTING, "state: { worker: 8, prepared: 8 }\n");
    const running = await run(wired(kind, { limit: 1 }));
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(0);
    await running.reload(wired(kind, { limit: 4 }));
    let more = 0;
    for (let i = 0; i < 5; i++) more += await through(running, udp("10.0.0.1"), "own");
    expect(more).toBe(passed === 3 ? 4 : 2);
    await expect(running.reload(wired(kind, { limit: 4, fixed: 2 }))).rejects.toThrow(
      "filters.own.fixed: only a restart changes it",
    );
    const report = await finish(running);
    expect(report.filters["own"].counters["seen"]).toBe(7);
    expect(conservation(report).missing).toBe(0);
  });
  test("with a memory of its own is made anew with them", async () => {
    const kind = own(
      "isolated",
      `function limit(): u32 { return params.limit; }\n${COUNTING}`,
      "isolation: memory\nstate: { worker: 8 }\n",
    );
    const running = await run(wired(kind, { limit: 1 }));
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(0);
    await running.reload(wired(kind, { limit: 2 }));
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    const report = await finish(running);
    expect(report.filters["own"]).toMatchObject({ traps: 0, counters: { seen: 3 } });
  });
  test("whose code has changed is not mixed with what runs", async () => {
    const source = `function limit(): u32 { return params.limit; }\n${COUNTING}`;
    const kind = own("edited", source, "state: { worker: 8 }\n");
    const running = await run(wired(kind, { limit: 1 }));
    own("edited", source.replace("<= limit()", "> limit()"), "state: { worker: 8 }\n");
    await expect(running.reload(wired(kind, { limit: 2 }))).rejects.toThrow(
      "filters.own: its code has changed, which only a restart takes over",
    );
    own("edited", `${source}nonsense`, "state: { worker: 8 }\n");
    await expect(running.reload(wired(kind, { limit: 2 }))).rejects.toThrow(FilterError);
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    await finish(running);
  });
  test("whose prepare() traps refuses them", async () => {
    const kind = own(
      "prepare-traps",
      `export function prepare(): void { if (params.limit > 2) unreachable(); store<u32>(preparedState(), params.limit); }\n` +
        `function limit(): u32 { return load<u32>(preparedState()); }\n${COUNTING}`,
      "state: { worker: 8, prepared: 8 }\n",
    );
    const running = await run(wired(kind, { limit: 1 }));
    const refused = await running.reload(wired(kind, { limit: 3 })).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(FilterError);
    expect((refused as Error).message).toMatch(/^filter "own": prepare trapped: /);
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(0);
    await running.reload(wired(kind, { limit: 2 }));
    await finish(running);
  });
  test("whose reload() traps is made anew, with the new ones", async () => {
    const kind = own(
      "reload-traps",
      `export function reload(): void { unreachable(); }\nfunction limit(): u32 { return params.limit; }\n${COUNTING}`,
      "state: { worker: 8 }\n",
    );
    const running = await run(wired(kind, { limit: 1 }));
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    await running.reload(wired(kind, { limit: 1000 }));
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    expect(await through(running, udp("10.0.0.1"), "own")).toBe(1);
    expect((await finish(running)).filters["own"]).toMatchObject({ traps: 1, outputs: { next: 3 } });
  });
});

test("a worker that takes the place of a hung one has what was reloaded before, and gets what is reloaded then", async () => {
  const bad = misbehaving(folder.path, "hangs", "loop");
  const flow = (from: string) =>
    pipeline({
      devices: { in: { kind: "memory" }, out: { kind: "memory" } },
      filters: { firewall: { kind: "acl", rules: [accept("a", from)] }, bad: { kind: bad as "/", port: 99 } },
      paths: { main: { from: "in", through: ["firewall", "bad"], to: "out" } },
    });
  const running = await run(flow("10.0.0.1"));
  await running.reload(flow("10.0.0.2"));
  await running.devices.in.write(udp("10.0.0.2", "192.0.2.1", [1000, 99]));
  await until(() => running.report().replacedWorkers === 1);
  expect(await through(running, udp("10.0.0.1"))).toBe(0);
  expect(await through(running, udp("10.0.0.2"))).toBe(1);
  await running.reload(flow("10.0.0.3"));
  expect(await through(running, udp("10.0.0.3"))).toBe(1);
  expect(conservation(await finish(running)).missing).toBe(0);
});
