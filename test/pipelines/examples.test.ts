// Every example in pipelines/ is loaded; those that need no host are run. The others are run in test/netns.
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { hasScapy, hasTool, scapy } from "../support/pcap.ts";
import { MAIN, pktflow, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const hasTcpdump = hasTool("tcpdump");
/** Has a filter in C. */
const needsClang = ["isolated.yaml"];
const hasClang = hasTool("clang", "wasm-ld");
const examples = readdirSync(join(ROOT, "pipelines")).filter((file) => file.endsWith(".yaml"));

describe("every example is valid, and its plan can be shown", () => {
  test.for(examples)("%s (in part in C: skipped without clang and lld)", async (example, context) => {
    context.skip(needsClang.includes(example) && !hasClang, "needs clang and lld");
    const { status, stdout, stderr } = await pktflow(["check", join("pipelines", example)]);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toContain("is valid");
    const json = await pktflow(["check", join("pipelines", example), "--json"]);
    expect(JSON.parse(json.stdout).paths.length).toBeGreaterThan(0);
  });
});

describe("quickstart.yaml", () => {
  const report = folder.file("quickstart.json");
  const run = (file: string, prefix: string[] = []) =>
    pktflow(["run", "pipelines/quickstart.yaml", "--report", file, "--set", "devices.traffic.rate=1Mpps"], {
      env: { TMPDIR: folder.path, USER: "tester" },
      prefix,
    });

  test("generator -> checksum -> acl -> nat -> pcap on two workers, every packet accounted for", async () => {
    const { status, stdout, stderr } = await run(report);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(stdout).toMatch(/in 300,000 = out 299,851 \+ drops 149 \(firewall drop 149\)/);
    const { workers, filters, devices } = readReport(report);
    expect(workers).toBe(2);
    expect(filters["firewall"].counters["rules.no-mail"]).toBe(149);
    expect(devices["traffic"].queues.map((queue) => queue.rx.packets)).toEqual([150_000, 150_000]);
  });

  test.skipIf(!hasTcpdump)("tcpdump reads what it wrote (needs tcpdump)", () => {
    const file = folder.file("pktflow-quickstart-tester.pcap");
    const text = execFileSync("tcpdump", ["-nr", file, "-c", "3"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    expect(text).toMatch(/IP 198\.51\.100\.2\.\d+ > 192\.0\.2\.\d+/);
  });

  test.skipIf(process.getuid?.() !== 0)(
    "needs no privilege (skipped unless root: runs as another user)",
    async () => {
      const other = new TemporaryFolder();
      execFileSync("chmod", ["777", other.path]);
      const prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
      const { status, stderr } = await pktflow(
        ["run", "pipelines/quickstart.yaml", "--quiet", "--set", "devices.traffic.rate=1Mpps"],
        { prefix, env: { TMPDIR: other.path } },
      );
      other.remove();
      expect(stderr).toBe("");
      expect(status).toBe(0);
    },
  );
});

describe.skipIf(!hasScapy || !hasTcpdump)("clean-capture.yaml (needs scapy, tcpdump)", () => {
  test("keeps the web and DNS, drops what is damaged or unwanted", async () => {
    const input = folder.file("mixed.pcap");
    scapy(`
from scapy.all import *
web = IP(src="10.0.0.1", dst="10.0.0.2")/TCP(sport=4000, dport=443)/b"hello"
reply = IP(src="10.0.0.2", dst="10.0.0.1")/TCP(sport=443, dport=4000)/b"world"
dns = IPv6(src="fd00::1", dst="fd00::2")/UDP(sport=4001, dport=53)/b"query"
ssh = IP(src="10.0.0.1", dst="10.0.0.2")/TCP(sport=4002, dport=22)
damaged = IP(src="10.0.0.1", dst="10.0.0.2")/TCP(sport=4003, dport=443, chksum=0x1234)/b"hello"
wrpcap("${input}", [Ether()/p for p in (web, reply, dns, ssh, damaged)])
`);
    const report = folder.file("clean.json");
    const env = { IN: input, OUT: folder.file("clean.pcapng") };
    const { status, stderr } = await pktflow(
      ["run", "pipelines/clean-capture.yaml", "--quiet", "--report", report],
      { env },
    );
    expect(stderr).toBe("");
    expect(status).toBe(0);
    expect(conservation(readReport(report))).toMatchObject({
      in: 5,
      out: 3,
      drops: { "sane drop": 1, "wanted drop": 1 },
      missing: 0,
    });
    const kept = execFileSync("tcpdump", ["-nr", env.OUT], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    expect(kept.trim().split("\n")).toHaveLength(3);
  });
});

describe("the report", () => {
  test("has the fields of the contract", () => {
    const report = readReport(folder.file("quickstart.json"));
    expect(Object.keys(report)).toEqual([
      "pipeline",
      "seconds",
      "io",
      "workers",
      "devices",
      "filters",
      "paths",
      "batches",
      "replacedWorkers",
    ]);
    const queue = report.devices["capture"].queues[0];
    for (const direction of [queue.rx, queue.tx]) {
      expect(Object.keys(direction)).toEqual(["packets", "bytes", "datagrams"]);
    }
    expect(queue.drops["would-block"]).toBe(0);
    expect(queue.tx.datagrams).toBe(queue.tx.packets);
    const filter = report.filters["firewall"];
    expect(filter.packets).toBe(300_000);
    expect(filter.outputs).toEqual({ next: 299_851, drop: 149 });
    expect(filter.nsPerPacket).toBeGreaterThan(0);
    expect(report.paths["outbound"].packets).toBe(300_000);
    expect(report.batches.count).toBeGreaterThan(0);
  });

  test("goes to standard output as nothing but JSON with --report -", async () => {
    const { stdout } = await pktflow(
      ["run", "pipelines/quickstart.yaml", "--report", "-", "--set", "devices.traffic.packets=1000"],
      { env: { TMPDIR: folder.path } },
    );
    const report = JSON.parse(stdout);
    expect(report.pipeline).toBe("quickstart");
    // Fewer than 1,000 packets were timed: what that says is how the run began.
    expect(report.filters["firewall"].nsPerPacket).toBe(0);
  });

  const alone = "a pipeline may write packets to standard output: nothing else goes there (needs tcpdump)";
  test.skipIf(!hasTcpdump)(alone, async () => {
    const file = folder.file("stdout.pcap");
    const values = ["--set", "devices.capture.write=-", "--set", "devices.traffic.packets=1000"];
    execFileSync(
      "sh",
      [
        "-c",
        `exec "$@" > ${file} 2>/dev/null`,
        "sh",
        process.execPath,
        MAIN,
        "run",
        "pipelines/quickstart.yaml",
        ...values,
      ],
      { cwd: ROOT },
    );
    const count = execFileSync("tcpdump", ["-nr", file], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    expect(count.trim().split("\n")).toHaveLength(1000);
  });
});
