// Where there is no io_uring: `--io auto` takes poll and says why, `--io uring` says what is missing.
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasTool } from "../support/pcap.ts";
import { MAIN, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const program = folder.file("no-uring");
const [EPERM, ENOMEM, EINVAL, ENOSYS] = [1, 12, 22, 38];

/** @param refusal the errno of every ring, or "ERRNO:ENTRIES" for those of more */
function run(refusal: number | string, io: string) {
  const report = folder.file(`report-${refusal}-${io}.json`);
  const args = [
    "run",
    "pipelines/quickstart.yaml",
    "--quiet",
    "--io",
    io,
    "--for",
    "300ms",
    "--report",
    report,
  ];
  const { status, stderr } = spawnSync(program, [String(refusal), process.execPath, MAIN, ...args], {
    cwd: ROOT,
    encoding: "utf8",
    env: { ...process.env, TMPDIR: folder.path },
  });
  return { status, stderr, report };
}

describe.skipIf(!hasTool("cc"))("without io_uring (skipped without cc)", () => {
  beforeAll(() => {
    execFileSync("cc", ["-o", program, join(ROOT, "test", "support", "no-uring.c")]);
  });
  test.each([
    [EPERM, "forbidden here, by seccomp or by the sysctl kernel.io_uring_disabled"],
    [ENOSYS, "this kernel has no io_uring"],
    [EINVAL, "this kernel is older than Linux 6.1"],
    // The probe's is smaller, a worker's is larger.
    [`${ENOMEM}:64`, "no memory for a ring of a worker's size: see ulimit -l"],
  ])("errno %s", (errno, why) => {
    const { status, stderr, report } = run(errno, "auto");
    expect(stderr).toBe(`pktflow: warning: io_uring is not available (${why}): using poll\n`);
    expect(status).toBe(0);
    expect(readReport(report).io).toBe("poll");
    const refused = run(errno, "uring");
    expect(refused.stderr).toContain(why);
    expect(refused.status).toBe(3);
  });
});
