// `pktflow lab FILE -- COMMAND`: on a host of the lab, with the status of COMMAND, and nothing left of it.
import { execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { describeKernel } from "../support/namespace.ts";
import { Pktflow, pktflow, until } from "../support/pktflow.ts";
import { Traces } from "../support/traces.ts";

const FORWARD = "pipelines/forward.yaml";
const lab = (...command: string[]) => ["lab", FORWARD, "--quiet", "--", ...command];
const shell = (script: string) => lab("sh", "-c", script);

describeKernel("COMMAND", () => {
  test("reaches the other host through the pipeline", async () => {
    const { status, stdout, stderr } = await pktflow([
      "lab",
      FORWARD,
      "--",
      ...["ping", "-c", "3", "-i", "0.1", "10.2.0.2"],
    ]);
    expect(status).toBe(0);
    expect(stdout).toContain("3 packets transmitted, 3 received, 0% packet loss");
    // Standard output is the command's alone.
    expect(stdout).not.toContain("device");
    expect(stderr).toContain("in 6 = out 6 + drops 0\n");
  });

  test("sees its host: the device with its address, lo, a default route, and nothing else", async () => {
    const script = "ip -br addr; ip route; ls /sys/class/net";
    const { stdout } = await pktflow(["lab", FORWARD, "--quiet", "--in", "b", "--", "sh", "-c", script]);
    expect(
      stdout
        .trimEnd()
        .split("\n")
        .map((line) => line.trim().split(/\s+/).join(" ")),
    ).toEqual([
      "lo UNKNOWN 127.0.0.1/8 ::1/128",
      "b UNKNOWN 10.2.0.2/24",
      "default dev b scope link",
      "10.2.0.0/24 dev b proto kernel scope link src 10.2.0.2",
      "b",
      "lo",
    ]);
  });

  test("finds the pipeline, its device, and the other hosts in its environment", async () => {
    const script =
      "echo $PKTFLOW_PIPELINE $PKTFLOW_DEVICE; nsenter --net=$PKTFLOW_NETNS_B ip -br -4 addr show b";
    const { stdout } = await pktflow(shell(script));
    expect(stdout).toMatch(/^forward a\nb +UNKNOWN +10\.2\.0\.2\/24 *\n$/);
  });

  test("sees its own processes only, and no descriptor but the standard ones", async () => {
    const { stdout } = await pktflow(shell("echo /proc/[0-9]*"));
    // 1 is the helper.
    expect(stdout).toMatch(/^\/proc\/1 \/proc\/\d+\n$/);
    const list = ["ls", "/proc/self/fd"];
    // What this test itself was started with and passes on aside.
    expect((await pktflow(lab(...list))).stdout).toBe(execFileSync("env", list, { encoding: "utf8" }));
  });

  test.each([
    ["its status", ["sh", "-c", "exit 7"], 7],
    ["128 and the signal that killed it", ["sh", "-c", "kill -KILL $$"], 137],
    ["126 when it cannot be executed", ["/etc/passwd"], 126],
    ["127 when there is no such program", ["pktflow-no-such-program"], 127],
  ] as [string, string[], number][])("exits with %s", async (_, command, status) => {
    expect((await pktflow(lab(...command))).status).toBe(status);
  });

  test("that does not exist is named", async () => {
    expect((await pktflow(lab("pktflow-no-such-program"))).stderr).toBe(
      "pktflow: lab: execvp pktflow-no-such-program: ENOENT: there is no such program\n",
    );
  });

  test("gets its arguments as they are", async () => {
    const words = ["--", "-x", "a b", "$HOME", "'\"", "ä\n"];
    const { stdout } = await pktflow(lab("printf", "[%s]", ...words));
    expect(stdout).toBe(words.map((word) => `[${word}]`).join(""));
  });

  test("reads standard input", async () => {
    const child = spawn(process.execPath, ["build/bundle/main.js", ...lab("wc", "-c")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    child.stdin.end("x".repeat(100_000));
    let output = "";
    for await (const chunk of child.stdout) output += chunk;
    expect(output).toBe("100000\n");
  });

  test("outlives the pipeline, which is said", async () => {
    const result = await pktflow([
      "lab",
      FORWARD,
      "--quiet",
      "--",
      "sh",
      "-c",
      // A device that somebody takes away is a failure of the pipeline.
      "ip link del dev a; sleep 1; exit 5",
    ]);
    expect(result.stderr).toContain("pktflow: lab: the pipeline has failed; the command still runs\n");
    expect(result.status).toBe(1);
  });

  test("on a device that is no host: exit 2, with the hosts there are", async () => {
    expect(await pktflow(["lab", FORWARD, "--in", "c", "--", "true"])).toMatchObject({
      status: 2,
      stderr: "pktflow: lab: --in c: the hosts are those of a, b\n",
    });
    expect(await pktflow(["lab", FORWARD, "--in", "a"])).toMatchObject({ status: 2, stdout: "" });
  });

  test("of a pipeline without tun and tap devices: exit 2", async () => {
    const result = await pktflow(["lab", "pipelines/quickstart.yaml", "--", "true"]);
    expect(result).toMatchObject({ status: 2, stdout: "" });
    expect(result.stderr).toContain("pipelines/quickstart.yaml has no tun or tap device");
  });
});

describeKernel("nothing is left", () => {
  /** A command with children in the background, in sessions of their own and deaf to signals, and grandchildren. */
  const TREE = `
    trap "" HUP
    (trap "" HUP INT TERM; setsid sleep 300 & setsid sh -c "sleep 301; :" & wait) &
    setsid nohup sleep 302 >/dev/null 2>&1 &
    echo started
    `;

  /** Starts a lab with that tree, and waits until all of it is there. */
  async function start(rest: string): Promise<{ lab: Pktflow; traces: Traces }> {
    const traces = new Traces();
    const lab = new Pktflow(shell(TREE + rest), { env: traces.env });
    // pktflow, helper, the shell, its subshell, three sleeps and the shell of one.
    await until("the tree stands", () => traces.processes().length >= 8, 30_000);
    const namespaces = traces.look();
    expect(namespaces.filter((name) => name.startsWith("net:"))).toHaveLength(2);
    expect(namespaces.filter((name) => name.startsWith("pid:"))).toHaveLength(1);
    expect(namespaces.filter((name) => name.startsWith("mnt:"))).toHaveLength(1);
    return { lab, traces };
  }

  test("when the command ends", async () => {
    const { lab, traces } = await start("sleep 1; exit 3");
    expect((await lab.finished).status).toBe(3);
    await until("all is gone", () => traces.left().length === 0, 5000);
  });

  test("when pktflow is killed with -9", async () => {
    const { lab, traces } = await start("wait");
    expect((await lab.stop("SIGKILL")).signal).toBe("SIGKILL");
    await until("all is gone", () => traces.left().length === 0, 5000);
  });

  test("when the helper is killed with -9: the status says so", async () => {
    const { lab, traces } = await start("wait");
    const helper = traces.processes().find((pid) => commandLine(pid).includes("bundle/exec.js"))!;
    process.kill(helper, "SIGKILL");
    expect((await lab.finished).status).toBe(137);
    await until("all is gone", () => traces.left().length === 0, 5000);
  });

  test.each(["SIGTERM", "SIGHUP", "SIGINT"] as const)(
    "on %s, which the command gets and decides",
    async (signal) => {
      const name = signal.slice(3);
      const { lab, traces } = await start(
        `trap "echo got ${name}; exit 9" ${name}; while :; do sleep 0.1; done`,
      );
      const result = await lab.stop(signal);
      expect(result.stdout).toContain(`got ${name}\n`);
      expect(result.status).toBe(9);
      await until("all is gone", () => traces.left().length === 0, 5000);
    },
  );

  test("on SIGTERM that the command does not hear: it is killed", { timeout: 20_000 }, async () => {
    const { lab, traces } = await start('trap "" TERM; while :; do sleep 0.1; done');
    const started = performance.now();
    expect((await lab.stop("SIGTERM")).status).toBe(137);
    expect(performance.now() - started).toBeGreaterThan(4900);
    await until("all is gone", () => traces.left().length === 0, 5000);
  });

  test("orphans are reaped while the command runs", async () => {
    const script = "for i in 1 2 3 4 5; do (sleep 0.05 &); done; sleep 0.5; cat /proc/[0-9]*/stat";
    const { stdout } = await pktflow(shell(script));
    const states = stdout
      .trimEnd()
      .split("\n")
      .map((line) => line.slice(line.lastIndexOf(")") + 2)[0]);
    expect(states.length).toBeGreaterThanOrEqual(2);
    expect(states).not.toContain("Z");
  });
});

function commandLine(pid: number): string {
  return readFileSync(`/proc/${pid}/cmdline`, "utf8");
}
