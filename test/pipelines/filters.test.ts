// The filters of pipelines/filters: their cases, as `pktflow filter test` runs them.
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { hasTool } from "../support/pcap.ts";
import { pktflow, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const cache = new TemporaryFolder();
afterAll(() => cache.remove());
const env = { XDG_CACHE_HOME: cache.path };

const folders = readdirSync(join(ROOT, "pipelines/filters"));
const isC = (name: string) => existsSync(join(ROOT, "pipelines/filters", name, "filter.c"));
const hasClang = hasTool("clang") && spawnSync("wasm-ld", ["--version"]).error === undefined;

describe.each(folders)("%s", (name) => {
  test.skipIf(isC(name) && !hasClang)("passes its cases (in C: skipped without clang and lld)", async () => {
    const { stdout, stderr, status } = await pktflow(["filter", "test", `pipelines/filters/${name}`], {
      env,
    });
    expect(stderr).toBe("");
    expect(stdout).toMatch(/\n(\d+) of \1 cases pass\n$/);
    expect(status).toBe(0);
  });
});

test.skipIf(!hasClang)(
  "isolated.yaml runs, and later filters find right checksums (skipped without clang and lld)",
  async () => {
    const report = cache.file("isolated.json");
    const { stderr, status } = await pktflow(
      ["run", "pipelines/isolated.yaml", "--quiet", "--report", report],
      { env },
    );
    expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
    const { filters } = readReport(report);
    expect(filters["voice"].counters["changed"]).toBe(100_000);
    // The generator's payloads are no DNS: what they say of names is nobody's.
    expect(filters["names"].packets).toBe(100_000);
    expect(filters["sane"].outputs).toEqual({ next: filters["names"].outputs["next"], drop: 0 });
  },
);
