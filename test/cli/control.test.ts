// pktflow stats, top, stop and reload, and the pipelines that they talk to: processes, as a user has them.
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Report } from "../../src/control/report.ts";
import {
  type Finished,
  MAIN,
  Pktflow,
  pktflow,
  readReport,
  TemporaryFolder,
  until,
} from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

/** No test sees the pipelines of another one, or of the user. */
const sockets = folder.file("sockets");
const env = { PKTFLOW_RUNTIME_DIR: sockets };
let running: Pktflow[] = [];
beforeEach(() => rmSync(sockets, { recursive: true, force: true }));
afterEach(async () => {
  await Promise.all(running.map((each) => each.stop("SIGKILL")));
  running = [];
});

const ask = (...args: string[]): Promise<Finished> => pktflow(args, { env });
const names = (): string[] => (existsSync(sockets) ? readdirSync(sockets).sort() : []);

interface Text {
  rules?: string;
  rate?: string;
  more?: string;
}

function pipelineFile(name: string, text: Text = {}): string {
  const path = folder.file(`${name}.yaml`);
  const flow = "{ proto: udp, from: 10.0.0.1, to: 10.0.0.2, to-port: 53, size: 100 }";
  const rules = text.rules ?? "[ { action: accept, proto: udp } ]";
  writeFileSync(
    path,
    `pktflow: 1
devices:
  traffic: { kind: generator, rate: ${text.rate ?? "1kpps"}, flows: [ ${flow} ] }
  sink: { kind: discard }
filters:
  firewall: { kind: acl, default: drop, rules: ${rules} }
paths:
  out: { from: traffic, through: [firewall], to: sink }
${text.more ?? ""}
`,
  );
  return path;
}

/** A pipeline that runs, and can be talked to. */
async function start(name: string, ...args: string[]): Promise<Pktflow> {
  const started = new Pktflow(["run", pipelineFile(name), ...args], { env });
  running.push(started);
  await until(
    `${name} can be talked to`,
    () => names().some((file) => file.startsWith(`${started.child.pid}-`)),
    60_000,
  );
  return started;
}

describe("with one pipeline", () => {
  test("stats gives its report, as tables and as JSON; stop ends it when its own report is written", async () => {
    const report = folder.file("report.json");
    const one = await start("one", "--quiet", "--report", report);
    const tables = await ask("stats");
    expect(tables).toMatchObject({ status: 0, stderr: "" });
    expect(tables.stdout).toMatch(/^one: \d+\.\d\d s, 1 worker, /);
    expect(tables.stdout).toMatch(/^device {2}/m);
    const json = await ask("stats", "one", "--json");
    const stats = JSON.parse(json.stdout) as Report;
    expect(stats).toMatchObject({ pipeline: "one", workers: 1, filters: { firewall: { traps: 0 } } });

    expect(await ask("stop", String(one.child.pid))).toEqual({
      status: 0,
      signal: null,
      stdout: `one (pid ${one.child.pid}) has ended\n`,
      stderr: "",
    });
    const final = readReport(report);
    expect(final.filters["firewall"].packets).toBeGreaterThanOrEqual(stats.filters["firewall"].packets);
    expect(await one.finished).toMatchObject({ status: 0, stdout: "", stderr: "" });
    expect(names()).toEqual([]);
  });

  test("top prints a line every interval, and ends with the pipeline", async () => {
    const one = await start("one", "--quiet");
    const top = new Pktflow(["top", "--interval", "20ms"], { env });
    running.push(top);
    await until("three lines", () => top.stdout.split("\n").length > 3, 30_000);
    expect(top.stdout).toMatch(/^one: \d+ s {2}in .*p\/s .* drops 0\n/);
    await one.stop();
    expect(await top.finished).toMatchObject({ status: 0, stderr: `one (pid ${one.child.pid}) has ended\n` });
  });

  test("top is left by Ctrl-C, and the pipeline goes on", async () => {
    await start("one", "--quiet");
    const top = new Pktflow(["top", "one", "--interval", "20ms"], { env });
    running.push(top);
    await until("a line", () => top.stdout.includes("\n"), 30_000);
    expect(await top.stop("SIGINT")).toMatchObject({ status: 0, stderr: "" });
    expect((await ask("stats")).status).toBe(0);
  });

  // script(1) runs a command on a terminal of its own.
  test.skipIf(spawnSync("script", ["--version"]).status !== 0)(
    "top on a terminal draws its table over itself, and q leaves it (skipped without script(1))",
    async () => {
      await start("one", "--quiet");
      const command = `'${process.execPath}' '${MAIN}' top --interval 20ms`;
      const top = spawn("script", ["-qefc", command, "/dev/null"], {
        env: { ...process.env, ...env, NO_COLOR: "1", SHELL: "/bin/sh" },
        stdio: ["pipe", "pipe", "inherit"],
      });
      let shown = "";
      top.stdout.setEncoding("utf8").on("data", (text: string) => {
        shown += text;
      });
      const status = new Promise((resolve) => top.on("close", resolve));
      try {
        await until("it was drawn twice", () => shown.split("in p/s").length > 2, 60_000);
        expect(shown).toContain("A\x1b[J");
        expect(shown).toMatch(/one {2}\d+ s {2}1 worker/);
        top.stdin.write("q");
        expect(await status).toBe(0);
      } finally {
        top.kill("SIGKILL");
      }
    },
  );

  test("that has no socket, by --no-control, nobody finds", async () => {
    const file = pipelineFile("one");
    const hidden = new Pktflow(["run", file, "--no-control", "--for", "300ms", "--quiet"], { env });
    running.push(hidden);
    expect(await hidden.finished).toMatchObject({ status: 0, stderr: "" });
    expect(existsSync(sockets)).toBe(false);
  });

  test("where no socket can be made, it runs, and says so once", async () => {
    mkdirSync(sockets);
    chmodSync(sockets, 0o755);
    const one = new Pktflow(["run", pipelineFile("one"), "--quiet"], { env });
    running.push(one);
    const why = `${sockets} is open to others (mode 0755): chmod 700 ${sockets}`;
    await until("it was said", () => one.stderr.endsWith("\n"), 60_000);
    expect(await one.stop()).toMatchObject({
      status: 0,
      stderr: `pktflow: warning: no control socket, so nothing can be asked of it: ${why}\n`,
    });
    expect(await ask("stats")).toMatchObject({
      status: 1,
      stderr: `pktflow: stats: no pipeline runs\n  not looked into: ${why}\n`,
    });
  });
});

