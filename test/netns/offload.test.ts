// Super-packets and unfinished checksums between two hosts of the real kernel, for every combination of devices with and
// without offloads, under each engine, through filters that look at and change them.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { conservation, type QueueReport, type Report } from "../../src/control/report.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { Pktflow, ROOT, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

const ENDPOINTS = join(ROOT, "test/support/endpoints.mjs");
const SEGMENTS = join(ROOT, "test/support/segments.py");
const PYTHON = "/usr/bin/python3";
/** Of a download over IPv4 and over IPv6. */
const BYTES = { 4: 1_000_000_000, 6: 100_000_000 } as const;
const PORTS = { 4: 8080, 6: 8081 } as const;
const hashes = new Map<number, string>();

/** What a download of so many bytes is to give. */
function hashOf(bytes: number): string {
  const known = hashes.get(bytes);
  if (known !== undefined) return known;
  const hash = execFileSync(process.execPath, [ENDPOINTS, "hash", String(bytes)], { encoding: "utf8" });
  hashes.set(bytes, hash);
  return hash;
}

const PIPELINE = `
pktflow: 1
devices:
  a: { kind: tun, address: [10.1.0.2/24, "fd01::2/64"], routes: [0.0.0.0/0, "::/0"], txqueuelen: 20000 }
  b: { kind: tun, address: [10.2.0.2/24, "fd02::2/64"], routes: [0.0.0.0/0, "::/0"], txqueuelen: 20000 }
filters:
  sane: { kind: checksum, verify: [ipv4, tcp, udp, icmp] }
  hop: { kind: ttl }
paths:
  there: { from: a, through: [sane, { hop: { expired: local } }], to: b }
  back: { from: b, through: [sane, { hop: { expired: local } }], to: a }
  local: { to: drop }
`;

const TIMES = 100;
/** To, bytes of a datagram, bytes of a send: the last one shorter, of one byte each, of more than half the MTU, alone. */
const SENDS: [string, number, number][] = [
  ["10.2.0.2", 1000, 60_000],
  ["fd02::2", 1000, 60_000],
  ["10.2.0.2", 777, 30_001],
  ["fd02::2", 1231, 64_000],
  ["10.2.0.2", 1, 50],
  ["fd02::2", 1, 64],
  ["10.2.0.2", 1472, 1473],
  ["10.2.0.2", 900, 900],
];

//   host a, 10.1.0.2, fd01::2 ---- a [ pktflow ] b ---- 10.2.0.2, fd02::2, host b
const DEVICES = [
  ["on", "on"],
  ["on", "off"],
  ["off", "on"],
  ["off", "off"],
] as const;

