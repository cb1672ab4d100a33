// pipelines/who-talks.yaml: what real hosts send is in the tables of the report, exactly, and in the summary.
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

describeKernel("who-talks", () => {
  test.each(["poll", "uring"])("pings are counted by source, destination and flow, engine %s", async (io) => {
    const file = folder.file(`${io}.json`);
    const script = "ping -c 7 -i 0.05 -s 972 10.3.2.2 && ping -c 4 -i 0.05 -s 52 fd00:3:2::2";
    const args = ["lab", "pipelines/who-talks.yaml", "--io", io, "--report", file];
    const { status, stdout, stderr } = await pktflow([...args, "--", "sh", "-c", script]);
    expect(status, stderr).toBe(0);
    expect(stdout).toContain("7 received");
    const report = readReport(file);
    expect(conservation(report).missing).toBe(0);
    const of = (filter: string) => report.filters[filter].tables!["top"].rows;
    const exact = (packets: number, size: number) => ({ error: 0, packets, bytes: packets * size });
    // Hosts say other things, too, of their own accord: what they were told to is looked for among it.
    const request = { from: "10.3.1.2/32", to: "10.3.2.2/32", proto: "icmp", count: 7, ...exact(7, 1000) };
    const reply = { from: "10.3.2.2/32", to: "10.3.1.2/32", proto: "icmp", count: 7, ...exact(7, 1000) };
    expect(of("flows").filter(({ proto }) => proto === "icmp")).toEqual(
      expect.arrayContaining([request, reply]),
    );
    expect(of("senders")[0]).toEqual({ from: "10.3.1.2/32", count: 7000, ...exact(7, 1000) });
    expect(of("receivers")[0]).toEqual({ to: "10.3.1.2/32", count: 7000, ...exact(7, 1000) });
    const six = of("senders").find(({ from }) => from === "fd00:3:1::/64");
    expect(six?.["packets"]).toBeGreaterThanOrEqual(4);
    const title = stderr.indexOf("senders top");
    expect(title).toBeGreaterThan(0);
    expect(stderr.slice(title)).toMatch(
      /from +count +error +packets +bytes\n10\.3\.1\.2\/32 +7,000 +0 +7 +7,000/,
    );
  });
});
