/**
 * `pktflow run` as a process of its own between two hosts, as its users have it: how soon it forwards, what it takes
 * when there is nothing to do, how much memory it has. Thread: the main one.
 */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { loadPipeline } from "../config/pipeline.ts";
import { startLab } from "../lab/lab.ts";
import { clockMonotonic, clockRealtime, close, ppoll } from "../sys/calls.ts";
import { bindUdp, connectUdp, Receiver, stampArrivals, Volley } from "../sys/datagrams.ts";
import { check } from "../sys/errno.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { PROBE } from "./payload.ts";
import { processTimes } from "./peers.ts";
import { makeHosts, type Scene, type Standing } from "./scene.ts";
import type { Stage } from "./stage.ts";
import { findWay, PORTS, withQueues } from "./traffic.ts";

/** A process that has not forwarded a packet by now is broken. ns */
const PATIENCE = 10e9;
/** Between two packets, of which the first to get through counts. ns */
const STEP = 0.5e6;

export interface ProcessOptions {
  /** Before the program: options of Node's. */
  nodeOptions?: string[];
  /** Behind it: options of `pktflow run`. */
  args?: string[];
}

export interface ProcessStanding extends Standing {
  pid: number;
  /** From before it was started to the first packet that came out of the far device, ms. */
  firstPacket: number;
  /** What it has written to standard output so far. */
  output(): string;
  /** Ends it as Ctrl-C does, and resolves when it has ended. */
  end(): Promise<void>;
}

/** Finds the way through a pipeline of a file, once. @throws NoTraffic, SystemError, Invalid */
export async function sceneOf(file: string, queues: number): Promise<Scene> {
  const pipeline = withQueues(loadPipeline(file, { set: [] }), queues);
  const lab = await startLab(pipeline, { io: "auto" });
  try {
    return { pipeline, queues, way: await findWay(lab, undefined, PORTS, "udp") };
  } finally {
    await lab.end();
  }
}

/** @throws Error: it has ended, or nothing got through in time; nothing is left then */
export async function startProcess(
  scene: Scene,
  { nodeOptions = [], args = [] }: ProcessOptions = {},
): Promise<ProcessStanding> {
  const { topology, stage } = makeHosts(scene);
  const set = topology.hosts.flatMap(({ device, namespace }) => [
    `devices.${device}.netns=/proc/${process.pid}/fd/${namespace}`,
    `devices.${device}.routes=0.0.0.0/0`,
    `devices.${device}.queues=${scene.queues}`,
  ]);
  const options = [...set, `workers=${scene.queues}`].flatMap((value) => ["--set", value]);
  const clock = new Uint32Array(new SharedArrayBuffer(8));
  clockRealtime(clock, 0);
  const words = [...nodeOptions, mainFile(), "run", scene.pipeline.file, "--quiet", ...options, ...args];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "pipe"] });
  const said = { out: "", err: "" };
  child.stdout.setEncoding("utf8").on("data", (text) => {
    said.out += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    said.err += text;
  });
  const gone = new Promise<string>((resolve) =>
    child.on("close", (status, signal) =>
      resolve(`pktflow run has ended (${signal ?? status}): ${said.err.trim()}`),
    ),
  );
  const end = async () => {
    child.kill("SIGINT");
    await gone;
    topology.close();
  };
  try {
    const arrival = awaitPacket(stage, clock, child.pid!);
    if (arrival === undefined) {
      child.kill("SIGKILL");
      throw new Error(`no packet has got through: ${await gone}`);
    }
    const ended = gone.then((why) => {
      throw new Error(why);
    });
    ended.catch(() => {});
    return {
      stage,
      ended,
      end,
      pid: child.pid!,
      firstPacket: arrival,
      times: () => processTimes(child.pid!),
      output: () => said.out,
    };
  } catch (error) {
    topology.close();
    throw error;
  }
}

/** Does not return to the event loop, which would have its own idea of when. @returns ms since `clock`; undefined: none came */
function awaitPacket({ from, to, target }: Stage, clock: Uint32Array, pid: number): number | undefined {
  // Its address is not there yet.
  const any = { octets: target.octets.map(() => 0), port: target.port };
  const receiver = new Receiver();
  const payload = new Uint8Array(new SharedArrayBuffer(PROBE.length));
  payload.set(PROBE);
  const volley = new Volley(payload, 1);
  const far = withNamespace(to.namespace, () => check(bindUdp(any), "bind", `UDP port ${target.port}`));
  let near = -1;
  try {
    check(stampArrivals(far), "setsockopt", "SO_TIMESTAMPNS");
    for (const end = clockMonotonic() + PATIENCE; clockMonotonic() < end; ppoll(0, 0, STEP)) {
      if (near < 0 && hasEnded(pid)) return undefined;
      // There is no route before there is the device.
      if (near < 0) near = withNamespace(from.namespace, () => connectUdp(target));
      if (near >= 0) volley.send(near);
      if (receiver.receive(far) < 0) continue;
      const { seconds, nanoseconds } = receiver;
      return ((seconds - clock[0]) | 0) * 1e3 + (nanoseconds - clock[1]) / 1e6;
    }
    return undefined;
  } finally {
    close(far);
    if (near >= 0) close(near);
  }
}

/** A child whose end nobody has been told of yet. */
function hasEnded(pid: number): boolean {
  return / Z /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
}

/** Memory of a process: resident now, and the most so far, bytes. */
export function residentMemory(pid: number): { now: number; most: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const kibibytes = (field: string) =>
    Number(status.match(new RegExp(`^${field}:\\s+(\\d+) kB`, "m"))?.[1] ?? 0);
  return { now: kibibytes("VmRSS") * 1024, most: kibibytes("VmHWM") * 1024 };
}

/** From before Node is started with nothing to do to its end, ms: what no program in Node can be faster than. */
export function bareNode(): number {
  const start = performance.now();
  spawnSync(process.execPath, ["-e", "0"]);
  return performance.now() - start;
}

function mainFile(): string {
  return fileURLToPath(new URL("../../build/bundle/main.js", import.meta.url));
}
