// pipelines/office-nat.yaml with a real server and client, by the command that stands in the file: a forwarded port, reached
// from inside by its outside address. And a client that is over its limit, which is told so.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { hasTool } from "../support/pcap.ts";
import { MAIN, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

describeKernel("the command of pipelines/office-nat.yaml", () => {
  test.skipIf(!hasTool("python3", "curl")).each(["poll", "uring"])(
    "gets an answer from the server inside, through its outside port: %s (skipped without python3 and curl)",
    (io) => {
      const text = readFileSync(join(ROOT, "pipelines/office-nat.yaml"), "utf8");
      const report = folder.file("report.json");
      const command = /# {3}(pktflow lab \S+ -- bash [\s\S]*?kill \$!')\n/
        .exec(text)![1]
        .replaceAll(/\n# {5}/g, "\n")
        .replace(
          "pktflow lab",
          `"${process.execPath}" "${MAIN}" lab --quiet --io ${io} --report "${report}"`,
        );
      const output = execFileSync("bash", ["-c", command], {
        cwd: ROOT,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      });
      expect(output.trim()).toBe("200");
      const { filters } = readReport(report);
      // The client's own connection, and the one that came in by the forwarded port.
      expect(filters["nat"].counters["sessions-made"]).toBe(2);
      expect(filters["nat"].outputs["turn"]).toBeGreaterThan(6);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );
});

describeKernel("a host over its limit in pipelines/office-nat.yaml", () => {
  test.skipIf(!hasTool("python3", "ping"))(
    "is told that it is prohibited, by UDP's error queue, connect() and ping (skipped without python3 and ping)",
    () => {
      const report = folder.file("refused.json");
      const args = ["lab", "pipelines/office-nat.yaml", "--quiet", "--report", report];
      const limit = ["--set", "filters.nat.subscriber-ports=1"];
      const client = ["--", "python3", join(ROOT, "test/support/refused.py"), "198.51.100.1"];
      const [said, ...ping] = execFileSync(process.execPath, [MAIN, ...args, ...limit, ...client], {
        cwd: ROOT,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      }).split("\n");
      // 2: from ICMP; type 3, destination unreachable, code 13, communication administratively prohibited (RFC 1812, 5.2.7.1).
      expect(JSON.parse(said)).toEqual({
        udp: ["EHOSTUNREACH", "EHOSTUNREACH", 2, 3, 13, "10.77.0.2"],
        tcp: "EHOSTUNREACH",
      });
      expect(ping.join("\n")).toContain("From 10.77.0.2 icmp_seq=1 Packet filtered");
      const { filters } = readReport(report);
      // One of each, unless TCP was faster with its next.
      expect(filters["nat"].counters["over-limit"]).toBeGreaterThanOrEqual(3);
      expect(filters["nat"].outputs["refuse"]).toBe(filters["nat"].counters["over-limit"]);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );
});
