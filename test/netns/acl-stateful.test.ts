// pipelines/stateful-firewall.yaml between two hosts of the real kernel, two queues a device.
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { conservation, type Report } from "../../src/control/report.ts";
import { describeKernel, TestNamespace } from "../support/namespace.ts";
import { Pktflow, ROOT, readReport, TemporaryFolder, until } from "../support/pktflow.ts";

const ENDPOINTS = join(ROOT, "test/support/endpoints.mjs");
/** Tries to connect, and prints "open" or errno's number. */
const CONNECT = `import socket, sys
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.settimeout(float(sys.argv[3]))
try:
    s.connect((sys.argv[1], int(sys.argv[2])))
    print("open")
except TimeoutError: print("silence")
except OSError as e: print(e.errno)`;

//   office host 10.80.0.1 ---- office [ pktflow ] internet ---- 203.0.113.1 internet host
describeKernel("stateful-firewall, queues: 2", () => {
  let office: TestNamespace;
  let internet: TestNamespace;
  let folder: TemporaryFolder;
  let firewall: Pktflow;
  const servers: ChildProcess[] = [];

  beforeEach(async () => {
    folder = new TemporaryFolder();
    office = new TestNamespace();
    internet = new TestNamespace();
    const set = [
      `devices.office.netns=${office.name}`,
      `devices.internet.netns=${internet.name}`,
      'devices.office.routes=[0.0.0.0/0, "::/0"]',
      'devices.internet.routes=[0.0.0.0/0, "::/0"]',
    ].flatMap((value) => ["--set", value]);
    const report = ["--report", folder.file("report.json")];
    firewall = new Pktflow(["run", "pipelines/stateful-firewall.yaml", "--quiet", ...report, ...set]);
    await until("the devices are up", () => {
      if (firewall.child.exitCode !== null) throw new Error(firewall.stderr);
      return [office, internet].every((host) => host.ip("route show default") !== "");
    });
  });

  afterEach(async () => {
    for (const server of servers.splice(0)) server.kill("SIGKILL");
    await firewall.stop("SIGKILL");
    office.remove();
    internet.remove();
    folder.remove();
  });

  async function serve(host: TestNamespace, ...role: string[]): Promise<void> {
    const words = ["netns", "exec", host.name, process.execPath, ENDPOINTS, ...role];
    const server = spawn("ip", words, { stdio: ["ignore", "pipe", "inherit"] });
    servers.push(server);
    let output = "";
    server.stdout.on("data", (data) => {
      output += data;
    });
    await until("the server listens", () => output.includes("ready"));
  }

  const connect = (host: TestNamespace, to: string, port: number, seconds = 5) =>
    host.run("/usr/bin/python3", "-c", CONNECT, to, String(port), String(seconds)).trim();

  async function finish(): Promise<Report> {
    expect((await firewall.stop("SIGTERM")).status).toBe(0);
    const report = readReport(folder.file("report.json"));
    expect(conservation(report).missing).toBe(0);
    return report;
  }

  test("the office reaches outside, IPv4 and IPv6, and what it has not asked for does not come in", async () => {
    await serve(internet, "download-server", "9000", "1000");
    await serve(office, "download-server", "9000", "1000");
    expect(office.run("ping", "-c", "2", "-i", "0.1", "-W", "2", "203.0.113.1")).toContain("2 received");
    expect(office.run("ping", "-c", "2", "-i", "0.1", "-W", "2", "2001:db8:80::1")).toContain("2 received");
    expect(connect(office, "203.0.113.1", 9000)).toBe("open");
    expect(connect(internet, "10.80.0.1", 9000, 1)).toBe("silence");
    const { filters } = await finish();
    const { counters } = filters["wall"];
    expect(counters["established"]).toBeGreaterThanOrEqual(5);
    expect(counters["connections-made"]).toBeGreaterThanOrEqual(3);
    expect(counters["unmatched"]).toBeGreaterThanOrEqual(1);
    expect(counters["rules.bogons"]).toBe(0);
  });

  test("a server of the office can be reached, and pinged, from outside", async () => {
    await serve(office, "download-server", "443", "1000");
    expect(connect(internet, "10.80.0.1", 443)).toBe("open");
    expect(internet.run("ping", "-c", "2", "-i", "0.1", "-W", "2", "10.80.0.1")).toContain("2 received");
    const { counters } = (await finish()).filters["wall"];
    expect(counters["rules.web"]).toBeGreaterThanOrEqual(1);
    expect(counters["rules.ping"]).toBeGreaterThanOrEqual(1);
    expect(counters["invalid"]).toBe(0);
  });

  test("what comes from outside with an inside source is dropped, IPv4 and IPv6", async () => {
    internet.ip("address add 10.80.0.77/32 dev internet");
    internet.ip("address add fd80::77/128 dev internet nodad");
    for (const [source, to] of [
      ["10.80.0.77", "10.80.0.1"],
      ["fd80::77", "fd80::1"],
    ]) {
      expect(() => internet.run("ping", "-I", source, "-c", "3", "-i", "0.1", "-W", "1", to)).toThrow();
    }
    const { filters } = await finish();
    expect(filters["anti-spoofing"].counters["rules.inside"]).toBe(6);
    expect(filters["wall"].counters["connections-made"]).toBe(0);
  });

  test("an ICMP error about a connection comes in: a closed port is refused at once; mail is refused by the wall", async () => {
    // Nobody listens on UDP port 9: the error comes from the other host.
    const script = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect(("203.0.113.1", 9))
s.send(b"?")
try: s.recv(1)
except OSError as e: print(e.errno)`;
    expect(office.run("/usr/bin/python3", "-c", script).trim()).toBe("111");
    expect(connect(office, "203.0.113.1", 25)).toBe("113");
    const report = await finish();
    const { counters, outputs } = report.filters["wall"];
    expect(counters["related"]).toBeGreaterThanOrEqual(1);
    expect(outputs["refuse"]).toBeGreaterThanOrEqual(1);
    expect(report.paths["bounce"].packets).toBe(outputs["refuse"]);
  });

  test("a TCP download of 100 MB goes through as super-packets, with nothing invalid", async () => {
    await serve(internet, "download-server", "8080", "100000000");
    const words = [
      "netns",
      "exec",
      office.name,
      process.execPath,
      ENDPOINTS,
      "download",
      "203.0.113.1",
      "8080",
    ];
    const child = spawn("ip", words, { stdio: ["ignore", "pipe", "inherit"] });
    let output = "";
    child.stdout.on("data", (data) => {
      output += data;
    });
    await new Promise((resolve) => child.on("close", resolve));
    expect(JSON.parse(output)).toMatchObject({ bytes: 100_000_000 });
    const { counters } = (await finish()).filters["wall"];
    expect(counters["invalid"]).toBe(0);
    expect(counters["connections-made"]).toBeGreaterThanOrEqual(1);
  });
});
