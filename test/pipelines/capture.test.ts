// From one capture to another: a million packets, streaming, and what came out judged by tshark.
import { execFileSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { hasTool } from "../support/pcap.ts";
import { Pktflow, pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const MANY = 1_000_000;
const FEW = 100_000;

const GENERATE = `
pktflow: 1
devices:
  traffic:
    kind: generator
    packets: \${PACKETS}
    flows:
      - { proto: tcp, from: 10.77.0.0/24, to: 192.0.2.10, from-port: 20000-20999, to-port: 443, size: [60, 71], count: 1000 }
      - { proto: udp, from: 10.77.0.0/24, to: 192.0.2.53, from-port: 30000-30999, to-port: 53, size: 80, count: 1000 }
      - { proto: icmp, from: 10.77.0.7, to: 192.0.2.1, size: 84 }
  file: { kind: pcap, write: "\${FILE}" }
paths:
  all: { from: traffic, to: file }
`;

const TRANSLATE = `
pktflow: 1
workers: 2
devices:
  in: { kind: pcap, read: "\${IN}", queues: 2 }
  out: { kind: pcap, write: "\${OUT}" }
filters:
  sane: { kind: checksum, verify: [ipv4, tcp, udp, icmp] }
  older: { kind: ttl }
  masquerade: { kind: nat, inside: 10.77.0.0/24, outside: 198.51.100.2 }
paths:
  all: { from: in, through: [sane, { older: { expired: lost } }, masquerade], to: out }
  lost: { to: drop }
`;

describe("a capture of a million packets", () => {
  const folder = new TemporaryFolder();
  const peaks = new Map<number, number>();

  beforeAll(async () => {
    writeFileSync(folder.file("generate.yaml"), GENERATE);
    writeFileSync(folder.file("translate.yaml"), TRANSLATE);
    for (const packets of [FEW, MANY]) {
      const env = { PACKETS: String(packets), FILE: folder.file(`${packets}.pcap`) };
      const { status, stderr } = await pktflow(["run", folder.file("generate.yaml"), "--quiet"], { env });
      expect(stderr).toBe("");
      expect(status).toBe(0);
    }
  });
  afterAll(() => folder.remove());

  /** Peak of the resident memory, KiB, read while it runs. */
  async function translate(packets: number): Promise<number> {
    const env = { IN: folder.file(`${packets}.pcap`), OUT: folder.file(`${packets}.out.pcapng`) };
    const report = folder.file(`${packets}.json`);
    const process = new Pktflow(["run", folder.file("translate.yaml"), "--quiet", "--report", report], {
      env,
    });
    let peak = 0;
    const timer = setInterval(() => {
      const found = /VmHWM:\s+(\d+)/.exec(readStatus(process.child.pid!));
      if (found) peak = Math.max(peak, Number(found[1]));
    }, 10);
    const { status, stderr } = await process.finished;
    clearInterval(timer);
    expect(stderr).toBe("");
    expect(status).toBe(0);
    return peak;
  }

  test.each([FEW, MANY])("%d packets: all come out, in = out + drops", async (packets) => {
    peaks.set(packets, await translate(packets));
    const report = readReport(folder.file(`${packets}.json`));
    expect(conservation(report)).toMatchObject({ in: packets, out: packets, drops: {}, missing: 0 });
    expect(report.filters["masquerade"].outputs["next"]).toBe(packets);
  });

  test("memory does not grow with the file", () => {
    const growth = statSync(folder.file(`${MANY}.pcap`)).size - statSync(folder.file(`${FEW}.pcap`)).size;
    const grown = (peaks.get(MANY)! - peaks.get(FEW)!) * 1024;
    expect(growth).toBeGreaterThan(70e6);
    expect(grown).toBeLessThan(growth / 4);
  });

  const judge = "tshark finds every packet, from the outside address, no bad checksum, nothing malformed";
  test.skipIf(!hasTool("tshark"))(`${judge} (needs tshark)`, { timeout: 300_000 }, () => {
    const file = folder.file(`${MANY}.out.pcapng`);
    const checks = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
    const fields = ["ip.src", "ip.ttl", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"];
    const output = execFileSync(
      "tshark",
      [
        "-n",
        "-r",
        file,
        ...checks,
        "-T",
        "fields",
        ...fields.flatMap((field) => ["-e", field]),
        "-e",
        "icmp.checksum.status",
      ],
      { encoding: "utf8", maxBuffer: 1 << 30, stdio: ["ignore", "pipe", "ignore"] },
    );
    const kinds = new Map<string, number>();
    for (const line of output.replace(/\n$/, "").split("\n")) kinds.set(line, (kinds.get(line) ?? 0) + 1);
    // Status 1: good. One transport each, sent once, one hop older.
    const line = (transport: string) => `198.51.100.2\t63\t1\t${transport}`;
    expect([...kinds.keys()].sort()).toEqual([line("1\t\t"), line("\t1\t"), line("\t\t1")].sort());
    expect([...kinds.values()].reduce((a, b) => a + b, 0)).toBe(MANY);
  });
});

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return "";
  }
}
