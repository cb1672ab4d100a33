/** The measurements of `pktflow bench`, and how their results are given. Loaded when one runs. */
import { writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { benchChart, compareChart, memoryChart } from "../bench/chart.ts";
import { compare } from "../bench/compare.ts";
import { machine } from "../bench/machine.ts";
import { type MeasureOptions, measure } from "../bench/measure.ts";
import { median } from "../bench/median.ts";
import { measureChain } from "../bench/memory.ts";
import type { ChainPeer, Comparison, MemoryRun, RunResult } from "../bench/results.ts";
import { NoTraffic, PORTS } from "../bench/traffic.ts";
import { loadPipeline } from "../config/pipeline.ts";
import type { Pipeline } from "../config/types.ts";
import type { Report } from "../control/report.ts";
import { enterUserNamespace, needsUserNamespace } from "../lab/user-namespace.ts";
import { benchText, memoryText } from "./bench-text.ts";
import { progressLine } from "./check-text.ts";
import { compareText } from "./compare-text.ts";
import { UsageError } from "./exit.ts";
import { startLiveView } from "./live.ts";

/** Turns of comparisons. */
const PAIRS = 5;

export interface BenchOptions {
  load: "udp" | "tcp" | "ping";
  sizes: number[];
  queues?: number[];
  flows?: number;
  connections: number;
  burst: number;
  senders?: number;
  for: number;
  io: "auto" | "uring" | "poll";
  from?: string;
  port?: number;
  set: string[];
  memory?: boolean;
  peers?: boolean;
  against?: string[];
  peerThreads?: number;
  versus: string[];
  /** undefined: 5, or 1 where there is nobody to compare with. */
  pairs?: number;
  json?: boolean;
  save?: string;
  chart?: string;
  quiet?: boolean;
}

export async function throughput(
  pipeline: Pipeline,
  options: BenchOptions,
  signal: AbortSignal,
): Promise<void> {
  const runs: RunResult[] = [];
  let [from, to] = ["", ""];
  await untilInterrupted(signal, async () => {
    for (const [queues, size] of casesOf(pipeline, options)) {
      const { way, result } = await one(pipeline, size, queues, options, signal);
      [from, to] = [way.from.device, way.to.device];
      runs.push(result);
    }
  });
  const result = { pipeline: pipeline.name, from, to, machine: machine(), runs };
  give(options, result, runs, signal, benchText, benchChart);
}

/** What was measured before the user's signal is worth having: the measuring ends, and who asked for it goes on. */
async function untilInterrupted(signal: AbortSignal, measuring: () => Promise<void>): Promise<void> {
  try {
    await measuring();
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

/** Numbers of queues and sizes. */
function casesOf(pipeline: Pipeline, options: BenchOptions): [number, number][] {
  const sizes = sizesOf(pipeline, options);
  return (options.queues ?? [pipeline.workers]).flatMap((queues) =>
    sizes.map((size): [number, number] => [queues, size]),
  );
}

function loadOptions(
  size: number,
  queues: number,
  options: BenchOptions,
  signal: AbortSignal,
): Omit<MeasureOptions, "onLoad"> {
  return {
    traffic: options.load === "tcp" ? "tcp" : "udp",
    size,
    queues,
    flows: options.load === "tcp" ? options.connections : (options.flows ?? 256),
    burst: options.burst,
    senders: options.senders ?? Math.max(1, Math.min(queues, availableParallelism() >> 1)),
    duration: options.for / 1e6,
    io: options.io,
    ports: options.port === undefined ? PORTS : [options.port],
    source: options.from,
    signal,
  };
}

export async function inTurns(pipeline: Pipeline, options: BenchOptions, signal: AbortSignal): Promise<void> {
  const progress = options.quiet === true ? undefined : progressLine(process.stderr);
  const versus = options.versus.map((set) => ({
    name: set,
    pipeline: loadPipeline(pipeline.file, { set: [...options.set, set] }),
  }));
  const isAlone = options.peers !== true && options.against === undefined && versus.length === 0;
  const pairs = options.pairs ?? (isAlone ? 1 : PAIRS);
  const peers: Comparison[] = [];
  try {
    await untilInterrupted(signal, async () => {
      for (const [queues, size] of casesOf(pipeline, options)) {
        const soFar = new Map<string, number[]>();
        const turns = {
          ...loadOptions(size, queues, options, signal),
          traffic: options.load,
          pairs,
          against: options.against ?? (options.peers === true ? undefined : []),
          // What TCP sends back is half the work, and a worker does both halves.
          peerThreads: (options.peerThreads ?? (options.load === "tcp" ? 1 : 2)) as 1 | 2,
          versus,
          onTurn: (turn: number, name: string) =>
            progress?.note(progressText({ load: options.load, pairs }, size, turn, name, soFar)),
          onFigure: (name: string, figure: number) => soFar.set(name, [...(soFar.get(name) ?? []), figure]),
        };
        peers.push(await orExplain(() => compare(pipeline, turns)));
      }
    });
  } finally {
    progress?.erase();
  }
  const result = { pipeline: pipeline.name, machine: machine(), peers };
  give(options, result, peers, signal, compareText, compareChart);
}

/** Who is at it, and the medians so far: "tcp, turn 2 of 5: kernel (so far pktflow 9.5, forward-vnet 9.9 Gb/s)" */
function progressText(
  { load, pairs }: { load: BenchOptions["load"]; pairs: number },
  size: number,
  turn: number,
  name: string,
  soFar: Map<string, number[]>,
): string {
  const [per, unit] = { udp: [1e6, "M/s"], tcp: [1, "Gb/s"], ping: [1, "us"] }[load] as [number, string];
  const medians = [...soFar].map(([who, figures]) => `${who} ${(median(figures) / per).toPrecision(3)}`);
  const known = medians.length === 0 ? "" : ` (so far ${medians.join(", ")} ${unit})`;
  return `${load}${load === "udp" ? ` ${size} bytes` : ""}, turn ${turn + 1} of ${pairs}: ${name}${known}`;
}

export async function inMemory(
  pipeline: Pipeline,
  options: BenchOptions,
  signal: AbortSignal,
): Promise<void> {
  const memory: MemoryRun[] = [];
  const chains: ChainPeer[] = [];
  await untilInterrupted(signal, async () => {
    for (const size of options.sizes) {
      const traffic = {
        size,
        flows: options.flows ?? 10_000,
        source: options.from,
        ports: options.port === undefined ? PORTS : [options.port],
        workers: options.queues ?? [1, 2],
        duration: options.for / 1e6,
        peer: options.peers === true,
        pairs: options.pairs ?? PAIRS,
        signal,
      };
      const { runs, peer } = await orExplain(() => measureChain(pipeline, traffic));
      memory.push(...runs);
      if (peer !== undefined) chains.push(peer);
    }
  });
  const result = {
    pipeline: pipeline.name,
    machine: machine(),
    memory,
    ...(options.peers === true ? { peers: chains } : {}),
  };
  give(options, result, memory, signal, memoryText, memoryChart);
}

/**
 * What makes a measurement impossible is a matter of what was asked for; where only privileges are missing, this
 * program starts anew as root of a user namespace.
 */
async function orExplain<T>(measuring: () => Promise<T>): Promise<T> {
  try {
    return await measuring();
  } catch (error) {
    if (error instanceof NoTraffic) throw new UsageError(`bench: ${error.message}`);
    if (needsUserNamespace(error)) return enterUserNamespace();
    throw error;
  }
}

/**
 * @param measured what there is of it: nothing is printed of nothing
 * @throws the signal's reason, after that
 */
function give<T>(
  { json, save, chart }: BenchOptions,
  result: T,
  measured: readonly unknown[],
  signal: AbortSignal,
  text: (result: T) => string,
  draw: (result: T) => string,
): void {
  if (measured.length === 0) signal.throwIfAborted();
  process.stdout.write(`${json === true ? JSON.stringify(result, null, 2) : text(result)}\n`);
  if (save !== undefined) writeFileSync(save, `${JSON.stringify(result, null, 2)}\n`);
  if (chart !== undefined) writeFileSync(chart, draw(result));
  signal.throwIfAborted();
}

async function one(
  pipeline: Pipeline,
  size: number,
  queues: number,
  options: BenchOptions,
  signal: AbortSignal,
) {
  let view: ReturnType<typeof startLiveView> | undefined;
  try {
    const load = loadOptions(size, queues, options, signal);
    const onLoad = (report: () => Report) => {
      if (options.quiet !== true && options.json !== true) view = startLiveView(process.stderr, report);
    };
    return await orExplain(() => measure(pipeline, { ...load, onLoad }));
  } finally {
    view?.stop();
  }
}

/** With TCP the path's MTU says how long segments are. */
function sizesOf(pipeline: Pipeline, { load, sizes }: BenchOptions): number[] {
  if (load === "udp") return sizes;
  return [Math.min(...pipeline.devices.map(({ params }) => (params["mtu"] as number | undefined) ?? 65_535))];
}
