// Filters whose tables are made of parameters take over others under load: no packet is lost, and what began goes on.
import { writeFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { TemporaryFolder, until } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const load = (flows: number) => ({
  kind: "generator" as const,
  queues: 2,
  flows: { from: "10.0.0.1", to: "192.0.2.1", "to-port": `1-${flows}`, count: flows, size: 64 },
});

test("balance: connections of a backend that is taken away move, once each, and those of the others stay", async () => {
  const FLOWS = 1000;
  const flow = (...backends: object[]) =>
    pipeline({
      workers: 2,
      devices: { load: load(FLOWS), sink: { kind: "discard" } },
      filters: { spread: { kind: "balance", size: 1009, backends } },
      paths: {
        main: { from: "load", through: [{ spread: { east: "east", west: "west" } }], to: "drop" },
        east: { to: "sink" },
        west: { to: "sink" },
      },
    });
  const backend = (name: string, via: string, more = {}) => ({ name, via, ...more });
  const [a, b, c] = [backend("a", "east"), backend("b", "west"), backend("c", "west")];
  const running = await run(flow(a, b, c));
  const counters = () => running.report().filters["spread"].counters;
  const began = () =>
    Object.entries(counters()).reduce(
      (n, [name, count]) => n + (name.startsWith("connections.") ? count : 0),
      0,
    );
  /** Each flow has come again, and again. */
  const roundsMore = async () => {
    const { packets } = running.report().filters["spread"];
    await until("more packets", () => running.report().filters["spread"].packets > packets + 10 * FLOWS);
  };
  await until("every flow is known", () => began() === FLOWS);
  const before = counters();
  expect(before["connections.c"]).toBeGreaterThan(0);

  // Nobody begins anew, whatever they would get by the tables.
  await running.reload(flow(c, { ...b, drain: true }, { ...a, weight: 0 }));
  await roundsMore();
  expect(began()).toBe(FLOWS);

  await running.reload(flow(b, a));
  await until("those of c have moved", () => counters()["moved"] === before["connections.c"]);
  await roundsMore();
  expect(counters()["moved"]).toBe(before["connections.c"]);
  expect(counters()["connections.a"] + counters()["connections.b"]).toBe(FLOWS);

  // It comes back, and all have a backend.
  await running.reload(flow(a, b, c));
  await roundsMore();
  expect(counters()).toMatchObject({ moved: before["connections.c"], "connections.c": 0, "packets.c": 0 });

  const report = await running.stop();
  const { outputs, packets, counters: last } = report.filters["spread"];
  expect(outputs["east"] + outputs["west"]).toBe(packets);
  expect(last["packets.a"]).toBe(outputs["east"]);
  expect(last["no-backend"]).toBe(0);
  expect(report.paths["east"].packets + report.paths["west"].packets).toBe(packets);
  expect(conservation(report).missing).toBe(0);
});

test("dns-sinkhole: its list is read again from its file, as long as packets pass", async () => {
  const file = folder.file("names.txt");
  const NAMES = 20_000;
  const list = (version: number) =>
    writeFileSync(
      file,
      Array.from({ length: NAMES }, (_, i) => `0.0.0.0 n${i}.v${version}.example\n`).join(""),
    );
  const flow = () =>
    pipeline({
      workers: 2,
      devices: {
        load: load(100),
        sink: { kind: "discard" },
        in: { kind: "memory" },
        out: { kind: "memory" },
      },
      filters: { sinkhole: { kind: "dns-sinkhole", names: { file } } },
      paths: {
        pass: { from: "load", through: [{ sinkhole: { reply: "back" } }], to: "sink" },
        ask: { from: "in", through: [{ sinkhole: { reply: "back" } }], to: "out" },
        back: { to: "sink" },
      },
    });
  const query = (name: string) => {
    const labels = name.split(".").flatMap((label) => [label.length, ...Buffer.from(label)]);
    const message = [0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 1, 0, 1];
    const ipv4 = { from: "10.9.0.1", to: "9.9.9.9" };
    const payload = { hex: Buffer.from(message).toString("hex") };
    return buildPacket({ ipv4, udp: { "from-port": 4242, "to-port": 53 }, payload }).bytes;
  };
  list(0);
  const running = await run(flow());
  const passed = (async () => {
    const packets: string[] = [];
    for await (const batch of running.devices.out)
      packets.push(...batch.map((bytes) => Buffer.from(bytes).toString("hex")));
    return packets;
  })();
  const counters = () => running.report().filters["sinkhole"].counters;
  let [asked, answered] = [0, 0];
  const passing: string[] = [];
  for (let version = 0; version < 6; version++) {
    if (version > 0) {
      list(version);
      const { changed, waiting } = await running.reload(flow());
      expect({ changed, waiting }).toEqual({
        changed: [{ filter: "sinkhole", params: ["names"] }],
        waiting: [],
      });
    }
    for (const i of [0, 7777, NAMES - 1]) {
      const others = [`n${i}.v${version + 1}`, `n${i}.v${version - 1}`, `n${NAMES + i}.v${version}`];
      for (const name of [`n${i}.v${version}`, `x.n${i}.v${version}`, ...others]) {
        const bytes = query(`${name}.example`);
        await running.devices.in.write(bytes);
        if (others.includes(name)) passing.push(Buffer.from(bytes).toString("hex"));
        else answered++;
        asked++;
      }
    }
    await until(`version ${version}: ${asked} queries, ${answered} of them for what it lists`, () => {
      const { queries, "no-name": found } = counters();
      return queries === asked && found === answered;
    });
  }
  running.devices.in.end();
  const report = await running.stop();
  expect(await passed).toEqual(passing);
  expect(report.filters["sinkhole"].outputs).toMatchObject({ reply: answered, drop: 0 });
  expect(conservation(report).missing).toBe(0);
});
