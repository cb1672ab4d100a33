/** The chain alone, without a kernel: how fast its workers go through packets in memory. Thread: the main one. */
import { Worker } from "node:worker_threads";
import type { PacketMemory } from "../batches/memory.ts";
import type { Pipeline } from "../config/types.ts";
import { conservation, makeReport, type Report } from "../control/report.ts";
import { factsBeforeOpening } from "../devices/facts.ts";
import { prepareGenerator } from "../devices/generator/prepare.ts";
import { coreBytes } from "../filters/library.ts";
import { makePlan } from "../plan/plan.ts";
import type { Plan } from "../plan/types.ts";
import { type Filters, fillMemory, loadFilters } from "../workers/prepare.ts";
import type { WorkerTask } from "../workers/task.ts";
import { ChainRun } from "./chain-run.ts";
import { CHAIN_COMMAND, type ChainReply, type ChainTask, type ChainWindows } from "./chain-task.ts";
import { type ChainTraffic, inMemory } from "./chain-traffic.ts";
import { entryFile } from "./entry.ts";
import { median, spread } from "./median.ts";
import { prepareMemoryPeer } from "./peers.ts";
import type { ChainPeer, MemoryRun } from "./results.ts";
import { NoTraffic } from "./traffic.ts";

/** Code is compiled, tables fill. ms */
const WARM_UP = 500;
/** Bursts that are tried to find out whether a port gets through. */
const TRIAL = 4;

export interface MemoryOptions extends Omit<ChainTraffic, "port"> {
  ports: readonly number[];
  /** Numbers of workers to measure with. */
  workers: readonly number[];
  /** Is the same work done in C in between? */
  peer: boolean;
  /** Of each number of workers, all turns together, ms. */
  duration: number;
  /** Turns. */
  pairs: number;
  signal: AbortSignal;
}

/**
 * Measures the chain with each number of workers, in turns, so that what else the machine does falls on all alike.
 * @throws NoTraffic, the signal's reason, or what loading a filter throws
 */
export async function measureChain(
  pipeline: Pipeline,
  options: MemoryOptions,
): Promise<{ runs: MemoryRun[]; peer?: ChainPeer }> {
  const peer = options.peer ? prepareMemoryPeer(pipeline) : undefined;
  const inC: number[] = [];
  try {
    const { runs, alone } = await inTurns(pipeline, options, async () => {
      if (typeof peer !== "object") return;
      inC.push(await peer.run(options.size, options.flows, options.duration / options.pairs));
    });
    if (peer === undefined) return { runs };
    return { runs, peer: chainPeer(options.size, alone, typeof peer === "string" ? peer : inC) };
  } finally {
    if (typeof peer === "object") peer.close();
  }
}

/**
 * @param alone ns a packet of one worker, of each turn; none: it was not asked for
 * @param inC the same in C, or why there is none
 */
function chainPeer(size: number, alone: number[], inC: number[] | string): ChainPeer {
  if (typeof inC === "string") return { size, skipped: inC };
  // Turn by turn, for a turn has its machine's mood in both.
  const ratio = alone.length === 0 ? {} : { ratio: spread(inC.map((ns, turn) => ns / alone[turn])) };
  return { size, nanoseconds: median(inC), ...ratio };
}

