// pipelines/sni-block.yaml with a real client and a real server, by the command that stands in the file.
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

describeKernel("the command of pipelines/sni-block.yaml", () => {
  test.skipIf(!hasTool("openssl", "curl"))(
    "blocks the name, and no other (skipped without openssl and curl)",
    () => {
      const text = readFileSync(join(ROOT, "pipelines/sni-block.yaml"), "utf8");
      const report = folder.file("report.json");
      const command = /# {3}(pktflow lab [\s\S]*?done')\n/
        .exec(text)![1]
        .replaceAll(/\n# {5}/g, "\n")
        .replaceAll("/tmp/", `${folder.path}/`)
        .replace("pktflow lab", `"${process.execPath}" "${MAIN}" lab --quiet --report "${report}"`);
      const output = execFileSync("bash", ["-c", command], {
        cwd: ROOT,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "pipe"],
      });
      expect(output.trim().split("\n")).toEqual(["open.example", "no www.blocked.example"]);
      const { filters } = readReport(report);
      expect(filters["names"].counters["allowed"]).toBe(1);
      // The ClientHello and what the kernel sent of it again.
      expect(filters["names"].counters["blocked"]).toBeGreaterThanOrEqual(1);
      expect(filters["names"].outputs["drop"]).toBe(filters["names"].counters["blocked"]);
      expect(conservation(readReport(report)).missing).toBe(0);
    },
  );
});
