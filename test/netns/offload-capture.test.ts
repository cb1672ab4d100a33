// Super-packets of a device with offloads that end in a capture: the file has what would be on the wire, as scapy sees it.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { Pktflow, ROOT, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

const PYTHON = "/usr/bin/python3";
/** Lengths of the UDP packets to port 9000, how many of all packets scapy would have given another checksum. */
const JUDGE = `
import sys, json
from scapy.all import rdpcap, IP, IPv6, UDP, TCP
lengths, wrong = [], 0
for p in rdpcap(sys.argv[1]):
    bytes_of = bytes(p)
    fresh = p.copy()
    for layer in (IP, UDP, TCP):
        if layer in fresh: del fresh[layer].chksum
    wrong += bytes(fresh.__class__(bytes(fresh))) != bytes_of
    if UDP in p and p[UDP].dport == 9000: lengths.append(len(p[UDP].payload))
print(json.dumps({"lengths": lengths, "wrong": wrong}))
`;

describeKernel("a capture of super-packets", () => {
  let host: TestNamespace;
  let folder: TemporaryFolder;
  let running: Pktflow;

  beforeEach(() => {
    host = new TestNamespace();
    folder = new TemporaryFolder();
  });
  afterEach(async () => {
    await running.stop("SIGKILL");
    host.remove();
    folder.remove();
  });

  test.each(["poll", "uring"])("has segments with right checksums, %s engine", async (io) => {
    const file = folder.file("pipeline.yaml");
    writeFileSync(
      file,
      `pktflow: 1
devices:
  a: { kind: tun, netns: ${host.name}, address: [10.1.0.2/24, "fd01::2/64"], routes: [0.0.0.0/0, "::/0"], offload: on }
  file: { kind: pcap, write: ${folder.file("out.pcap")} }
paths:
  there: { from: a, to: file }
`,
    );
    const report = folder.file("report.json");
    running = new Pktflow(["run", file, "--io", io, "--quiet", "--report", report]);
    await until("the device is up", () => {
      if (running.child.exitCode !== null) throw new Error(running.stderr);
      return host.ip("-6 route show default") !== "";
    });
    const segments = join(ROOT, "test/support/segments.py");
    for (const [address, size] of [
      ["10.9.0.1", 1001],
      ["fd09::1", 777],
    ] as const) {
      host.run(PYTHON, segments, "send", address, "9000", String(size), "20000", "5");
    }
    // Seen by the pipeline before it is told to end.
    await new Promise((resolve) => setTimeout(resolve, 200));
    const { status, stderr } = await running.stop("SIGTERM");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const judged = JSON.parse(
      execFileSync(PYTHON, ["-c", JUDGE, folder.file("out.pcap")], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      }),
    );
    const wanted = (size: number) => [
      ...Array.from({ length: Math.floor(20000 / size) }, () => size),
      20000 % size,
    ];
    const five = (size: number) => Array.from({ length: 5 }, () => wanted(size)).flat();
    expect(judged).toEqual({ lengths: [...five(1001), ...five(777)], wrong: 0 });
    const balance = conservation(readReport(report));
    expect(balance.missing).toBe(0);
    expect(balance.segmented).toBe(5 * 19 + 5 * 25);
  });
});
