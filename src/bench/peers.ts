/**
 * What a pipeline is compared with: the C programs of bench/peers, and the kernel itself. Each stands between the same
 * two hosts as the pipeline did, with the same addresses. Thread: the main one.
 */
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Pipeline } from "../config/types.ts";
import { type ThreadTimes, threadTimes } from "../control/threads.ts";
import { type Host, makeTopology } from "../lab/topology.ts";
import { addAddress } from "../sys/addresses.ts";
import { close } from "../sys/calls.ts";
import { ENODEV, SystemError } from "../sys/errno.ts";
import { getLink, setLinkMtu, setLinkUp } from "../sys/links.ts";
import { createNamespace, withNamespace } from "../sys/namespaces.ts";
import { withNetlink } from "../sys/netlink.ts";
import { addRoute } from "../sys/routes.ts";
import { sideOf } from "./measure.ts";
import type { Stage } from "./stage.ts";
import type { Way } from "./traffic.ts";

const SOURCES = fileURLToPath(new URL("../../bench/peers", import.meta.url));
/** A peer that does not get ready within this time is broken. ms */
const PATIENCE = 5000;

/** A peer that stands between its hosts and forwards. */
export interface Standing {
  stage: Stage;
  /** Of all its threads; undefined: it has none of its own. */
  times(): ThreadTimes | undefined;
  /** Rejects when it ends by itself. */
  ended: Promise<never>;
  end(): void | Promise<void>;
}

/** Between whom, and what for. */
export interface Scene {
  pipeline: Pipeline;
  queues: number;
  /** As found with the pipeline: device ids and target. */
  way: Pick<Way, "from" | "to" | "target">;
}

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
  { name: "forward-uring", what: "C, io_uring" },
  { name: "forward-vnet", what: "C, virtio_net_hdr with TSO and USO" },
] as const;

