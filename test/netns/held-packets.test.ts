// Packets that wait in filters, with real hosts and clients: pipelines/bad-network.yaml and pipelines/home-gateway.yaml, under
// each engine; and what becomes of what waits when a run ends.

import { writeFileSync } from "node:fs";
import { afterAll, describe, expect, test } from "vitest";
import { conservation } from "../../src/control/report.ts";
import { describeKernel } from "../support/namespace.ts";
import { Pktflow, pktflow, readReport, TemporaryFolder } from "../support/pktflow.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());
let runs = 0;

/** Runs an example with a command on its first host. */
async function lab(example: string, script: string, io: string, ...set: string[]) {
  const file = folder.file(`${runs++}.json`);
  const values = set.flatMap((value) => ["--set", value]);
  const command = ["--", "sh", "-c", script];
  const result = await pktflow([
    "lab",
    `pipelines/${example}.yaml`,
    "--quiet",
    "--io",
    io,
    "--report",
    file,
    ...values,
    ...command,
  ]);
  const report = readReport(file);
  const balance = conservation(report);
  expect(balance.missing, JSON.stringify(balance)).toBe(0);
  return { ...result, report, balance };
}

/** rtts of a ping, ms. */
const times = (output: string) => [...output.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms));

for (const io of ["poll", "uring"]) {
  describeKernel(`bad-network, ${io} engine`, () => {
    test("hosts reach each other through it", async () => {
      const result = await pktflow(["lab", "pipelines/bad-network.yaml", "--io", io]);
      expect(result.stderr).toBe("");
      // It loses packets by chance: of twelve probes, each of three attempts or more, one may be among them, and is accounted for.
      const [, passed] = /self-check passed: (\d+) of 12/.exec(result.stdout) ?? expect.fail(result.stdout);
      expect(Number(passed)).toBeGreaterThanOrEqual(8);
    });

    test("ping sees no less than the delay, IPv4 and IPv6", async () => {
      const set = [
        "filters.there.jitter=0",
        "filters.there.gemodel=[]",
        "filters.back.loss=0",
        "filters.back.duplicate=0",
      ];
      const script = "ping -c 5 -i 0.1 10.2.0.2; ping -c 5 -i 0.1 fd00:2::2";
      const { stdout, report, balance } = await lab("bad-network", script, io, ...set);
      expect(times(stdout)).toHaveLength(10);
      for (const ms of times(stdout)) expect(ms).toBeGreaterThanOrEqual(50);
      expect(report.filters["there"].counters["lost"]).toBe(0);
      // IPv6's own chatter may still wait.
      expect(balance.held).toBeLessThan(10);
    });

    test("ping sees duplicates, and loses all where all is lost", async () => {
      const quiet = ["filters.there.gemodel=[]", "filters.back.loss=0"];
      const twice = await lab(
        "bad-network",
        "ping -c 3 -i 0.2 -w 3 10.2.0.2; true",
        io,
        ...quiet,
        "filters.back.duplicate=100",
      );
      expect(twice.stdout).toMatch(/DUP!/);
      expect(twice.balance.fresh).toBeGreaterThanOrEqual(3);
      const nothing = await lab(
        "bad-network",
        "ping -c 3 -i 0.2 -W 1 10.2.0.2; true",
        io,
        ...quiet,
        "filters.back.loss=100",
      );
      expect(nothing.stdout).toMatch(/100% packet loss/);
      expect(nothing.report.filters["back"].counters["lost"]).toBeGreaterThanOrEqual(3);
    });

    test("what waits when it is told to stop is counted as held", async () => {
      const { balance } = await lab(
        "bad-network",
        "ping -c 3 -i 0.1 -W 1 10.2.0.2; true",
        io,
        "filters.there.delay=1h",
        "filters.there.gemodel=[]",
      );
      expect(balance.held).toBeGreaterThanOrEqual(3);
    });
  });

  describeKernel(`home-gateway, ${io} engine`, () => {
    test("the line's rate is held, at both ends of a TCP connection, and nobody waits for it", async () => {
      const script = `
      nsenter --net=$PKTFLOW_NETNS_WAN /usr/bin/python3 -c '
import socket
s = socket.create_server(("198.51.100.1", 5000)); print("ready", flush=True); c = s.accept()[0]; n = 0
while True:
    d = c.recv(65536)
    if not d: break
    n += len(d)
print("received", n, flush=True)' &
      sleep 0.5
      /usr/bin/python3 -c '
import socket, time
c = socket.create_connection(("198.51.100.1", 5000), 5); start = time.monotonic()
c.sendall(b"x" * 1500000); c.shutdown(socket.SHUT_WR); c.recv(1)
print("seconds", time.monotonic() - start, "segment", c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG), flush=True)' &
      ping -c 10 -i 0.1 198.51.100.1
      wait`;
      const { stdout, report } = await lab("home-gateway", script, io, "filters.upload.rate=8Mbit");
      expect(stdout).toContain("received 1500000\n");
      const [, seconds, segment] = /seconds ([\d.]+) segment (\d+)/.exec(stdout)!;
      // 1500000 bytes in 8 Mbit/s, and nothing of headers or overhead.
      expect(Number(seconds)).toBeGreaterThan(1.5);
      expect(Number(segment)).toBe(1492 - 40 - 12);
      expect(report.filters["segments"].counters["clamped"]).toBeGreaterThanOrEqual(1);
      expect(stdout).toContain("10 received");
    });
  });
}

describe("a run whose sources have ended", () => {
  const pipeline = (delay: string) => `pktflow: 1
workers: 2
devices:
  traffic: { kind: generator, queues: 2, packets: 2000, rate: 100kpps, flows: { proto: udp, from: 10.0.0.0/24, to: 192.0.2.1, count: 50, size: 100 } }
  sink: { kind: discard }
filters:
  net: { kind: impair, delay: ${delay}, jitter: 5ms, duplicate: 10, limit: 4000 }
paths:
  there: { from: traffic, through: [net], to: sink }
`;

  test("lets what waits leave when its time has come, on every worker", async () => {
    writeFileSync(folder.file("drain.yaml"), pipeline("300ms"));
    const report = folder.file("drain.json");
    const { status, stderr } = await pktflow([
      "run",
      folder.file("drain.yaml"),
      "--quiet",
      "--report",
      report,
    ]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const { fresh, ...rest } = conservation(readReport(report));
    expect(rest).toMatchObject({ in: 2000, out: 2000 + fresh, held: 0, missing: 0 });
    expect(fresh).toBeGreaterThan(50);
  });

  test("ends at once when it is told to, and counts what waits", async () => {
    writeFileSync(folder.file("stop.yaml"), pipeline("1h"));
    const report = folder.file("stop.json");
    const run = new Pktflow(["run", folder.file("stop.yaml"), "--report", report]);
    // Every packet has come in by then; the workers drain, and would for an hour.
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const { status } = await run.stop("SIGTERM");
    expect(status).toBe(0);
    const balance = conservation(readReport(report));
    expect(balance).toMatchObject({ in: 2000, out: 0, missing: 0 });
    expect(balance.held).toBe(2000 + balance.fresh);
  });
});
