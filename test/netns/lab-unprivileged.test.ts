// `pktflow lab` as a user without privileges: in a user namespace of its own, or a word on why not.
import { spawnSync } from "node:child_process";
import { chownSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { LACKS } from "../support/namespace.ts";
import { type Finished, MAIN, Pktflow, pktflow, TemporaryFolder, until } from "../support/pktflow.ts";
import { Traces } from "../support/traces.ts";

const NOBODY = "65534";

/**
 * Words before a command that make it run as nobody, without any capability, and with a device node of the given mode,
 * which only the command sees.
 */
function asNobody(mode = "666"): string[] {
  const script = `
    mount -t tmpfs -o dev,mode=755 none /mnt && mknod /mnt/tun c 10 200 && chmod ${mode} /mnt/tun &&
    mount --bind /mnt/tun /dev/net/tun && umount -l /mnt &&
    exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups --inh-caps=-all --no-new-privs "$@"`;
  return ["unshare", "-m", "sh", "-c", script, "sh"];
}

/** Why it cannot be tried here; undefined: it can. */
const lacks = LACKS ?? lacksUserNamespaces();

function lacksUserNamespaces(): string | undefined {
  const [command, ...prefix] = asNobody();
  const works = (...argv: string[]) => spawnSync(command, [...prefix, ...argv]).status === 0;
  if (!works("true")) return "needs setpriv and mount";
  if (!works("test", "-r", MAIN)) return "needs a checkout that everyone may read";
  if (!works("unshare", "--user", "--map-root-user", "--net", "true")) return "user namespaces are forbidden";
  return undefined;
}

function describeUnprivileged(name: string, suite: () => void): void {
  if (lacks === undefined) describe(name, suite);
  else describe.skip(`${name} (skipped: ${lacks})`, suite);
}

const lab = (args: string[], prefix = asNobody(), env: NodeJS.ProcessEnv = {}): Promise<Finished> =>
  pktflow(["lab", "pipelines/forward.yaml", ...args], { prefix, env });

describeUnprivileged("a lab without privileges", () => {
  test("checks itself", async () => {
    const result = await lab([]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(result.stdout).toContain("self-check passed: 6 of 6 probes got through\n");
  });

  test("runs a command as root of a user namespace, which is nobody outside", async () => {
    const script =
      "id -u; cat /proc/self/uid_map; ping -c 1 10.2.0.2; env | grep USER_NAMESPACE; echo /proc/[0-9]*";
    const { stdout, status } = await lab(["--quiet", "--", "sh", "-c", script]);
    expect(status).toBe(0);
    expect(stdout).toMatch(new RegExp(`^0\\n +0 +${NOBODY} +1\\n`));
    expect(stdout).toContain("1 packets transmitted, 1 received");
    expect(stdout).toMatch(/^\/proc\/1 \/proc\/\d+$/m);
    expect(stdout).not.toContain("PKTFLOW_USER_NAMESPACE");
  });

  test("gives the command's status", async () => {
    expect((await lab(["--quiet", "--", "sh", "-c", "exit 7"])).status).toBe(7);
  });

  test("is found by the user that it is outside, and from inside", async () => {
    const folder = new TemporaryFolder();
    chownSync(folder.path, Number(NOBODY), Number(NOBODY));
    const options = { prefix: asNobody(), env: { XDG_RUNTIME_DIR: folder.path, PKTFLOW_RUNTIME_DIR: "" } };
    const script = 'until "$0" "$1" stats; do sleep 0.1; done; exec sleep 300';
    const command = ["sh", "-c", script, process.execPath, MAIN];
    const running = new Pktflow(["lab", "pipelines/forward.yaml", "--quiet", "--", ...command], options);
    try {
      await until("it is found from inside", () => running.stdout.includes("forward: "), 60_000);
      const reloaded = await pktflow(["reload", "forward"], options);
      expect(reloaded).toMatchObject({ status: 0, stdout: "nothing has changed\n", stderr: "" });
      const stopped = await pktflow(["stop"], options);
      const { pid } = running.child;
      expect(stopped).toMatchObject({ status: 0, stdout: `forward (pid ${pid}) has ended\n`, stderr: "" });
      expect((await running.finished).status, "as by SIGTERM").toBe(128 + 15);
    } finally {
      await running.stop("SIGKILL");
      folder.remove();
    }
  });

  test("is one process all the way: signals reach it, and kill -9 leaves nothing", async () => {
    for (const [signal, status] of [
      ["SIGTERM", 9],
      ["SIGKILL", null],
    ] as const) {
      const traces = new Traces();
      const script = 'trap "exit 9" TERM; setsid sleep 300 & echo started; while :; do sleep 0.1; done';
      const running = new Pktflow(["lab", "pipelines/forward.yaml", "--quiet", "--", "sh", "-c", script], {
        prefix: asNobody(),
        env: traces.env,
      });
      await until("the command runs", () => running.stdout.includes("started"), 30_000);
      traces.look();
      expect((await running.stop(signal)).status).toBe(status);
      await until("all is gone", () => traces.left().length === 0, 5000);
    }
  });
});

describeUnprivileged("a lab that cannot be says what is missing", () => {
  test("a device node that only root may open", async () => {
    expect(await lab([], asNobody("600"))).toMatchObject({
      status: 3,
      stdout: "",
      stderr: expect.stringMatching(
        /^pktflow: open \/dev\/net\/tun: EACCES: Permission denied\n {2}sudo chmod 0666 \/dev\/net\/tun, /,
      ),
    });
  });

  test("unshare(1)", async () => {
    const result = await lab([], [...asNobody(), "env", "PATH=/nowhere"]);
    expect(result).toMatchObject({ status: 3, stdout: "" });
    expect(result.stderr).toContain("unshare(1) is not installed");
    expect(result.stderr).toContain("sudo apt install util-linux");
  });

  test("user namespaces", async () => {
    // Inside one that may have no more of them, as root of it, without capabilities.
    const script =
      'echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --bounding-set=-all --no-new-privs "$@"';
    const prefix = [...asNobody(), "unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    const result = await lab([], prefix);
    expect(result).toMatchObject({ status: 3, stdout: "" });
    expect(result.stderr).toMatch(
      /^pktflow: unshare CLONE_NEWNET: EPERM: .*user namespaces are not allowed here: unshare: /,
    );
    expect(result.stderr).toContain("\n  sudo sysctl user.max_user_namespaces=10000, or run it as root\n");
  });
});
