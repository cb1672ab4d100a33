// `pktflow run` on real devices: start, stop, sleep, and devices that go down or away, under each engine.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { WORKER_CONTROL } from "../../src/batches/control.ts";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { conservation } from "../../src/control/report.ts";
import { type RunningPipeline, startPipeline } from "../../src/workers/pipeline.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { Pktflow, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

/** Rounds of the workers' loops so far: they stand still in a worker that sleeps. */
function rounds({ m, plan }: RunningPipeline): number[] {
  return plan.workers.map(({ control }) => Atomics.load(m.i32, (control + WORKER_CONTROL.HEARTBEAT) >>> 2));
}

async function allSleep({ m, plan }: RunningPipeline): Promise<void> {
  await until("all sleep", () =>
    plan.workers.every(({ control }) => Atomics.load(m.i32, (control + WORKER_CONTROL.ASLEEP) >>> 2) === 1),
  );
}

/** Once asleep, its workers sleep on. */
async function expectSleep(visibly: RunningPipeline): Promise<void> {
  // What has just happened may wake them once more.
  await new Promise((resolve) => setTimeout(resolve, 500));
  await allSleep(visibly);
  const before = rounds(visibly);
  expect(before.every((count) => count > 0)).toBe(true);
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(rounds(visibly)).toEqual(before);
}