for (const io of ["poll", "uring"]) {
  describeKernel(`offload, ${io} engine`, () => {
    describe.each(DEVICES)("a: %s, b: %s", (offloadA, offloadB) => {
      let a: TestNamespace;
      let b: TestNamespace;
      let folder: TemporaryFolder;
      let forwarder: Pktflow;
      const children: ChildProcess[] = [];

      beforeEach(async () => {
        folder = new TemporaryFolder();
        [a, b] = [new TestNamespace(), new TestNamespace()];
        // No duplicate address detection: the addresses can be used at once.
        for (const host of [a, b]) host.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0");
        writeFileSync(folder.file("forward.yaml"), PIPELINE);
        const set = [
          `devices.a.netns=${a.name}`,
          `devices.b.netns=${b.name}`,
          `devices.a.offload=${offloadA}`,
          `devices.b.offload=${offloadB}`,
        ].flatMap((value) => ["--set", value]);
        const report = ["--report", folder.file("report.json")];
        forwarder = new Pktflow([
          "run",
          folder.file("forward.yaml"),
          "--io",
          io,
          "--quiet",
          ...report,
          ...set,
        ]);
        await until("the devices are up", () => {
          if (forwarder.child.exitCode !== null) throw new Error(forwarder.stderr);
          return [a, b].every((host) => host.ip("-6 route show default") !== "");
        });
      });

      afterEach(async () => {
        for (const child of children.splice(0)) child.kill("SIGKILL");
        await forwarder.stop("SIGKILL");
        for (const host of [a, b]) host.remove();
        folder.remove();
      });

      /** A program inside a namespace: its output so far, and whole. */
      function start(host: TestNamespace, ...words: string[]) {
        const child = spawn("ip", ["netns", "exec", host.name, ...words], {
          stdio: ["ignore", "pipe", "inherit"],
        });
        children.push(child);
        const program = { output: "", ended: new Promise<string>(() => {}) };
        child.stdout.setEncoding("utf8").on("data", (text) => {
          program.output += text;
        });
        program.ended = new Promise((resolve) => child.on("close", () => resolve(program.output)));
        return program;
      }

      async function finish(): Promise<{ report: Report; a: QueueReport; b: QueueReport }> {
        const { status, stderr } = await forwarder.stop("SIGTERM");
        expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
        const report = readReport(folder.file("report.json"));
        const [queueA, queueB] = [report.devices["a"].queues[0], report.devices["b"].queues[0]];
        const balance = conservation(report);
        expect(balance.missing, JSON.stringify(balance)).toBe(0);
        // Every datagram that came in went out, whatever packets they were in, but those that the hosts' kernels send of
        // themselves to their neighbours (MLD, hop limit 1).
        const { "path local": local = 0, ...drops } = balance.drops;
        expect(drops).toEqual({});
        expect(queueA.tx.datagrams + queueB.tx.datagrams + local).toBe(
          queueA.rx.datagrams + queueB.rx.datagrams,
        );
        for (const { offload } of [queueA, queueB]) expect(offload.refused).toBe(0);
        return { report, a: queueA, b: queueB };
      }

      test("TCP downloads of 1 GB over IPv4 and 100 MB over IPv6 arrive as they were sent", async () => {
        for (const [family, address] of [
          [4, "10.2.0.2"],
          [6, "fd02::2"],
        ] as const) {
          const [port, bytes] = [String(PORTS[family]), BYTES[family]];
          const server = start(b, process.execPath, ENDPOINTS, "download-server", port, String(bytes));
          await until("the server listens", () => server.output.includes("ready"));
          const download = await start(a, process.execPath, ENDPOINTS, "download", address, port).ended;
          expect(JSON.parse(download)).toEqual(JSON.parse(hashOf(bytes)));
        }
        const queues = await finish();
        // The data goes from b to a.
        const segments = Math.floor((BYTES[4] + BYTES[6]) / 1460);
        expect(queues.b.rx.datagrams).toBeGreaterThan(segments);
        if (offloadB === "on") expect(queues.b.rx.packets).toBeLessThan(segments / 2);
        else expect(queues.b.rx.packets).toBe(queues.b.rx.datagrams);
        if (offloadA === "off" && offloadB === "on") {
          expect(queues.a.tx.packets).toBe(queues.a.tx.datagrams);
          expect(queues.a.offload.segmented).toBeGreaterThan(segments / 2);
          expect(queues.a.offload.checksummed).toBeGreaterThan(segments);
        }
      });

      test("what UDP_SEGMENT makes of a send arrives as the same datagrams in the same order", async () => {
        let cut = 0;
        for (const [address, size, bytes] of SENDS) {
          const count = TIMES * Math.ceil(bytes / size);
          const receiver = start(b, PYTHON, SEGMENTS, "receive", "9000", String(count));
          await until("the receiver listens", () => receiver.output.includes("ready"));
          const words = ["send", address, "9000", size, bytes, TIMES].map(String);
          const sent = await start(a, PYTHON, SEGMENTS, ...words).ended;
          const received = (await receiver.ended).replace("ready", "");
          expect(JSON.parse(received), `${size} of ${bytes} to ${address}`).toEqual(JSON.parse(sent));
          cut += count - TIMES;
        }
        const queues = await finish();
        if (offloadA === "on") expect(queues.a.rx.datagrams - queues.a.rx.packets).toBe(cut);
        if (offloadA === "on" && offloadB === "off") expect(queues.b.offload.segmented).toBe(cut);
        if (offloadB === "on") expect(queues.b.offload.segmented).toBe(0);
      });
    });
  });
}
