// pipelines/answering-net.yaml: icmp-echo answers real pings, and mirror keeps what else was sent.
import { execFileSync } from "node:child_process";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

describeKernel("answering-net", () => {
  const lab = async (io: string, script: string) => {
    const [report, OUT] = [folder.file("report.json"), folder.file("seen.pcap")];
    const options = ["--quiet", "--io", io, "--report", report];
    const args = ["lab", "pipelines/answering-net.yaml", ...options, "--", "sh", "-c", script];
    const { stdout } = await pktflow(args, { env: { OUT } });
    expect(conservation(readReport(report)).missing).toBe(0);
    return { stdout, report: readReport(report), capture: OUT };
  };

  test.each(["poll", "uring"])("ping is answered, of any size, IPv4 and IPv6, engine %s", async (io) => {
    const pings = [
      "-s 56 10.9.8.7",
      "-s 0 10.9.255.254",
      "-s 1472 10.9.0.1",
      "-s 20 fd00:9::1",
      "-s 1452 fd00:9::ffff",
    ];
    const script = pings.map((words) => `ping -c 2 -i 0.1 -W 2 ${words}`).join("; ");
    const { stdout, report } = await lab(io, script);
    expect(stdout.match(/2 received/g)).toHaveLength(5);
    expect(stdout).not.toContain("wrong");
    expect(report.filters["answers"].counters["answered"]).toBe(10);
  });

  test.skipIf(!hasTool("fping"))(
    "fping finds every address of a range alive, IPv4 and IPv6 (needs fping)",
    async () => {
      const script =
        "fping -a -q -i 1 -r 1 -g 10.9.1.0/28 2>&1; fping -6 -a -q -i 1 -r 1 fd00:9::1 fd00:9::abcd fd00:9::ffff 2>&1; true";
      const { stdout, report } = await lab("poll", script);
      const four = Array.from({ length: 14 }, (_, i) => `10.9.1.${i + 1}`);
      expect(stdout.trim().split("\n").sort()).toEqual(
        [...four, "fd00:9::1", "fd00:9::abcd", "fd00:9::ffff"].sort(),
      );
      // A request may have been sent again, where its answer was slow.
      expect(report.filters["answers"].counters["answered"]).toBeGreaterThanOrEqual(17);
    },
  );

  test.skipIf(!hasTool("tcpdump"))("what else is sent is in the capture, cut (needs tcpdump)", async () => {
    const send = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(5): s.sendto(b"x" * 1000, ("10.9.0.%d" % i, 53))`;
    const { report, capture } = await lab("poll", `/usr/bin/python3 -c '${send}'`);
    const { counters } = report.filters["look"];
    expect(counters["copied"]).toBeGreaterThanOrEqual(5);
    expect(report.filters["look"].fresh).toBe(counters["copied"]);
    const text = execFileSync("tcpdump", ["-nr", capture, "udp", "port", "53"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    expect(text.trim().split("\n")).toHaveLength(5);
    expect(execFileSync("stat", ["-c", "%s", capture], { encoding: "utf8" }).trim()).not.toBe("0");
  });
});
