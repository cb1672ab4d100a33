/**
 * What a pipeline is compared with: the C programs of bench/peers, and the kernel itself. Each stands between the same
 * two hosts as the pipeline did, with the same addresses. Thread: the main one.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Pipeline } from "../config/types.ts";
import { type ThreadTimes, threadTimes } from "../control/threads.ts";
import { startKernel } from "./kernel.ts";
import { configure, makeHosts, type Scene, type Standing } from "./scene.ts";

const SOURCES = fileURLToPath(new URL("../../bench/peers", import.meta.url));
/** A peer that does not get ready within this time is broken. ms */
const PATIENCE = 5000;

export interface Peer {
  name: string;
  /** What it is, in a few words. */
  what: string;
  start(scene: Scene): Promise<Standing>;
}

/** A peer that cannot be run here, and why. */
export interface Skipped {
  name: string;
  why: string;
}

const FORWARDERS = [
  { name: "forward", what: "C, read and write" },
  { name: "forward-vnet", what: "C, virtio_net_hdr with TSO and USO" },
] as const;

export interface PeerOptions {
  queues: number;
  traffic: "udp" | "tcp" | "ping";
  /** Which; undefined: all there are. */
  against: readonly string[] | undefined;
  /** Of a C program, a queue. */
  peerThreads: 1 | 2;
}

/** Compiles what can be compiled. `close` removes what was made. */
export function preparePeers(
  pipeline: Pipeline,
  { queues, traffic, against, peerThreads }: PeerOptions,
): { peers: Peer[]; skipped: Skipped[]; close(): void } {
  const peers: Peer[] = [];
  const skipped: Skipped[] = [];
  const folder = mkdtempSync(join(tmpdir(), "pktflow-peers-"));
  const wanted = (name: string) => against === undefined || against.includes(name);
  const ethernet = pipeline.devices.some(({ kind }) => kind === "tap");
  const build = (name: string): Built =>
    ethernet ? { why: "it forwards TUN, and the pipeline has TAP" } : compile(name, folder);
  const add = (name: string, what: string, threads: 1 | 2, rest: (port: number) => string[] = () => []) => {
    if (!wanted(name)) return;
    const built = build(name);
    if ("why" in built) skipped.push({ name, why: built.why });
    else {
      const start = (scene: Scene) =>
        startProgram(built.program, scene, [String(threads), ...rest(scene.way.target.port)]);
      const many = threads === 1 ? "one thread a queue" : "a thread a direction";
      peers.push({ name, what: `${what}, ${many}`, start });
    }
  };
  for (const { name, what } of FORWARDERS) add(name, what, peerThreads);
  add("forward-uring", "C, io_uring", 2);
  const chain = chainArguments(pipeline, queues, traffic);
  if (typeof chain !== "string") {
    const { rules, inside, outside } = chain;
    const what = `C, read and write, checksums verified, ${rules} rules, NAT`;
    const rest = (port: number) => [String(rules), String(port), ...inside.split("/"), outside];
    add("forward-chain", what, peerThreads, rest);
  } else if (wanted("forward-chain")) {
    skipped.push({ name: "forward-chain", why: chain });
  }
  const missing = ["ip", "nft"].find((tool) => spawnSync(tool, ["-V"]).error !== undefined);
  if (wanted("kernel") && missing !== undefined)
    skipped.push({ name: "kernel", why: `${missing} is not installed` });
  else if (wanted("kernel")) peers.push({ name: "kernel", what: kernelDoes(pipeline), start: startKernel });
  return { peers, skipped, close: () => rmSync(folder, { recursive: true, force: true }) };
}

/** A bridge where the pipeline is a wire. */
function kernelDoes({ devices, filters }: Pipeline): string {
  if (devices.some(({ kind }) => kind === "tap")) return "veth, bridge";
  const nat = filters.some(({ manifest }) => manifest.kind === "nat");
  return nat ? "veth, routing, nft masquerade and filter" : "veth, routing";
}

type Built = { program: string } | { why: string };