test("with none, each command says so", async () => {
  for (const command of ["stats", "top", "reload", "stop"]) {
    expect(await ask(command)).toMatchObject({
      status: 1,
      stdout: "",
      stderr: `pktflow: ${command}: no pipeline runs\n`,
    });
  }
  expect((await ask("stats", "one")).stderr).toBe("pktflow: stats: no pipeline one runs, nor any other\n");
});

test("with several, NAME says which; a pid, where they have one name", async () => {
  const started = [
    await start("one", "--quiet"),
    await start("one", "--quiet"),
    await start("two", "--quiet"),
  ];
  const [a, b, two] = started.map(({ child }) => child.pid!);
  const row = (name: string, pid: number) => `  ${name}   ${pid}  ${folder.file(`${name}.yaml`)}`;
  const rows = (list: [string, number][]) =>
    list
      .sort((x, y) => x[1] - y[1])
      .map(([name, pid]) => row(name, pid))
      .join("\n");
  const head = (pid: number) => `  name  ${"pid".padEnd(String(pid).length)}  file`;

  const all = await ask("stats");
  expect(all).toMatchObject({ status: 2, stdout: "" });
  expect(all.stderr).toMatch(
    /^pktflow: stats: 3 pipelines run; say which by a name or pid: pktflow stats \d+\n/,
  );
  expect(all.stderr).toContain(
    `${head(a)}\n${rows([
      ["one", a],
      ["one", b],
      ["two", two],
    ])}\n`,
  );
  const same = await ask("stop", "one");
  expect(same.status).toBe(2);
  expect(same.stderr).toContain("stop: 2 pipelines one run; say which by a pid: pktflow stop ");
  expect(same.stderr).not.toContain("two");
  const wrong = await ask("stats", "tow");
  expect(wrong.status).toBe(1);
  expect(wrong.stderr).toContain('stats: no pipeline tow runs (did you mean "two"?); these do:\n');

  expect((await ask("stats", "two")).stdout).toMatch(/^two: /);
  expect((await ask("stop", String(b))).stdout).toBe(`one (pid ${b}) has ended\n`);
  expect((await ask("stop", "one")).stdout).toBe(`one (pid ${a}) has ended\n`);
  expect((await ask("stop")).stdout).toBe(`two (pid ${two}) has ended\n`);
  expect(names()).toEqual([]);
});