/** Compiles what can be compiled. `close` removes what was made. */
export function preparePeers(
  pipeline: Pipeline,
  queues: readonly number[],
): {
  peers: Peer[];
  skipped: Skipped[];
  close(): void;
} {
  const peers: Peer[] = [];
  const skipped: Skipped[] = [];
  const folder = mkdtempSync(join(tmpdir(), "pktflow-peers-"));
  const chain = chainArguments(pipeline, queues);
  for (const { name, what } of FORWARDERS) {
    const built = compile(name, folder);
    if ("why" in built) skipped.push({ name, why: built.why });
    else peers.push({ name, what, start: (scene) => startProgram(built.program, scene, []) });
  }
  const built = typeof chain === "string" ? { why: chain } : compile("forward-chain", folder);
  if ("why" in built) skipped.push({ name: "forward-chain", why: built.why });
  else {
    const { rules, inside, outside } = chain as ChainArguments;
    const rest = (port: number) => [String(rules), String(port), ...inside.split("/"), outside];
    const what = `C, read and write, checksums verified, ${rules} rules, NAT`;
    peers.push({
      name: "forward-chain",
      what,
      start: (scene) => startProgram(built.program, scene, rest(scene.way.target.port)),
    });
  }
  const missing = ["ip", "nft"].find((tool) => spawnSync(tool, ["-V"]).error !== undefined);
  if (missing !== undefined) skipped.push({ name: "kernel", why: `${missing} is not installed` });
  else peers.push({ name: "kernel", what: "veth, routing, nft masquerade and filter", start: startKernel });
  return { peers, skipped, close: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Compiles one program of bench/peers with cc -O3. */
export function compile(name: string, folder: string): { program: string } | { why: string } {
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
  const chain = chainArguments(pipeline, [1]);
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
function chainArguments({ filters }: Pipeline, queues: readonly number[]): ChainArguments | string {
  const of = (kind: string) => filters.find(({ manifest }) => manifest.kind === kind)?.params;
  const [nat, acl] = [of("nat"), of("acl")];
  if (nat === undefined || acl === undefined || of("checksum") === undefined)
    return "the pipeline does not have checksum, acl and nat, which is what it does";
  if (queues.some((count) => count !== 1)) return "it has one queue (--queues 1)";
  const first = (value: unknown) => String(Array.isArray(value) ? value[0] : value);
  return {
    rules: Math.max(1, (acl["rules"] as unknown[]).length),
    inside: first(nat["inside"]),
    outside: first(nat["outside"]).split("/")[0],
  };
}

/** The hosts of a scene without the pipeline between them. */
function makeHosts({ pipeline, way }: Scene) {
  const topology = makeTopology(pipeline);
  const host = (id: string) => topology.hosts.find(({ device }) => device === id)!;
  const [from, to] = [host(way.from.device), host(way.to.device)];
  const stage: Stage = {
    from: sideOf(topology.pipeline, from),
    to: sideOf(topology.pipeline, to),
    target: way.target,
  };
  return { topology, from, to, stage };
}

async function startProgram(program: string, scene: Scene, rest: string[]): Promise<Standing> {
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

/** As the pipeline's own device would be. */
function configure(pipeline: Pipeline, host: Host): void {
  const { params } = pipeline.devices.find(({ id }) => id === host.device)!;
  const { namespace, device } = sideOf(pipeline, host);
  withNamespace(namespace, () =>
    withNetlink((netlink) => {
      const link = getLink(netlink, device);
      if (link === undefined) throw new SystemError("RTM_GETLINK", device, ENODEV);
      setLinkMtu(netlink, link, params["mtu"] as number);
      for (const address of params["address"] as string[]) addAddress(netlink, link, address);
      setLinkUp(netlink, link, true);
      for (const destination of params["routes"] as string[]) addRoute(netlink, { destination, dev: link });
    }),
  );
}

/** All threads of a process together. */
function processTimes(pid: number): ThreadTimes {
  const sum = { running: 0, waiting: 0 };
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const { running, waiting } = threadTimes(`/proc/${pid}/task/${thread}`);
    sum.running += running;
    sum.waiting += waiting;
  }
  return sum;
}

/** A third namespace that routes between two veth pairs. It answers for every address, as there is no gateway. */
async function startKernel(scene: Scene): Promise<Standing> {
  const { topology, from, to, stage } = makeHosts(scene);
  const router = createNamespace();
  const end = () => {
    close(router);
    topology.close();
  };
  try {
    withNamespace(router, () => {
      for (const [i, side] of [stage.from, stage.to].entries()) {
        const peer = ["peer", "name", side.device, "netns", `/proc/${process.pid}/fd/${side.namespace}`];
        run("ip", ["link", "add", `r${i}`, "type", "veth", ...peer]);
        run("ip", ["link", "set", `r${i}`, "up"]);
        writeFileSync(`/proc/sys/net/ipv4/conf/r${i}/proxy_arp`, "1");
        writeFileSync(`/proc/sys/net/ipv4/conf/r${i}/rp_filter`, "0");
        // It would answer after some random time, as one of many proxies.
        writeFileSync(`/proc/sys/net/ipv4/neigh/r${i}/proxy_delay`, "0");
      }
      writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
      [from, to].forEach((host, i) => {
        const { address, length } = host.addresses.find(({ family }) => family === 4) ?? host.addresses[0];
        run("ip", ["route", "add", network(address, length), "dev", `r${i}`]);
      });
      const rules = kernelRules(scene);
      if (rules !== undefined) {
        run("ip", ["address", "add", `${rules.outside}/32`, "dev", "r1"]);
        run("nft", [rules.text]);
      }
    });
    for (const host of [from, to]) configure(topology.pipeline, host);
  } catch (error) {
    end();
    throw error;
  }
  return { stage, ended: new Promise<never>(() => {}), end, times: () => undefined };
}

function network(address: string, length: number): string {
  const octets = address.split(".").map(Number);
  const bits = octets.map((octet, i) => octet & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
  return `${bits.join(".")}/${length}`;
}

/** What the pipeline's filters do, as far as nft has words for it; undefined: it has none. */
function kernelRules({ pipeline, way }: Scene): { text: string; outside: string } | undefined {
  const nat = pipeline.filters.find(({ manifest }) => manifest.kind === "nat")?.params;
  if (nat === undefined) return undefined;
  const outside = String(Array.isArray(nat["outside"]) ? nat["outside"][0] : nat["outside"]).split("/")[0];
  const accept = `ct state established,related accept; udp dport ${way.target.port} accept;`;
  return {
    outside,
    text:
      `table ip pktflow { chain forward { type filter hook forward priority 0; policy drop; ${accept} }; ` +
      `chain out { type nat hook postrouting priority 100; oifname "r1" snat to ${outside}; }; }`,
  };
}

function run(command: string, args: string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (error !== undefined || status !== 0) {
    throw new Error(`${command} ${args.join(" ")}: ${error?.message ?? stderr.trim()}`);
  }
}
