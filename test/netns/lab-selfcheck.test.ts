// `pktflow lab FILE`: hosts that send each other real ICMP, UDP and TCP, and an account of every packet.
import { readdirSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadPipeline } from "../../src/config/pipeline.ts";
import { conservation } from "../../src/control/report.ts";
import { startLab } from "../../src/lab/lab.ts";
import { describeKernel } from "../support/namespace.ts";
import { type Finished, Pktflow, pktflow, readReport, TemporaryFolder, until } from "../support/pktflow.ts";
import { Traces } from "../support/traces.ts";

let folder: TemporaryFolder;
beforeAll(() => {
  folder = new TemporaryFolder();
});
afterAll(() => folder.remove());

/** The table's rows: "lan wan IPv4" -> what came of icmp, udp and tcp, without the times. */
function cells({ stdout }: Finished): Record<string, string[]> {
  const lines = stdout.split("\n").filter((line) => /\bIPv[46] {2}/.test(line));
  return Object.fromEntries(
    lines.map((line) => {
      const [from, to, family, ...rest] = line.split(/ {2,}/);
      return [`${from} ${to} ${family}`, rest.map((cell) => cell.replace(/ [\d.]+ ms$/, ""))];
    }),
  );
}

/** A pipeline file of these lines below `devices:` and so on. */
function pipelineFile(name: string, devices: string[], rest: string[]): string {
  const file = folder.file(`${name}.yaml`);
  const lines = ["pktflow: 1", "devices:", ...devices.map((line) => `  ${line}`), ...rest, ""];
  writeFileSync(file, lines.join("\n"));
  return file;
}

const TWO = ["a: { kind: tun, address: 10.1.0.2/24 }", "b: { kind: tun, address: 10.2.0.2/24 }"];
const BOTH_WAYS = ["paths:", "  there: { from: a, to: b }", "  back: { from: b, to: a }"];
/** A source address of its own is a martian to b's kernel, which drops the packet without a word. */
function martian(): string {
  const devices = [
    "a: { kind: tun, address: 10.1.0.2/24 }",
    "b: { kind: tun, address: [10.2.0.2/24, 10.1.0.2/24] }",
  ];
  return pipelineFile("martian", devices, BOTH_WAYS);
}

const OK = ["ok", "ok", "ok"];

