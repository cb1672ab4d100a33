// Which pipelines run: found by their sockets; what a killed one has left is cleared away by whoever comes across it.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { afterAll, afterEach, beforeEach, expect, test } from "vitest";
import { findPipelines, isGone, removeStale } from "../../src/control/find.ts";
import type { Report } from "../../src/control/report.ts";
import { type ControlSocket, openControl } from "../../src/control/server.ts";
import { TemporaryFolder, until } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
let directory = "";
let count = 0;
const sockets: ControlSocket[] = [];
const servers: Server[] = [];

beforeEach(() => {
  directory = folder.file(`d${count++}`);
  mkdirSync(directory, { mode: 0o700 });
});
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
  for (const server of servers.splice(0)) server.close();
});

async function open(name: string): Promise<void> {
  const about = { name, pid: process.pid, file: `/${name}.yaml`, command: "run", started: "" };
  const handlers = {
    stats: () => ({}) as Report,
    stop: () => ({}),
    reload: () => ({ changed: [], waiting: [], trapped: [], warnings: [] }),
  };
  sockets.push(await openControl(about, handlers, [directory]));
}

const LISTEN = `
  const [, directory, before, after, signal] = process.argv;
  const path = directory + "/" + before + process.pid + after;
  require("net").createServer().listen(path, () => { console.log(path); process.kill(process.pid, signal); });`;

/** The socket of a process that was killed. @returns its path */
function leaveStale(before = "", after = "-00ff00ff.sock"): string {
  const args = ["-e", LISTEN, directory, before, after, "SIGKILL"];
  const { stdout, signal } = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(signal).toBe("SIGKILL");
  const path = stdout.trim();
  expect(existsSync(path)).toBe(true);
  return path;
}

async function found(): Promise<object[]> {
  const all = await findPipelines([directory]);
  for (const { connection } of all) connection?.close();
  return all.map(({ about, problem }) => ({ name: about?.name, problem }));
}

test("there are none: no directory, an empty one, other files in it", async () => {
  expect(await findPipelines([folder.file("absent")])).toEqual([]);
  expect(await found()).toEqual([]);
  writeFileSync(`${directory}/7-abc.txt`, "");
  writeFileSync(`${directory}/notes.sock`, "");
  expect(await found()).toEqual([]);
  expect(readdirSync(directory)).toHaveLength(2);
});

test("each says who it is, several of a name also", async () => {
  await open("one");
  await open("two");
  await open("one");
  const names = (await found()).map((each) => (each as { name: string }).name);
  expect(names.sort()).toEqual(["one", "one", "two"]);
});

test("what a killed one has left is removed by the next that looks", async () => {
  await open("one");
  const stale = leaveStale();
  expect(await found()).toEqual([{ name: "one", problem: undefined }]);
  expect(existsSync(stale)).toBe(false);
  expect(readdirSync(directory)).toHaveLength(1);
});

test("and by the next that is opened", async () => {
  const stale = leaveStale();
  await open("one");
  await until("it is gone", () => !existsSync(stale));
  await removeStale(directory);
  expect(readdirSync(directory), "one that lives stays").toHaveLength(1);
});

test("what one has left that was killed before it had its name, is removed too", async () => {
  const first = leaveStale(".", "-00ff00ff");
  writeFileSync(`${directory}/.${process.pid}-00ff00ff`, "of one that lives");
  expect(await found()).toEqual([]);
  expect(existsSync(first)).toBe(false);
  const second = leaveStale(".", "-00ff00ff");
  await removeStale(directory);
  expect(existsSync(second)).toBe(false);
  expect(readdirSync(directory)).toHaveLength(1);
});

test("one that is stopped is told as that", async () => {
  const child = spawn(process.execPath, ["-e", LISTEN, directory, "", "-1.sock", "SIGSTOP"]);
  try {
    const stat = () => readFileSync(`/proc/${child.pid}/stat`, "utf8");
    await until("it is stopped", () => / T /.test(stat()), 30_000);
    expect(await findPipelines([directory], [], 60_000)).toEqual([
      {
        pid: child.pid,
        path: `${directory}/${child.pid}-1.sock`,
        problem: "it is stopped (SIGSTOP, a debugger)",
      },
    ]);
  } finally {
    child.kill("SIGKILL");
  }
});

test("one whose connection has ended is gone when its socket is, or its process", async () => {
  const path = `${directory}/1.sock`;
  expect(await isGone({ pid: process.pid, path })).toBe(true);
  writeFileSync(path, "");
  expect(await isGone({ pid: process.pid, path }, 0)).toBe(false);
  const { pid } = spawnSync("true");
  expect(await isGone({ pid, path })).toBe(true);
});

test("one that ends while it is asked is none", async () => {
  const server = createServer((socket) => socket.destroy());
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(`${directory}/${process.pid}-1.sock`, resolve));
  expect(await found()).toEqual([]);
});

test("one that speaks otherwise is told", async () => {
  const server = createServer((socket) => socket.end('{"pktflow":2,"ok":true,"result":{}}\n'));
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(`${directory}/${process.pid}-1.sock`, resolve));
  expect(await found()).toEqual([
    { name: undefined, problem: "it speaks another version of the protocol: 2" },
  ]);
});

test("one that says nothing is told too, and holds up no other", async () => {
  const server = createServer(() => {});
  servers.push(server);
  const path = `${directory}/${process.pid}-1.sock`;
  await new Promise<void>((resolve) => server.listen(path, resolve));
  expect(await findPipelines([directory], [], 20)).toEqual([
    { pid: process.pid, path, problem: "no answer within 0.02 s" },
  ]);
});

test("a directory that is open to others is not looked into", async () => {
  const open = folder.file("open");
  mkdirSync(open, { mode: 0o755 });
  const refusals: string[] = [];
  expect(await findPipelines([open], refusals)).toEqual([]);
  expect(refusals).toEqual([expect.stringContaining("is open to others")]);
});
