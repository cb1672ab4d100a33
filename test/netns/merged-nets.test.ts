// pipelines/merged-nets.yaml: two hosts of one address, by the commands that stand in the file; and what each sees of the other.
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

const text = readFileSync(join(ROOT, "pipelines/merged-nets.yaml"), "utf8");
const report = folder.file("report.json");

/** Runs a command of the file's head. */
function run(pattern: RegExp): string {
  const command = pattern
    .exec(text)![0]
    .replaceAll(/\n?# +/g, "\n")
    .trim()
    .replace("pktflow lab", `"${process.execPath}" "${MAIN}" lab --quiet --report "${report}"`);
  return execFileSync("bash", ["-c", command], {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
}

describeKernel("the commands of pipelines/merged-nets.yaml", () => {
  test.skipIf(!hasTool("ping"))(
    "the host on the left reaches the other 10.0.0.1 (skipped without ping)",
    () => {
      expect(run(/# {3}pktflow lab \S+ -- ping .*\n/)).toContain("3 received");
      const { filters } = readReport(report);
      expect(filters["nat"].counters["twice"]).toBe(6);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );

  test.skipIf(!hasTool("python3", "curl", "nsenter"))(
    "and the other one its web server (skipped without python3, curl and nsenter)",
    () => {
      expect(run(/# {3}pktflow lab \S+ -- bash [\s\S]*?kill \$server'\n/).trim()).toBe("200");
      const { filters } = readReport(report);
      expect(filters["nat"].counters["sessions-made"]).toBe(1);
      expect(filters["nat"].counters["twice"]).toBeGreaterThan(6);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );
});
