// pipelines/three-way-router.yaml with real hosts: what route, police and mss-clamp do to a client of the kernel's.
import { afterAll, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
const EXAMPLE = "pipelines/three-way-router.yaml";

/** Runs the example with a command on its first host; the command may fail, as a ping to nowhere does. */
async function lab(name: string, io: string, script: string, ...set: string[]) {
  const file = folder.file(`${name}.json`);
  const values = set.flatMap((value) => ["--set", value]);
  const command = ["--", "sh", "-c", script];
  const result = await pktflow([
    "lab",
    EXAMPLE,
    "--io",
    io,
    "--quiet",
    "--report",
    file,
    ...values,
    ...command,
  ]);
  const report = readReport(file);
  expect(conservation(report).missing).toBe(0);
  return { ...result, report };
}

describeKernel("three-way-router", () => {
  test.each(["poll", "uring"])("every host reaches every other: %s", async (io) => {
    const result = await pktflow(["lab", EXAMPLE, "--io", io]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(result.stdout).toContain("self-check passed: 36 of 36 probes got through\n");
  });

  test.each(["poll", "uring"])(
    "a host without a route, and one too many hops away, are told of to ping: %s",
    async (io) => {
      const script =
        "ping -c 1 -W 2 10.9.9.9; ping -c 1 -W 2 -t 1 10.2.0.2; ping -6 -c 1 -W 2 fd00:9::1; true";
      const { stdout, report } = await lab(`lost-${io}`, io, script);
      expect(stdout).toContain("From 10.0.0.1 icmp_seq=1 Destination Net Unreachable");
      expect(stdout).toContain("From 10.0.0.1 icmp_seq=1 Time to live exceeded");
      expect(stdout).toContain("From fd00::1 icmp_seq=1 Destination unreachable: No route");
      expect(report.filters["table"].outputs["lost"]).toBeGreaterThanOrEqual(2);
      expect(report.filters["way-back"].outputs["to-west"]).toBeGreaterThanOrEqual(3);
    },
  );

  // Between two hosts with an MTU of 1500: the third one's is 1400, and TCP_MAXSEG has 12 bytes of timestamps taken off.
  test.each([
    ["poll", "what the narrowest device leaves", [], 1360 - 12],
    ["uring", "a fixed size", ["filters.segments.size=900"], 900 - 12],
    ["uring", "an MTU that leaves more than there is", ["filters.segments.mtu=9000"], 1460 - 12],
  ])("%s: TCP's segments are as long as mss-clamp says: %s", async (io, name, set, most) => {
    const script = `
      nsenter --net=$PKTFLOW_NETNS_EAST /usr/bin/python3 -c '
import socket
s = socket.create_server(("10.2.0.2", 5000)); print("ready", flush=True); c = s.accept()[0]
c.recv(1); print("server", c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)' &
      sleep 0.5
      /usr/bin/python3 -c '
import socket
c = socket.create_connection(("10.2.0.2", 5000), 5); print("client", c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)
c.send(b"x")'
      wait`;
    const { stdout } = await lab(`mss-${name.length}`, io, script, ...set);
    expect(stdout).toContain(`client ${most}\n`);
    expect(stdout).toContain(`server ${most}\n`);
  });

  test("what a host sends beyond its rate is dropped, and never more than rate and burst is let by", async () => {
    const script = `/usr/bin/python3 -c '
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); end = time.monotonic() + 1.5
while time.monotonic() < end:
    for _ in range(20): s.sendto(b"x" * 972, ("10.3.0.2", 9))
    time.sleep(0.005)'`;
    const { report } = await lab("rate", "uring", script, "filters.fair.cir=4Mbit", "filters.fair.cbs=20kB");
    const { counters, outputs } = report.filters["fair"];
    expect(outputs["drop"]).toBeGreaterThan(0);
    expect(counters["red"]).toBe(outputs["drop"]);
    // The sender was the only one with more than a burst to say.
    const most = 20_000 + (4e6 / 8) * report.seconds;
    expect(counters["green-bytes"]).toBeLessThanOrEqual(most + 3 * 20_000);
    expect(counters["green-bytes"]).toBeGreaterThan(20_000);
  });
});
