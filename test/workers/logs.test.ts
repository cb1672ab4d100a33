// What filters say: from numbers in a ring to text, in order, bounded, from either kind of memory.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import type { LogEntry } from "../../src/control/logs.ts";
import { pipeline } from "../../src/library/pipeline.ts";
import { run } from "../../src/library/run.ts";
import { pktflow, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const MANIFEST = `summary: Says what it sees.
logs:
  seen: "{b} bytes from {a:ipv4}, marked {b:hex}"
  slow: "after {a:duration}"
`;
const INDEX = `import { Ipv4, log, OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
import { Logs } from "./params";
export function packet(p: Packet): Output {
  if (p.isIpv4) log(Logs.seen, Ipv4.of(p).source, p.length);
  if (p.length == 100) log(Logs.slow, 1500000000);
  return OUTPUT_NEXT;
}
`;
const path = join(folder.path, "speaker");
mkdirSync(path);
writeFileSync(join(path, "filter.yaml"), MANIFEST);
writeFileSync(join(path, "index.ts"), INDEX);

function scene(packets: number, isolation: "none" | "memory") {
  return pipeline({
    devices: {
      load: { kind: "generator", flows: { from: "10.0.0.7", to: "192.0.2.1", size: [64, 100] }, packets },
      sink: { kind: "discard" },
    },
    filters: { speaker: { kind: path as "/", isolation } },
    paths: { main: { from: "load", through: "speaker", to: "sink" } },
  });
}

describe.each(["none", "memory"] as const)("what a filter says, isolation: %s", (isolation) => {
  test("comes as text, in order, with its filter, worker and time", async () => {
    const entries: LogEntry[] = [];
    const running = await run(scene(2, isolation), { onLog: (entry) => entries.push(entry) });
    await running.ended;
    expect(entries.map(({ message, text }) => [message, text])).toEqual([
      ["seen", "64 bytes from 10.0.0.7, marked 0x40"],
      ["seen", "100 bytes from 10.0.0.7, marked 0x64"],
      ["slow", "after 1.5 s"],
    ]);
    expect(entries[0]).toMatchObject({ filter: "speaker", worker: 0 });
    expect(Math.abs(entries[0].time - Date.now())).toBeLessThan(60_000);
  });
  test("is bounded: what finds no room is counted, and said", async () => {
    const entries: LogEntry[] = [];
    const running = await run(scene(10_000, isolation), { onLog: (entry) => entries.push(entry) });
    await running.ended;
    const said = entries.filter(({ message }) => message !== "lost");
    const lost = entries
      .filter(({ message }) => message === "lost")
      .reduce((sum, { text }) => sum + Number(/^\d+/.exec(text)![0]), 0);
    expect(said.length).toBeGreaterThanOrEqual(32);
    expect(lost).toBeGreaterThan(0);
    // An isolated filter's own ring may have kept up to 32 that nobody fetched any more.
    expect(15_000 - said.length - lost).toBeLessThanOrEqual(isolation === "memory" ? 32 : 0);
    expect(15_000 - said.length - lost).toBeGreaterThanOrEqual(0);
  });
});

test("run prints it, with the filter's name", async () => {
  const file = folder.file("speaker.yaml");
  writeFileSync(
    file,
    `pktflow: 1
devices:
  load: { kind: generator, flows: { from: 10.0.0.7, to: 192.0.2.1 }, packets: 1 }
  sink: { kind: discard }
filters: { speaker: { kind: ./speaker } }
paths: { main: { from: load, through: speaker, to: sink } }
`,
  );
  const { stderr, status } = await pktflow(["run", file], { env: { XDG_CACHE_HOME: folder.file("cache") } });
  expect(stderr).toBe("pktflow: speaker: 64 bytes from 10.0.0.7, marked 0x40\n");
  expect(status).toBe(0);
});
