// pipelines/office-nat.yaml with a real server and client, by the command that stands in the file: a forwarded port, reached
// from inside by its outside address.
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