describeKernel("the self-check", () => {
  test.each(["poll", "uring"])("two hosts and nothing in between, engine %s", async (io) => {
    const report = folder.file("forward.json");
    const result = await pktflow(["lab", "pipelines/forward.yaml", "--io", io, "--report", report]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(cells(result)).toEqual({ "a b IPv4": OK, "b a IPv4": OK });
    expect(result.stdout).toContain("self-check passed: 6 of 6 probes got through\n");
    const { devices, ...others } = readReport(report);
    expect(conservation({ devices, ...others }).missing).toBe(0);
    const queues = Object.values(devices).flatMap((device) => device.queues);
    const datagrams = queues.reduce((sum, { rx }) => sum + rx.datagrams, 0);
    // 256 KiB there and back, each way, in segments of 1460 bytes at most, whatever packets they come in.
    expect(datagrams).toBeGreaterThan((4 * 256 * 1024) / 1460);
  });

  test("a gateway: what its firewall and NAT stop is named, to the packet", async () => {
    const result = await pktflow(["lab", "pipelines/nat-gateway.yaml"]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(cells(result)).toEqual({
      "lan wan IPv4": ["ok", "ok 2 of 4", "ok 2 of 4"],
      "wan lan IPv4": ["dropped", "dropped", "dropped"],
    });
    expect(result.stdout).toContain(
      "lan -> wan udp: ports 53, 443 answered; ports 8080, 9 not answered: firewall drop 2\n",
    );
    expect(result.stdout).toContain("wan -> lan icmp: echoes 1, 2, 3 not answered: perimeter drop 3\n");
    expect(result.stdout).toMatch(
      /in [\d,]+ = out [\d,]+ \+ drops 15 \(firewall drop 4, perimeter drop 11\)\n/,
    );
  });

  test("an office behind a NAT: nothing that is inside can be reached from outside", async () => {
    const result = await pktflow(["lab", "pipelines/office-nat.yaml"]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(cells(result)).toEqual({ "lan wan IPv4": OK, "wan lan IPv4": ["dropped", "dropped", "dropped"] });
    expect(result.stdout).toContain("wan -> lan icmp: echoes 1, 2, 3 not answered: perimeter drop 3\n");
  });

  test("a firewall that refuses is heard", async () => {
    const result = await pktflow([
      "lab",
      "pipelines/nat-gateway.yaml",
      "--set",
      "filters.firewall.rules=[{ action: accept, proto: icmp }, { action: refuse, proto: [tcp, udp] }]",
    ]);
    expect(result.status).toBe(0);
    expect(cells(result)["lan wan IPv4"]).toEqual(["ok", "refused", "refused"]);
    expect(result.stdout).toContain("lan -> wan tcp: ports 443, 8080, 80, 22 refused: EHOSTUNREACH\n");
    expect(result.stdout).toContain(
      "wan -> lan udp: ports 53, 443, 8080, 9 not answered: perimeter drop 4\n",
    );
  });

  test("both families through a router", async () => {
    const result = await pktflow(["lab", "pipelines/router.yaml"]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    const pairs = ["left right IPv4", "left right IPv6", "right left IPv4", "right left IPv6"];
    expect(cells(result)).toEqual(Object.fromEntries(pairs.map((pair) => [pair, OK])));
  });

  test.each([
    ["left", "10.2.0.2", "10.1.0.1"],
    ["left", "fd00:2::2", "fd00:1::1"],
    ["right", "10.1.0.2", "10.2.0.1"],
    ["right", "fd00:1::2", "fd00:2::1"],
  ])("a router is a hop of its own: from %s to %s it is %s", async (host, to, hop) => {
    const ping = ["ping", "-n", "-c", "1", "-W", "2", "-t", "1", to];
    const { stdout } = await pktflow([
      "lab",
      "pipelines/router.yaml",
      "--quiet",
      "--in",
      host,
      "--",
      ...ping,
    ]);
    expect(stdout).toMatch(
      new RegExp(`^From ${hop}:? icmp_seq=1 Time exceeded|^From ${hop}:? icmp_seq=1 Time to live`, "m"),
    );
  });

  test("hosts on an Ethernet segment", async () => {
    const result = await pktflow(["lab", "pipelines/tap-wire.yaml"]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(cells(result)).toEqual({
      "left right IPv4": ["ok", "dropped", "ok 3 of 4"],
      "right left IPv4": ["ok", "dropped", "ok 3 of 4"],
    });
  });

  test("a segment over which no address can be resolved", async () => {
    const rules = "[{ action: accept, proto: [icmp, tcp, udp] }]";
    const result = await pktflow(["lab", "pipelines/tap-wire.yaml", "--set", `filters.guard.rules=${rules}`]);
    expect(result.status).toBe(1);
    // On a slow machine ARP gives up first (EHOSTUNREACH), which looks like a refusal from afar.
    for (const cell of cells(result)["left right IPv4"]) expect(cell).toMatch(/^(dropped|refused)$/);
    expect(result.stderr).toMatch(/^pktflow: lab: no probe got through; .*-- COMMAND…\n$/);
  });

  test("datagrams that arrive where no path leads back", async () => {
    const file = pipelineFile("one-way", TWO, ["paths:", "  there: { from: a, to: b }"]);
    const result = await pktflow(["lab", file]);
    expect(result.status).toBe(0);
    expect(cells(result)).toEqual({ "a b IPv4": ["no path back", "arrived", "no path back"] });
  });

  test("a single host, whose packets end in a sink", async () => {
    const devices = ["a: { kind: tun, address: 10.1.0.2/24 }", "bin: { kind: discard }"];
    const result = await pktflow([
      "lab",
      pipelineFile("sink", devices, ["paths:", "  all: { from: a, to: bin }"]),
    ]);
    expect(result.status).toBe(0);
    expect(cells(result)).toEqual({ "a 10.1.0.1 (nobody) IPv4": ["taken", "taken", "taken"] });
    expect(result.stdout).toContain(
      "a -> 10.1.0.1 (nobody) icmp: echoes 1, 2, 3 not answered: 3 left by bin\n",
    );
  });

  test("a single host, whose packets are dropped: it is said that there is one, and what to do", async () => {
    const OUT = folder.file("seen.pcap");
    const result = await pktflow(["lab", "pipelines/answering-net.yaml"], { env: { OUT } });
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(result.stdout).toContain("self-check passed: lan is the only host that sends");
    expect(result.stdout).toContain(
      "run a COMMAND on lan: pktflow lab pipelines/answering-net.yaml -- ping -c 3 ADDRESS\n",
    );
  });

  test("a loss that nothing explains fails it", async () => {
    const result = await pktflow(["lab", martian()]);
    expect(result.status).toBe(1);
    expect(cells(result)["a b IPv4"]).toEqual(["LOST", "LOST", "LOST"]);
    expect(result.stderr).toContain(
      "pktflow: lab: icmp a -> b: echoes 1, 2, 3 not answered: no drop was counted\n",
    );
  });

  test("nothing to check: exit 2", async () => {
    const devices = ["a: { kind: tun }", "b: { kind: tun }"];
    const result = await pktflow(["lab", pipelineFile("no-address", devices, BOTH_WAYS)]);
    expect(result).toMatchObject({ status: 2, stdout: "" });
    expect(result.stderr).toContain("lab: there is nothing to check");
  });

  test("--quiet says nothing when all is well, and --report - gives the report alone", async () => {
    const result = await pktflow(["lab", "pipelines/forward.yaml", "--quiet", "--report", "-"]);
    expect(result).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(result.stdout)).toMatchObject({ pipeline: "forward", workers: 1 });
  });

  test.each(["SIGINT", "SIGTERM", "SIGKILL"] as const)("%s in the middle leaves nothing", async (signal) => {
    const traces = new Traces();
    const lab = new Pktflow(["lab", martian()], { env: traces.env });
    // The first probe takes its full time, for nothing comes back.
    await until("the check begins", () => lab.stdout.includes("self-check"), 30_000);
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect(traces.look().filter((namespace) => namespace.startsWith("net:"))).toHaveLength(2);
    const result = await lab.stop(signal);
    // No probe is waited for: there is no table.
    expect(cells(result)).toEqual({});
    if (signal === "SIGKILL") expect(result.signal).toBe("SIGKILL");
    else expect(result).toMatchObject({ status: 1, stderr: `pktflow: lab: ended by ${signal}\n` });
    await until("all is gone", () => traces.left().length === 0);
  });
});

describeKernel("the descriptors of a lab", () => {
  const descriptors = () => readdirSync("/proc/self/fd").length;

  test("are closed at its end, and when it cannot start", async () => {
    const forward = loadPipeline("pipelines/forward.yaml");
    // The kernel refuses a multicast address as a device's own, after the first device has been made.
    const file = pipelineFile(
      "refused",
      [
        "a: { kind: tap, address: 10.1.0.2/24 }",
        'b: { kind: tap, address: 10.1.0.3/24, mac: "01:00:00:00:00:01" }',
      ],
      BOTH_WAYS,
    );
    const refused = loadPipeline(file);
    const life = async () => {
      await (await startLab(forward, { io: "poll" })).end();
      await expect(startLab(refused, { io: "poll" })).rejects.toThrow(
        "RTM_NEWLINK b address 01:00:00:00:00:01",
      );
    };
    // What loads but once is loaded the first time.
    await life();
    const before = descriptors();
    for (let i = 0; i < 3; i++) await life();
    expect(descriptors()).toBe(before);
  });

  test("a start that fails says why, exit 3, and leaves nothing", async () => {
    const traces = new Traces();
    const result = await pktflow(["lab", folder.file("refused.yaml"), "--", "true"], { env: traces.env });
    expect(result).toMatchObject({ status: 3, stdout: "" });
    expect(result.stderr).toContain("pktflow: RTM_NEWLINK b address 01:00:00:00:00:01: EADDRNOTAVAIL");
    expect(traces.left()).toEqual([]);
  });
});