for (const io of ["poll", "uring"]) {
  describeKernel(`run, ${io} engine`, () => {
    let host: TestNamespace;
    let peer: TestNamespace;
    let folder: TemporaryFolder;
    let running: Pktflow | undefined;

    beforeEach(() => {
      host = new TestNamespace();
      peer = new TestNamespace();
      folder = new TemporaryFolder();
    });

    afterEach(async () => {
      await running?.stop("SIGKILL");
      running = undefined;
      host.remove();
      peer.remove();
      folder.remove();
    });

    async function start(...set: string[]): Promise<Pktflow> {
      const values = [
        `devices.a.netns=${host.name}`,
        `devices.b.netns=${peer.name}`,
        "devices.a.routes=0.0.0.0/0",
        "devices.b.routes=0.0.0.0/0",
        ...set,
      ].flatMap((value) => ["--set", value]);
      const report = ["--report", folder.file("report.json")];
      const started = new Pktflow([
        "run",
        "pipelines/forward.yaml",
        "--io",
        io,
        "--quiet",
        ...report,
        ...values,
      ]);
      running = started;
      await until("the devices are up", () => {
        if (started.child.exitCode !== null) throw new Error(started.stderr);
        return [host, peer].every((one) => one.ip("route show default") !== "");
      });
      // The default route is there a moment before the workers are.
      await until("packets pass", () => {
        try {
          return host.run("ping", "-c", "1", "-W", "1", "10.2.0.2").includes("1 received");
        } catch {
          return false;
        }
      });
      return started;
    }

    test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)(
      "%s stops it: exit status 0, all drained, no worker ended by force",
      async (signal) => {
        const started = await start();
        const { status, stderr } = await started.stop(signal);
        expect(stderr).toBe("");
        expect(status).toBe(0);
        expect(conservation(readReport(folder.file("report.json"))).missing).toBe(0);
      },
    );

    /** In this process, where its workers' rounds can be seen, with nothing that the kernel sends on its own account. */
    async function visible(...set: string[]): Promise<RunningPipeline> {
      for (const one of [host, peer]) one.run("sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
      const values = [`devices.a.netns=${host.name}`, `devices.b.netns=${peer.name}`, ...set];
      return await startPipeline(loadPipeline("pipelines/forward.yaml", { set: values }), {
        io: io as "poll" | "uring",
      });
    }

    test("an idle pipeline of four queues a device sleeps: its workers' loops stand still, with a device down, too", async () => {
      const visibly = await visible("devices.a.queues=4", "devices.b.queues=4");
      try {
        await expectSleep(visibly);
        host.ip("link set dev a down");
        await expectSleep(visibly);
      } finally {
        visibly.stop();
        await visibly.ended;
      }
    });

    // How long it takes is in bench/README.md. Here: a sleep without a time limit is ended, and nothing is waited for.
    test("a stop ends the sleep of idle workers, which end in the round that they are in", async () => {
      const visibly = await visible("devices.a.queues=2", "devices.b.queues=2");
      await allSleep(visibly);
      const before = rounds(visibly);
      visibly.stop();
      await visibly.ended;
      expect(rounds(visibly)).toEqual(before);
      expect(visibly.warnings).toEqual([]);
    });

    test("a device that goes down and comes up again goes on", async () => {
      const started = await start();
      host.ip("link set dev a down");
      await new Promise((resolve) => setTimeout(resolve, 500));
      host.ip("link set dev a up");
      host.ip("route add default dev a");
      expect(host.run("ping", "-c", "2", "-i", "0.3", "-W", "2", "10.2.0.2")).toContain("2 received");
      const { status } = await started.stop();
      expect(status).toBe(0);
    });

    test("packets for a device that is down are counted drops", async () => {
      const started = await start();
      peer.ip("link set dev b down");
      expect(() => host.run("ping", "-c", "3", "-i", "0.1", "-W", "1", "10.2.0.2")).toThrow();
      await started.stop();
      const report = readReport(folder.file("report.json"));
      expect(report.devices["b"].queues[0].drops["down"]).toBeGreaterThanOrEqual(3);
      expect(conservation(report).missing).toBe(0);
    });

    test("a device that is deleted ends the run with an error that names it", async () => {
      const started = await start();
      host.ip("link del dev a");
      const { status, stderr } = await started.finished;
      expect(status).toBe(1);
      expect(stderr).toMatch(/^pktflow: read a queue 0: E[A-Z]+: /);
    });

    test("a device that is only written to and deleted ends the run as well", async () => {
      const file = folder.file("one-way.yaml");
      writeFileSync(
        file,
        `pktflow: 1
devices:
  a: { kind: tun, netns: ${host.name}, address: 10.1.0.2/24, routes: 0.0.0.0/0 }
  b: { kind: tun, netns: ${peer.name} }
paths: { there: { from: a, to: b } }
`,
      );
      running = new Pktflow(["run", file, "--io", io, "--quiet"]);
      await until("the devices are up", () => host.ip("route show default") !== "");
      peer.ip("link del dev b");
      expect(() => host.run("ping", "-c", "3", "-i", "0.3", "-W", "1", "10.2.0.2")).toThrow();
      const { status, stderr } = await running.finished;
      expect(stderr).toBe(
        "pktflow: write b queue 0: EBADFD: File descriptor in bad state (the interface was removed)\n",
      );
      expect(status).toBe(1);
    });

    test("packets for other devices than the one that is gone still leave, and all are accounted for", async () => {
      const file = folder.file("copies.yaml");
      const report = folder.file("copies.json");
      writeFileSync(
        file,
        `pktflow: 1
devices:
  a: { kind: tun, netns: ${host.name}, address: 10.1.0.2/24, routes: 0.0.0.0/0 }
  b: { kind: tun, netns: ${peer.name} }
  c: { kind: tun, netns: ${peer.name} }
filters: { twice: { kind: mirror } }
paths:
  there: { from: a, through: [{ twice: { copy: aside } }], to: b }
  aside: { to: c }
`,
      );
      running = new Pktflow(["run", file, "--io", io, "--quiet", "--report", report]);
      await until("the devices are up", () => host.ip("route show default") !== "");
      peer.ip("link del dev b");
      expect(() => host.run("ping", "-c", "3", "-i", "0.3", "-W", "1", "10.2.0.2")).toThrow();
      expect((await running.finished).status).toBe(1);
      const { devices, filters, ...rest } = readReport(report);
      expect(devices["c"].queues[0].tx.packets).toBe(filters["twice"].outputs["copy"]);
      expect(devices["c"].queues[0].tx.packets).toBeGreaterThan(0);
      expect(conservation({ devices, filters, ...rest })).toMatchObject({
        drops: { "b io-error": devices["b"].queues[0].drops["io-error"] },
        missing: 0,
      });
    });

    const captured = "a capture of a device's packets has the time at which they came (needs tshark)";
    test.skipIf(!hasTool("tshark"))(captured, async () => {
      const file = folder.file("capture.yaml");
      const capture = folder.file("out.pcap");
      writeFileSync(
        file,
        `pktflow: 1
devices:
  a: { kind: tun, netns: ${host.name}, address: 10.1.0.2/24, routes: 0.0.0.0/0 }
  file: { kind: pcap, write: ${capture} }
paths: { all: { from: a, to: file } }
`,
      );
      const before = Date.now() / 1000;
      running = new Pktflow(["run", file, "--io", io, "--quiet"]);
      await until("the device is up", () => host.ip("route show default") !== "");
      // More than the slots there are, so that each is used again.
      for (let i = 0; i < 3; i++) {
        expect(() => host.run("ping", "-c", "100", "-i", "0.002", "-W", "1", "10.2.0.2")).toThrow();
      }
      await running.stop();
      const fields = ["-nr", capture, "-T", "fields", "-e", "frame.time_epoch"];
      const times = execFileSync("tshark", fields, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
        .trim()
        .split("\n")
        .map(Number);
      expect(times.length).toBeGreaterThanOrEqual(300);
      for (const time of times) {
        expect(time).toBeGreaterThan(before - 1);
        expect(time).toBeLessThan(Date.now() / 1000 + 1);
      }
      expect(times).toEqual([...times].sort((x, y) => x - y));
    });

    test("what the user should know of a device is said at the start, not at the end", async () => {
      host.ip("tuntap add dev a mode tun");
      const started = new Pktflow(
        ["run", "pipelines/forward.yaml", "--io", io, "--quiet"].concat(
          ...[`devices.a.netns=${host.name}`, `devices.b.netns=${peer.name}`].map((value) => [
            "--set",
            value,
          ]),
        ),
      );
      running = started;
      await until("it is said", () => started.stderr.includes("warning: a is down"));
      expect(started.child.exitCode).toBe(null);
      const { status, stderr } = await started.stop();
      expect(stderr.match(/a is down/g)).toHaveLength(1);
      expect(status).toBe(0);
    });

    test("devices made here are gone at the end, a persistent one stays", async () => {
      const started = await start("devices.b.persist=true");
      await started.stop();
      expect(host.ip("-o link show")).not.toContain(" a:");
      expect(peer.ip("-o link show")).toContain(" b:");
    });

    test("killed with -9 it leaves nothing behind", async () => {
      const started = await start();
      await started.stop("SIGKILL");
      // The kernel tears a killed process's ring down a moment after the process itself.
      await until("a is gone", () => !host.ip("-o link show").includes(" a:"), 2000);
      await until("b is gone", () => !peer.ip("-o link show").includes(" b:"), 2000);
    });
  });
}
