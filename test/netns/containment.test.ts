// A filter that does not end, on a device of two queues under traffic of the kernel: its queue is detached, its worker
// replaced, and what goes through the other queue does not notice.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { MAIN, ROOT, readReport, TemporaryFolder } from "../support/pktflow.ts";
import { misbehaving } from "../workers/filters.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

/** Runs a command in a lab whose lan sends through the filter. */
function lab(io: string, bad: "loop" | "trap", command: string) {
  const file = folder.file(`${bad}-${io}.yaml`);
  const report = folder.file(`${bad}-${io}.json`);
  writeFileSync(
    file,
    `pktflow: 1
devices:
  lan: { kind: tun, queues: 2, address: 10.77.0.1/24, offload: off }
  wan: { kind: tun, queues: 2, address: 10.78.0.1/24, offload: off }
filters:
  bad: { kind: ${misbehaving(folder.path, bad, bad)}, port: 9 }
paths:
  out: { from: lan, through: [bad], to: wan }
  back: { from: wan, to: lan }
`,
  );
  const args = [MAIN, "lab", "--quiet", "--io", io, "--report", report, file, "--", "bash", "-c", command];
  const output = execFileSync(process.execPath, args, {
    cwd: ROOT,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { output, report: readReport(report) };
}

/**
 * Eight pings at once, of different flows, so that some go through either queue, again and again until nothing of them is
 * lost: the worker that hangs is found by processor time, of which it may get little.
 */
const RECOVERS = `
for turn in $(seq 30); do
  out=$(for i in $(seq 8); do ping -q -c 10 -i 0.02 -W 1 10.78.0.1 & done | grep -o "[0-9]* received"; wait)
  [ $(grep -c "^10 received" <<< "$out") = 8 ] && break
done
echo "recovered: $out"`;

describeKernel("a filter that does not end, under traffic", () => {
  test.each(["poll", "uring"])("costs its queue a moment, no more: %s", (io) => {
    const { output, report } = lab(
      io,
      "loop",
      `exec 3<>/dev/udp/10.78.0.1/9; echo x >&3; sleep 1; ${RECOVERS}`,
    );
    // Every flow goes through, whichever queue it was on.
    expect(output.match(/10 received/g)?.length).toBe(8);
    expect(report.replacedWorkers).toBe(1);
    expect(report.filters["bad"].traps).toBe(1);
    expect(report.filters["bad"].lastTrap).toBe("did not end within 250 ms of processor time");
    expect(conservation(report).missing).toBe(0);
  });
  test.each(["poll", "uring"])("a worker that is not concerned goes on meanwhile: %s", (io) => {
    // Each ping is a flow; those on the queue that hangs lose what comes before it is detached, the others nothing.
    const { output, report } = lab(
      io,
      "loop",
      `for i in $(seq 8); do ping -q -c 60 -i 0.02 -W 1 10.78.0.1 & done > $0.out; sleep 0.3; exec 3<>/dev/udp/10.78.0.1/9; echo x >&3; wait; grep -o "[0-9]* received" $0.out; ${RECOVERS}`.replaceAll(
        "$0",
        folder.file("pings"),
      ),
    );
    const [during, after] = output.split("recovered:");
    const received = [...during.matchAll(/(\d+) received/g)].map((match) => Number(match[1]));
    expect(received.length).toBe(8);
    // No flow loses more than what comes before its queue is detached.
    expect(Math.min(...received)).toBeGreaterThan(0);
    expect(after.match(/10 received/g)?.length).toBe(8);
    expect(report.replacedWorkers).toBe(1);
    expect(conservation(report).missing).toBe(0);
  });
  test.each(["poll", "uring"])("a trap costs the packet at fault alone: %s", (io) => {
    const { output, report } = lab(
      io,
      "trap",
      `ping -q -c 100 -i 0.01 -W 1 10.78.0.1 > ${folder.file("trap.out")} & exec 3<>/dev/udp/10.78.0.1/9; for i in $(seq 20); do echo x >&3; sleep 0.02; done; wait $!; grep -o "[0-9]* received" ${folder.file("trap.out")}`,
    );
    expect(output).toContain("100 received");
    expect(report.filters["bad"]).toMatchObject({ traps: 20, trapped: 20 });
    expect(conservation(report).missing).toBe(0);
  });
  test.each(["poll", "uring"])("that is to stop the run lets go of its devices: %s", (io) => {
    const file = folder.file(`stop-${io}.yaml`);
    writeFileSync(
      file,
      `pktflow: 1
devices:
  load: { kind: generator, packets: 1, flows: [{ proto: udp, from: 10.77.0.2, to: 10.77.0.1, to-port: 9 }] }
  hang0: { kind: tun, address: 10.77.0.1/24 }
filters:
  bad: { kind: ${misbehaving(folder.path, "loop", "loop")}, port: 9, on-trap: stop }
paths:
  out: { from: load, through: [bad], to: hang0 }
  back: { from: hang0, to: drop }
`,
    );
    const script = join(ROOT, "test", "support", "hang-twice.mjs");
    const output = execFileSync("unshare", ["--net", process.execPath, script, file, io], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
    const turns = output
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { end: string; links: string[] });
    expect(turns).toHaveLength(2);
    for (const { end, links } of turns) {
      expect(end).toContain("did not end within 250 ms of processor time");
      expect(links).not.toContain("hang0");
    }
  });
});
