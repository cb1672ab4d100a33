/** Hosts of the real kernel around a pipeline: a network namespace each, programs in them, and what is to hold at the end. */
import { type ChildProcess, spawn } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import { join } from "node:path";
import { expect } from "vitest";
import { conservation, type Report } from "../../src/control/report.ts";
import { TestNamespace } from "./namespace.ts";
import { Pktflow, ROOT, readReport, TemporaryFolder, until } from "./pktflow.ts";

const ENDPOINTS = join(ROOT, "test/support/endpoints.mjs");
const DEVICE = join(ROOT, "test/support/scapy_device.py");
const PYTHON = "/usr/bin/python3";

export interface Program {
  output: string;
  ended: Promise<string>;
  child: ChildProcess;
}

export class Scene {
  readonly folder = new TemporaryFolder();
  private readonly hosts = new Map<string, TestNamespace>();
  private readonly programs: Program[] = [];
  private pipeline: Pktflow | undefined;

  /** A namespace without what the kernel says of itself, as far as it can be kept from it. */
  host(name: string): TestNamespace {
    const known = this.hosts.get(name);
    if (known) return known;
    const host = new TestNamespace();
    this.hosts.set(name, host);
    for (const setting of ["accept_dad=0", "router_solicitations=0", "accept_ra=0"])
      host.run("sysctl", "-qw", `net.ipv6.conf.default.${setting}`);
    host.ip("link set lo up");
    return host;
  }

  /**
   * Runs a pipeline until its devices are up.
   * @param file its file, relative to the repository or absolute
   * @param devices its devices, each by the name of the host that it belongs to
   * @param values of --set; how it is run
   */
  async run(
    file: string,
    devices: Record<string, string>,
    ...values: (string | { env?: NodeJS.ProcessEnv; io?: string })[]
  ): Promise<void> {
    const { env = {}, io = "auto" } = values.find((value) => typeof value !== "string") ?? {};
    const all = Object.entries(devices).map(([id, host]) => `devices.${id}.netns=${this.host(host).name}`);
    const set = [...all, ...values].flatMap((value) => (typeof value === "string" ? ["--set", value] : []));
    const how = ["--quiet", "--io", io, "--report", this.folder.file("report.json")];
    const pipeline = new Pktflow(["run", file, ...how, ...set], { env });
    this.pipeline = pipeline;
    await until("the devices are up", () => {
      if (pipeline.child.exitCode !== null) throw new Error(pipeline.stderr);
      return Object.entries(devices).every(([id, host]) => this.isUp(host, id));
    });
  }

  /** Is an interface there, up, and running? */
  isUp(host: string, name: string): boolean {
    try {
      return this.host(host).ip(`-o link show dev ${name}`).includes("LOWER_UP");
    } catch {
      return false;
    }
  }

  /** A program on a host. */
  start(host: string, ...words: string[]): Program {
    const child = spawn("ip", ["netns", "exec", this.host(host).name, ...words], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    const program: Program = { output: "", ended: Promise.resolve(""), child };
    child.stdout.setEncoding("utf8").on("data", (text) => {
      program.output += text;
    });
    program.ended = new Promise((resolve) => child.on("close", () => resolve(program.output)));
    this.programs.push(program);
    return program;
  }

  /** Waits until a program has said something. */
  async says(program: Program, text: string): Promise<void> {
    await until(`"${text.trim()}" is said`, () => {
      if (program.child.exitCode !== null) throw new Error(`it has ended: ${program.output}`);
      return program.output.includes(text);
    });
  }

  /** A device that scapy_device.py makes on a host, up and with these addresses. */
  async scapyDevice(host: string, name: string, addresses: string[], ...words: string[]): Promise<Program> {
    const program = this.start(host, PYTHON, DEVICE, name, ...words);
    await until(`${name} is there`, () => program.output.includes("ready"));
    this.addresses(host, name, addresses);
    return program;
  }

  /** Gives a device its addresses and puts it up. */
  addresses(host: string, name: string, addresses: string[]): void {
    for (const address of addresses)
      this.host(host).ip(`address add ${address} dev ${name}${address.includes(":") ? " nodad" : ""}`);
    this.host(host).ip(`link set ${name} up`);
  }

  /** Answered pings of five. @param words of ping */
  ping(host: string, words: string): number {
    const command = `ping -n -c 5 -i 0.05 -W 3 ${words} || true`;
    return Number(/(\d+) received/.exec(this.host(host).run("sh", "-c", command))?.[1]);
  }

  /** Bytes over TCP from one host to another arrive as they were sent. @param address of the server */
  async download(server: string, client: string, address: string, bytes: number): Promise<void> {
    const run = (host: string, ...words: string[]) => this.start(host, process.execPath, ENDPOINTS, ...words);
    const serving = run(server, "download-server", "8080", String(bytes));
    await until("the server listens", () => serving.output.includes("ready"));
    const got = await run(client, "download", address, "8080").ended;
    serving.child.kill("SIGKILL");
    await serving.ended;
    expect(JSON.parse(got)).toEqual({ bytes, sha256: hashOf(bytes) });
  }

  /** Ends the pipeline: it must end well, and every packet must be accounted for. */
  async finish(): Promise<Report> {
    const { status, stderr } = await this.pipeline!.stop("SIGTERM");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    const report = readReport(this.folder.file("report.json"));
    const balance = conservation(report);
    expect(balance.missing, JSON.stringify(balance)).toBe(0);
    return report;
  }

  async close(): Promise<void> {
    for (const { child, ended } of this.programs) {
      child.kill("SIGKILL");
      await ended;
    }
    await this.pipeline?.stop("SIGKILL");
    for (const host of this.hosts.values()) host.remove();
    this.folder.remove();
  }
}

/** Of what endpoints.mjs serves. */
function hashOf(bytes: number): string {
  const cipher = createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16, 9));
  return createHash("sha256")
    .update(cipher.update(Buffer.alloc(bytes)))
    .digest("hex");
}

/** Does the kernel have a kind of link? Asked in a namespace of its own. @param words of ip link add */
export function hasLink(words: string): boolean {
  const namespace = new TestNamespace();
  try {
    namespace.ip("link set lo up");
    namespace.ip(`link add ${words}`);
    return true;
  } catch {
    return false;
  } finally {
    namespace.remove();
  }
}