test("kill -9 leaves a socket, which the next command clears away", async () => {
  const killed = await start("one", "--quiet");
  const lives = await start("two", "--quiet");
  await killed.stop("SIGKILL");
  expect(names()).toHaveLength(2);
  const stats = await ask("stats");
  expect(stats).toMatchObject({ status: 0, stderr: "" });
  expect(stats.stdout).toMatch(/^two: /);
  expect(names()).toEqual([expect.stringMatching(new RegExp(`^${lives.child.pid}-`))]);
});

test("stop and top do not take a connection that is lost for the end", async () => {
  mkdirSync(sockets, { mode: 0o700 });
  const about = { name: "one", pid: process.pid, file: "/one.yaml", command: "run", started: "" };
  const server = createServer((socket) => {
    let isFirst = true;
    socket.on("data", () => {
      if (!isFirst) socket.destroy();
      else socket.write(`${JSON.stringify({ pktflow: 1, ok: true, result: about })}\n`);
      isFirst = false;
    });
  });
  await new Promise<void>((resolve) => server.listen(`${sockets}/${process.pid}-1.sock`, resolve));
  try {
    const commands = ["stop", "top"];
    const finished = await Promise.all(commands.map((command) => ask(command)));
    const why = `the connection to one (pid ${process.pid}) was lost, and its process is still there`;
    expect(finished).toMatchObject(
      commands.map((command) => ({
        status: 1,
        stdout: "",
        stderr: `pktflow: ${command}: ${why}: whether it ends is not known\n`,
      })),
    );
  } finally {
    server.close();
  }
});

describe("reload", () => {
  test("takes over what is different in the file, while packets flow, and prints what that was", async () => {
    const report = folder.file("reload.json");
    const one = await start("one", "--report", report);
    expect(await ask("reload")).toMatchObject({ status: 0, stdout: "nothing has changed\n", stderr: "" });
    const outputs = async () => {
      const stats = JSON.parse((await ask("stats", "--json")).stdout) as Report;
      return stats.filters["firewall"].outputs;
    };
    while ((await outputs())["next"] === 0);
    pipelineFile("one", { rules: "[ { action: drop, proto: udp } ]" });
    const reloaded = await ask("reload", "one");
    expect(reloaded).toMatchObject({ status: 0, stdout: "firewall: rules\n", stderr: "" });
    expect(await ask("reload")).toMatchObject({ status: 0, stdout: "nothing has changed\n" });
    while ((await outputs())["drop"] === 0);
    expect((await ask("stop")).status).toBe(0);
    const { filters, devices } = readReport(report);
    const { next, drop } = filters["firewall"].outputs;
    expect(next + drop).toBe(devices["traffic"].queues[0].rx.packets);
    expect(next).toBe(devices["sink"].queues[0].tx.packets);
    expect((await one.finished).stderr).toBe("pktflow: reloaded: firewall: rules\n");
  });

  test("of a file that is wrong prints what check prints, and nothing has changed", async () => {
    const one = await start("one", "--quiet");
    const file = pipelineFile("one", { more: "filter: {}" });
    const { status, stderr } = await ask("reload");
    expect(status).toBe(2);
    expect(stderr).toBe((await pktflow(["check", file])).stderr);
    expect(stderr).toContain("one.yaml:9:1 error unknown-key");
    rmSync(file);
    expect(await ask("reload")).toMatchObject({ status: 2, stderr: expect.stringContaining("ENOENT") });
    expect((await ask("stats")).status).toBe(0);
    expect(await one.stop()).toMatchObject({ status: 0, stderr: "" });
  });

  test("of changes that want a restart names each, and takes over none of them", async () => {
    const one = await start("one", "--quiet", "--set", "devices.traffic.seed=7");
    const { pid } = one.child;
    pipelineFile("one", { rules: "[ { action: drop, proto: udp } ]", rate: "2kpps", more: "workers: 2" });
    const { status, stdout, stderr } = await ask("reload");
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    const [head, ...reasons] = stderr.trimEnd().split("\n");
    expect(head).toBe(`pktflow: reload: these changes want a restart, and one (pid ${pid}) is as it was:`);
    expect(reasons.map((line) => line.split(":")[0]).sort()).toEqual(["  devices.traffic.rate", "  workers"]);
    const stats = JSON.parse((await ask("stats", "--json")).stdout) as Report;
    expect(stats.filters["firewall"].outputs["drop"]).toBe(0);
    pipelineFile("one");
    expect((await ask("reload")).stdout, "with the --set of its start").toBe("nothing has changed\n");
  });
});