/** Compiles one program of bench/peers with cc -O3. */
export function compile(name: string, folder: string): Built {
  const source = join(SOURCES, `${name}.c`);
  if (!existsSync(source))
    return { why: `${source} is not there: it comes with the sources, not with the package` };
  const program = join(folder, name);
  const { error, status, stderr } = spawnSync("cc", ["-O3", "-o", program, source, "-lpthread"], {
    encoding: "utf8",
  });
  if (error !== undefined) return { why: "cc is not installed: sudo apt install gcc libc6-dev" };
  if (status !== 0) return { why: `cc has failed: ${stderr.trim().split("\n")[0]}` };
  return { program };
}

interface ChainArguments {
  rules: number;
  inside: string;
  outside: string;
}

/** The C chain over packets in memory. `run` gives ns a packet. */
export interface MemoryPeer {
  run(size: number, flows: number, ms: number): Promise<number>;
  close(): void;
}

/** @returns why it cannot be run */
export function prepareMemoryPeer(pipeline: Pipeline): MemoryPeer | string {
  const chain = chainArguments(pipeline, 1, "udp");
  if (typeof chain === "string") return chain;
  const folder = mkdtempSync(join(tmpdir(), "pktflow-peers-"));
  const close = () => rmSync(folder, { recursive: true, force: true });
  const built = compile("chain", folder);
  if ("why" in built) {
    close();
    return built.why;
  }
  return {
    close,
    async run(size, flows, ms) {
      const args = [chain.rules, flows, size, ms / 1000].map(String);
      const { stdout } = await promisify(execFile)(built.program, args);
      return Number(stdout);
    },
  };
}

/** @returns why the C chain does not do what the pipeline does */
function chainArguments(
  { filters }: Pipeline,
  queues: number,
  traffic: PeerOptions["traffic"],
): ChainArguments | string {
  const of = (kind: string) => filters.find(({ manifest }) => manifest.kind === kind)?.params;
  const [nat, acl] = [of("nat"), of("acl")];
  if (nat === undefined || acl === undefined || of("checksum") === undefined)
    return "the pipeline does not have checksum, acl and nat, which is what it does";
  if (queues !== 1) return "it has one queue (--queues 1)";
  if (traffic !== "udp") return "it lets UDP pass and nothing else";
  const first = (value: unknown) => String(Array.isArray(value) ? value[0] : value);
  return {
    rules: Math.max(1, (acl["rules"] as unknown[]).length),
    inside: first(nat["inside"]),
    outside: first(nat["outside"]).split("/")[0],
  };
}

/** A C forwarder between the hosts of a scene. @throws Error */
export async function startProgram(program: string, scene: Scene, rest: string[]): Promise<Standing> {
  const { topology, from, to, stage } = makeHosts(scene);
  const devices = ["3", stage.from.device, "4", stage.to.device, String(scene.queues)];
  const child = spawn(program, [...devices, ...rest], {
    stdio: ["pipe", "pipe", "pipe", from.namespace, to.namespace],
  });
  let said = "";
  child.stderr!.on("data", (text) => {
    said += String(text);
  });
  const ended = new Promise<never>((_, reject) => {
    child.on("error", reject);
    child.on("exit", (status, signal) =>
      reject(new Error(`${program} has ended (${signal ?? status}): ${said.trim()}`)),
    );
  });
  ended.catch(() => {});
  const end = () => {
    child.kill("SIGKILL");
    topology.close();
  };
  try {
    await Promise.race([ready(child), ended]);
    for (const host of [from, to]) configure(topology.pipeline, host);
    child.stdin!.write("\n");
  } catch (error) {
    end();
    throw error;
  }
  return { stage, ended, end, times: () => processTimes(child.pid!) };
}

function ready(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout!.once("data", () => resolve());
    setTimeout(() => reject(new Error("a peer was not ready in time")), PATIENCE).unref();
  });
}

/** All threads of a process together. */
export function processTimes(pid: number): ThreadTimes {
  const sum = { running: 0, waiting: 0 };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const { running, waiting } = threadTimes(`/proc/${pid}/task/${thread}`);
    sum.running += running;
    sum.waiting += waiting;
  }
  return sum;
}
