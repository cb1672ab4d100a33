// What the process of a running pipeline makes of a request to reload: its file, read as at the start, and what came of it.
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { afterAll, afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Controlled, startControl } from "../../src/cli/control.ts";
import { loadPipeline } from "../../src/config/pipeline.ts";
import type { Pipeline } from "../../src/config/types.ts";
import { Connection } from "../../src/control/client.ts";
import type { Report } from "../../src/control/report.ts";
import { FilterError } from "../../src/filters/error.ts";
import { SystemError } from "../../src/sys/errno.ts";
import { NotReloadable } from "../../src/workers/reload.ts";
import { TemporaryFolder, until } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const file = folder.file("one.yaml");
const text = (size: string) => `pktflow: 1
devices:
  traffic: { kind: generator, packets: 9, flows: [ { proto: udp, from: 10.0.0.1, to: 10.0.0.2, to-port: 53, size: ${size} } ] }
  sink: { kind: discard }
paths:
  out: { from: traffic, to: sink }
`;

let taken: Pipeline[];
let reload: Controlled["reload"];
let close: () => void;
let connection: Connection;
const log = vi.fn();

beforeEach(async () => {
  vi.stubEnv("PKTFLOW_RUNTIME_DIR", folder.path);
  writeFileSync(file, text("100"));
  taken = [];
  log.mockClear();
  close = startControl({
    pipeline: loadPipeline(file, { set: ["devices.traffic.packets=7"] }),
    command: "run",
    // As from a shell; who asks for a reload is in another directory.
    file: relative(process.cwd(), file),
    set: ["devices.traffic.packets=7"],
    report: () => ({}) as Report,
    stop() {},
    async reload(pipeline) {
      taken.push(pipeline);
      return await reload(pipeline);
    },
    log,
  });
  const socket = () => readdirSync(folder.path).find((name) => /^\d.*\.sock$/.test(name));
  await until("the socket is there", () => socket() !== undefined);
  connection = await Connection.open(folder.file(socket()!));
});

afterEach(() => {
  connection.close();
  close();
  vi.unstubAllEnvs();
});

const ask = () => connection.ask("reload", 60_000);

test("it is read with the options of the start, and what has changed is told and logged", async () => {
  reload = async () => ({
    changed: [{ filter: "firewall", params: ["rules", "sets"] }],
    waiting: [1],
    trapped: [],
  });
  writeFileSync(file, text("200"));
  expect(await ask()).toEqual({
    changed: [{ filter: "firewall", params: ["rules", "sets"] }],
    waiting: [1],
    trapped: [],
    warnings: [],
  });
  const [{ params }] = taken[0].devices;
  expect(params).toMatchObject({ packets: 7, flows: [{ size: [200] }] });
  expect(log.mock.calls).toEqual([["reloaded: firewall: rules, sets"]]);
});

test("that nothing has changed is no news to log", async () => {
  reload = async () => ({ changed: [], waiting: [], trapped: [] });
  expect(await ask()).toEqual({ changed: [], waiting: [], trapped: [], warnings: [] });
  expect(log).not.toHaveBeenCalled();
});

test("what is only odd is told as check tells it", async () => {
  reload = async () => ({ changed: [], waiting: [], trapped: [] });
  writeFileSync(file, `${text("100")}workers: 9\n`);
  expect((await ask()).warnings).toEqual([expect.stringMatching(/^pktflow: warning: .*workers/)]);
});

test("a wrong file is not taken over: each of its errors has its place", async () => {
  writeFileSync(file, text("99999").replace("discard", "discrad"));
  await expect(ask()).rejects.toMatchObject({
    refusal: {
      code: "invalid-file",
      message: expect.stringMatching(new RegExp(`^${file}:3:\\d+ error (?:.|\n)*did you mean "discard"\\?$`)),
      diagnostics: [expect.objectContaining({ file, line: 3 }), expect.objectContaining({ file, line: 4 })],
    },
  });
  expect(taken).toEqual([]);
});

test("what wants a restart is named, each change", async () => {
  reload = () => Promise.reject(new NotReloadable(["devices.sink", "workers"]));
  await expect(ask()).rejects.toMatchObject({
    refusal: {
      code: "not-reloadable",
      message: "devices.sink\nworkers",
      reasons: ["devices.sink", "workers"],
    },
  });
});

test("what this machine does not give is a failure, and no fault of the file", async () => {
  for (const error of [new SystemError("mmap", "memory", 12), new Error("it has ended")]) {
    reload = () => Promise.reject(error);
    await expect(ask()).rejects.toMatchObject({ refusal: { code: "failed", message: error.message } });
  }
});

test("a file that was piped in cannot be read again, and a directory is none", async () => {
  rmSync(file);
  const refusal = (why: string) => ({
    refusal: { code: "invalid-file", message: `${file} error cannot-read: open ${file}: ${why}` },
  });
  expect(spawnSync("mkfifo", [file]).status).toBe(0);
  await expect(ask()).rejects.toMatchObject(refusal("it is a FIFO, and not a file that can be read again"));
  rmSync(file);
  mkdirSync(file);
  await expect(ask()).rejects.toMatchObject(refusal("EISDIR: it is a directory"));
  rmSync(file, { recursive: true });
});

test("places in a filter's source are told with whole paths too", async () => {
  const at = `${process.cwd()}/own/index.ts`;
  reload = () => Promise.reject(new FilterError("it does not compile", [{ ...place, file: at }]));
  await expect(ask()).rejects.toMatchObject({
    refusal: { code: "invalid-file", message: expect.stringContaining(`${at}:1:2 error TS1: no`) },
  });
});
const place = { line: 1, column: 2, length: 1, code: "TS1", message: "no", excerpt: "x y" };

test("two at a time are one after the other", async () => {
  const order: string[] = [];
  reload = async () => {
    const number = taken.length;
    order.push(`${number} begins`);
    await new Promise((resolve) => setImmediate(resolve));
    order.push(`${number} ends`);
    return { changed: [], waiting: [], trapped: [] };
  };
  const other = await Connection.open(
    folder.file(readdirSync(folder.path).find((name) => name.endsWith(".sock"))!),
  );
  await Promise.all([ask(), other.ask("reload", 60_000)]);
  other.close();
  expect(order).toEqual(["1 begins", "1 ends", "2 begins", "2 ends"]);
});

test("a filter that trapped as it went over is told", async () => {
  reload = async () => ({
    changed: [{ filter: "mine", params: ["limit"] }],
    waiting: [],
    trapped: ["mine"],
  });
  expect((await ask()).trapped).toEqual(["mine"]);
});
