// A reload reads files only: what would be waited for, or read once, is refused wherever the pipeline names it.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { buildFilter } from "../../src/filters/build.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { refused } from "./load.ts";

const folder = new TemporaryFolder();
const writers: ChildProcess[] = [];
afterAll(() => {
  for (const writer of writers) writer.kill("SIGKILL");
  folder.remove();
});

/** Somebody writes to it once somebody reads: who takes it for a file finds one, and does not wait for ever. */
function makeFifo(name: string, text: string): string {
  const path = folder.file(name);
  expect(spawnSync("mkfifo", [path]).status).toBe(0);
  writers.push(spawn("sh", ["-c", 'printf %s "$1" >"$2"', "sh", text, path], { stdio: "ignore" }));
  return path;
}

function pipelineFile(filter: string): string {
  const path = folder.file("p.yaml");
  writeFileSync(
    path,
    `pktflow: 1
devices: { a: { kind: tun } }
filters:
  one: ${filter}
paths: { p: { from: a, through: [one], to: a } }
`,
  );
  return path;
}

const messages = (file: string) =>
  refused(() => loadPipeline(file, { onlyFiles: true })).diagnostics.map(({ message }) => message);
const set = (name: string) =>
  pipelineFile(`{ kind: acl, sets: { s: { file: ${name} } }, rules: [ { action: drop, from: s } ] }`);
const FIFO = "it is a FIFO, and not a file that can be read again";

describe("refused, and not waited for:", () => {
  test("a set's file", () => {
    const path = makeFifo("set.txt", "10.0.0.0/8");
    expect(messages(set("set.txt"))).toEqual([expect.stringContaining(`open ${path}: ${FIFO}`)]);
  });

  test("a device in its place", () => {
    symlinkSync("/dev/null", folder.file("null.txt"));
    expect(messages(set("null.txt"))).toEqual([expect.stringContaining("null.txt: it is a device, and")]);
  });

  test("a list's file", () => {
    const path = makeFifo("list.txt", "10.0.0.0/8 accept");
    const file = pipelineFile("{ kind: route, routes: { file: list.txt } }");
    expect(messages(file)).toEqual([`open ${path}: ${FIFO}`]);
  });

  test("a manifest", () => {
    mkdirSync(folder.file("own"));
    const path = makeFifo("own/filter.yaml", "summary: own");
    expect(messages(pipelineFile("{ kind: ./own }"))).toEqual([expect.stringContaining(`${path}: ${FIFO}`)]);
  });

  test("a filter's source, which is read twice in any case", async () => {
    mkdirSync(folder.file("source"));
    const path = makeFifo("source/index.ts", "nothing");
    await expect(buildFilter(folder.file("source"), "")).rejects.toThrow(`reading ${path}: it is a FIFO`);
  });
});

test("at the start what comes out of a pipe will do", () => {
  makeFifo("start.txt", "10.0.0.0/8");
  expect(loadPipeline(set("start.txt")).filters[0].params).toMatchObject({ rules: [{}] });
});

test("what is wrong in a list's file is told with the path that its pipeline has", () => {
  writeFileSync(folder.file("wrong.txt"), "10.0.0.1/8 accept\n");
  const file = pipelineFile("{ kind: route, routes: { file: wrong.txt } }");
  expect(refused(() => loadPipeline(file)).diagnostics).toMatchObject([
    { file: folder.file("wrong.txt"), line: 1 },
  ]);
});
