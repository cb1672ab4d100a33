/**
 * A command on a host of a lab that leaves no process behind, whatever ends it, its background children included:
 *
 *   pktflow ── spawner, a thread in front of a new pid namespace
 *                └── exec.ts, that namespace's process 1, on the host's network ── COMMAND ── its children
 *
 * The kernel kills a pid namespace with its process 1, and that one dies with the spawner's thread (PDEATHSIG) or when
 * the pipe between the two breaks. So kill -9 of pktflow, of exec.ts or of COMMAND ends all of them.
 */
import { Worker } from "node:worker_threads";
import { entryFile } from "./entry.ts";
import type { Host } from "./topology.ts";

export interface CommandOptions {
  /** Program and arguments. */
  argv: string[];
  /** The host it runs on. */
  host: Host;
  /** All hosts of the lab: the command finds their namespaces in its environment. */
  hosts: Host[];
  /** Name of the pipeline. */
  pipeline: string;
  env?: NodeJS.ProcessEnv;
}

export interface RunningCommand {
  /**
   * Settles when the command and all its children are gone. The command's exit status; 128 plus the number of the
   * signal that killed it; 127: there is no such program; 126: it may not be executed.
   */
  readonly status: Promise<number>;
  /** Sends the command a signal. */
  signal(name: NodeJS.Signals): void;
  /** Ends it and all its children at once. */
  kill(): void;
}

/** What the spawner's thread is told: once as its workerData, later as messages. */
export interface SpawnerTask {
  file: string;
  exec: ExecTask;
  /** Descriptors of the namespaces, which the helper gets in this order, from FIRST_NAMESPACE on. */
  namespaces: number[];
  env: NodeJS.ProcessEnv;
}
export type SpawnerRequest = { signal: NodeJS.Signals } | { kill: true };
/** What it answers, once. */
export type SpawnerReply = { status: number } | { failure: string };

/** What the helper process is told, as JSON in its first argument. */
export interface ExecTask {
  argv: string[];
  /** Whose namespace the command runs in: an index of `devices`. */
  host: number;
  /** Device ids, by namespace. */
  devices: string[];
}

/** Descriptors of the helper: the pipe to the spawner, and the first host's namespace. */
export const LIFELINE = 3;
export const FIRST_NAMESPACE = 4;

/** @throws Error when the host is not one of the lab's; anything else that fails rejects `status` */
export function startCommand({
  argv,
  host,
  hosts,
  pipeline,
  env = process.env,
}: CommandOptions): RunningCommand {
  const task: SpawnerTask = {
    file: entryFile("exec"),
    exec: { argv, host: hosts.indexOf(host), devices: hosts.map(({ device }) => device) },
    namespaces: hosts.map(({ namespace }) => namespace),
    env: { ...env, PKTFLOW_PIPELINE: pipeline, PKTFLOW_DEVICE: host.device },
  };
  const spawner = new Worker(entryFile("spawner"), { workerData: task });
  const status = new Promise<number>((resolve, reject) => {
    spawner.once("message", (reply: SpawnerReply) => {
      if ("status" in reply) resolve(reply.status);
      else reject(new Error(reply.failure));
    });
    spawner.once("error", reject);
    spawner.once("exit", () => reject(new Error("the thread that started the command ended before it")));
  });
  const tell = (request: SpawnerRequest) => spawner.postMessage(request);
  return {
    status,
    signal: (signal) => tell({ signal }),
    kill: () => tell({ kill: true }),
  };
}

/** The environment variable in which a command finds the network namespace of a device: PKTFLOW_NETNS_LAN. */
export function namespaceVariable(device: string): string {
  return `PKTFLOW_NETNS_${device.toUpperCase().replaceAll("-", "_")}`;
}
