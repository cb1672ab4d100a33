// pipelines/nat-gateway.yaml between two hosts of the real kernel, two queues a device, under each engine.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { conservation, type Report } from "../../src/control/report.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { type Finished, Pktflow, ROOT, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

const ENDPOINTS = join(ROOT, "test/support/endpoints.mjs");
const STEER = join(ROOT, "test/support/steer.py");
const DOWNLOAD_BYTES = 100_000_000;

//   lan host 10.77.0.1 ---- lan [ pktflow ] wan ---- 198.51.100.1 wan host
//                                 NAT to 198.51.100.2
for (const [io, offload] of [
  ["poll", "on"],
  ["poll", "off"],
  ["uring", "on"],
  ["uring", "off"],
]) {
  describeKernel(`nat-gateway, ${io} engine, queues: 2, offload: ${offload}`, () => {
    let lan: TestNamespace;
    let wan: TestNamespace;
    let folder: TemporaryFolder;
    let gateway: Pktflow;
    const servers: ChildProcess[] = [];

    beforeEach(async () => {
      folder = new TemporaryFolder();
      lan = new TestNamespace();
      wan = new TestNamespace();
      const set = [
        `devices.lan.netns=${lan.name}`,
        `devices.wan.netns=${wan.name}`,
        `devices.lan.offload=${offload}`,
        `devices.wan.offload=${offload}`,
        "devices.lan.routes=0.0.0.0/0",
        "devices.wan.routes=0.0.0.0/0",
      ].flatMap((value) => ["--set", value]);
      const report = ["--report", folder.file("report.json")];
      gateway = new Pktflow(["run", "pipelines/nat-gateway.yaml", "--io", io, "--quiet", ...report, ...set]);
      await until("the devices are up", () => {
        if (gateway.child.exitCode !== null) throw new Error(gateway.stderr);
        return [lan, wan].every((host) => host.ip("route show default") !== "");
      });
    });

    afterEach(async () => {
      for (const server of servers.splice(0)) server.kill("SIGKILL");
      await gateway.stop("SIGKILL");
      lan.remove();
      wan.remove();
      folder.remove();
    });

    async function serve(host: TestNamespace, ...role: string[]): Promise<void> {
      const words = ["netns", "exec", host.name, process.execPath, ENDPOINTS, ...role];
      const server = spawn("ip", words, { stdio: ["ignore", "pipe", "inherit"] });
      servers.push(server);
      let output = "";
      server.stdout.on("data", (data) => {
        output += data;
      });
      await until("the server listens", () => output.includes("ready"));
    }

    /** Runs an endpoint in a namespace to its end. Not synchronous: the servers' output is read meanwhile. */
    async function endpoint(host: TestNamespace, ...role: string[]) {
      const words = ["netns", "exec", host.name, process.execPath, ENDPOINTS, ...role];
      const child = spawn("ip", words, { stdio: ["ignore", "pipe", "inherit"] });
      let output = "";
      child.stdout.on("data", (data) => {
        output += data;
      });
      await new Promise((resolve) => child.on("close", resolve));
      return JSON.parse(output);
    }

    async function finish(): Promise<{ report: Report; result: Finished }> {
      const result = await gateway.stop("SIGTERM");
      return { report: readReport(folder.file("report.json")), result };
    }

    /** What came in equals what went out plus every counted drop, to the packet. */
    function expectConservation(report: Report): void {
      const balance = conservation(report);
      expect(balance.missing, JSON.stringify(balance)).toBe(0);
      expect(balance.in).toBeGreaterThan(0);
    }

    test("a host behind it pings the other side, from the outside address", async () => {
      expect(lan.run("ping", "-c", "3", "-i", "0.1", "-W", "2", "198.51.100.1")).toContain("3 received");
      const { report, result } = await finish();
      expect(result.status).toBe(0);
      expect(report.io).toBe(io);
      expect(report.filters["masquerade"].counters["mappings-made"]).toBeGreaterThanOrEqual(1);
      expectConservation(report);
    });

    test("a refused port is answered with an ICMP error, so that the client fails at once", async () => {
      const script =
        "import socket,sys\ns=socket.socket()\ns.settimeout(5)\n" +
        "try: s.connect(('198.51.100.1',25))\nexcept OSError as e: print(type(e).__name__, e.errno)";
      // EHOSTUNREACH: what Linux makes of "communication administratively prohibited" (RFC 1812 5.2.7.1).
      expect(lan.run("/usr/bin/python3", "-c", script)).toContain("113");
      const { report } = await finish();
      expect(report.filters["firewall"].outputs["refuse"]).toBeGreaterThanOrEqual(1);
      expect(report.paths["bounce"].packets).toBe(report.filters["firewall"].outputs["refuse"]);
      expectConservation(report);
    });

    test("a TCP download of 100 MB arrives as it was sent", async () => {
      await serve(wan, "download-server", "8080", String(DOWNLOAD_BYTES));
      const wanted = JSON.parse(
        execFileSync(process.execPath, [ENDPOINTS, "hash", String(DOWNLOAD_BYTES)], { encoding: "utf8" }),
      );
      expect(await endpoint(lan, "download", "198.51.100.1", "8080")).toEqual(wanted);
      expectConservation((await finish()).report);
    });

    test("64 parallel flows are all answered, with packets on both queues of both devices", async () => {
      await serve(wan, "echo-server", "443");
      expect(await endpoint(lan, "flows", "198.51.100.1", "443", "64")).toEqual({ sent: 64, answered: 64 });
      const { report } = await finish();
      for (const device of ["lan", "wan"]) {
        for (const queue of report.devices[device].queues) {
          expect(queue.rx.packets, `${device} in`).toBeGreaterThan(0);
          expect(queue.tx.packets, `${device} out`).toBeGreaterThan(0);
        }
      }
      expect(report.filters["masquerade"].counters["mappings-made"]).toBeGreaterThanOrEqual(64);
      expectConservation(report);
    });

    test("replies that arrive on the other worker's queue are translated all the same", async () => {
      lan.run("/usr/bin/python3", STEER, "lan", "0");
      wan.run("/usr/bin/python3", STEER, "wan", "1");
      await serve(wan, "echo-server", "443");
      expect(await endpoint(lan, "flows", "198.51.100.1", "443", "64")).toEqual({ sent: 64, answered: 64 });
      const { report } = await finish();
      const packets = (device: string, queue: number, direction: "rx" | "tx") =>
        report.devices[device].queues[queue][direction].packets;
      // Out through worker 0 alone, back through worker 1 alone.
      expect(packets("lan", 0, "rx")).toBeGreaterThanOrEqual(64);
      expect(packets("wan", 1, "rx")).toBeGreaterThanOrEqual(64);
      expect(packets("lan", 1, "tx")).toBeGreaterThanOrEqual(64);
      expectConservation(report);
    });
  });
}