async function inTurns(
  pipeline: Pipeline,
  options: MemoryOptions,
  peersTurn: () => Promise<void>,
): Promise<{ runs: MemoryRun[]; alone: number[] }> {
  const { ports, workers, size, flows, signal } = options;
  const filters = await loadFilters(pipeline);
  const port = await findPort(pipeline, filters, ports, options);
  const turns: Turn[][] = workers.map(() => []);
  for (let turn = 0; turn < options.pairs; turn++) {
    for (const [i, count] of workers.entries()) {
      const chain = await prepare(inMemory(pipeline, count, { ...options, port }), filters);
      const windows = await runChain(chain.tasks, options.duration / options.pairs, signal);
      turns[i].push({ windows, report: makeReport(chain.m, chain.plan, 0) });
    }
    await peersTurn();
  }
  const alone = turns[workers.indexOf(1)] ?? [];
  const runs = turns.map((own, i) => {
    const nanoseconds = Array.from({ length: workers[i] }, (_, worker) =>
      median(own.flatMap(({ windows }) => windows[worker].chain)),
    );
    const { report } = own[own.length - 1];
    const all = own.flatMap(({ windows }) => windows);
    return {
      size,
      port,
      flows,
      nanoseconds,
      packets: nanoseconds.reduce((sum, ns) => sum + 1e9 / ns, 0),
      filters: Object.fromEntries(
        Object.entries(report.filters).flatMap(([id, { packets }], filter): [string, number][] =>
          packets === 0 ? [] : [[id, median(all.flatMap((windows) => windows.filters[filter]))]],
        ),
      ),
      passed: conservation(report).out / Math.max(1, conservation(report).in),
    };
  });
  return { runs, alone: alone.map(({ windows }) => median(windows[0].chain)) };
}

interface Turn {
  /** By worker. */
  windows: ChainWindows[];
  report: Report;
}

interface Prepared {
  plan: Plan;
  m: PacketMemory;
  tasks: WorkerTask[];
}

async function prepare(pipeline: Pipeline, filters: Filters): Promise<Prepared> {
  const plan = makePlan(pipeline, pipeline.devices.map(factsBeforeOpening), filters.facts);
  const m = await fillMemory(pipeline, plan, filters);
  const core = coreBytes();
  const tasks = plan.workers.map(
    (_, worker): WorkerTask => ({
      worker,
      plan,
      memory: m.memory,
      core,
      modules: filters.loaded.map(({ bytes }) => bytes),
      fds: [],
      soft: pipeline.devices.map((device) =>
        device.kind === "generator" ? { source: prepareGenerator(device) } : {},
      ),
      wakes: [],
      io: { name: "none", auto: false },
    }),
  );
  return { plan, m, tasks };
}

/** The first port on which packets reach a device. @throws NoTraffic: on none do any */
async function findPort(
  pipeline: Pipeline,
  filters: Filters,
  ports: readonly number[],
  traffic: Omit<ChainTraffic, "port">,
): Promise<number> {
  for (const port of ports) {
    const { m, plan, tasks } = await prepare(inMemory(pipeline, 1, { ...traffic, port }), filters);
    const run = new ChainRun(tasks[0]);
    for (let i = 0; i < TRIAL; i++) run.round();
    if (conservation(makeReport(m, plan, 0)).out > 0) return port;
  }
  throw new NoTraffic(
    `no UDP packet gets through the filters on port ${ports.join(", ")}: --port chooses another`,
  );
}

async function runChain(tasks: WorkerTask[], duration: number, signal: AbortSignal): Promise<ChainWindows[]> {
  const control = new SharedArrayBuffer(4);
  const tell = (command: number) => {
    Atomics.store(new Int32Array(control), 0, command);
    Atomics.notify(new Int32Array(control), 0);
  };
  const threads = tasks.map(
    (worker) =>
      new Worker(entryFile("chain-worker"), { workerData: { worker, control } satisfies ChainTask }),
  );
  try {
    await Promise.all(threads.map(next));
    tell(CHAIN_COMMAND.WARM_UP);
    await new Promise((resolve) => setTimeout(resolve, WARM_UP));
    tell(CHAIN_COMMAND.MEASURE);
    await new Promise((resolve) => setTimeout(resolve, duration));
    signal.throwIfAborted();
    const replies = Promise.all(threads.map(next));
    tell(CHAIN_COMMAND.END);
    return (await replies).map((reply) => (reply as { windows: ChainWindows }).windows);
  } finally {
    await Promise.all(threads.map((thread) => thread.terminate()));
  }
}

function next(thread: Worker): Promise<ChainReply> {
  return new Promise((resolve, reject) => {
    thread.once("message", (reply: ChainReply) => {
      if ("failure" in reply) reject(new Error(reply.failure));
      else resolve(reply);
    });
    thread.once("error", reject);
  });
}
