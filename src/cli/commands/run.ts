/** `pktflow run FILE`: runs a pipeline until its sources end, the time is over or a signal comes. */
import { closeSync, openSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import type { Pipeline } from "../../config/types.ts";
import type { Report } from "../../control/report.ts";
import { NO_CONTROL, startControl } from "../control.ts";
import { NotStarted, UsageError } from "../exit.ts";
import { startLiveView } from "../live.ts";
import { parseDuration, parseIo, setOption } from "../options.ts";
import { summary } from "../summary.ts";

export interface RunOptions {
  for?: number;
  set: string[];
  io: "auto" | "uring" | "poll";
  report?: string;
  quiet?: boolean;
  control: boolean;
}

export function registerRun(program: Command): void {
  program
    .command("run")
    .description("run a pipeline until its sources end, --for is over, or SIGINT or SIGTERM")
    .argument("<file>", "the pipeline file (YAML)")
    .option("--for <duration>", "stop after this long: 10s, 2m, 500ms", parseDuration)
    .addOption(setOption())
    .option("--io <engine>", "how packets move: auto, uring or poll", parseIo, "auto")
    .option("--report <file>", "write the final report as JSON (- for standard output)")
    .option("--quiet", "no live view and no summary")
    .option("--no-control", NO_CONTROL)
    .action(async (file: string, options: RunOptions) => {
      process.exitCode = await run(file, options);
    });
}

async function run(file: string, options: RunOptions): Promise<number> {
  // First of all: a thread starts while the file is read and all else is loaded.
  const { processIsOurs, startPool } = await import("../../workers/pool.ts");
  processIsOurs();
  const pool = startPool(1);
  const pipeline = await prepare(file, options).catch(async (error: unknown) => {
    await pool.close();
    throw error;
  });
  const { startPipeline } = await import("../../workers/pipeline.ts");
  const signals = new StopSignals();
  const starting = startPipeline(pipeline, { io: options.io, pool, signal: signals.whileStarting });
  const running = await starting.catch((error: unknown) => {
    // It was waiting for somebody, and nothing had begun.
    if (error === signals.whileStarting.reason) return undefined;
    throw new NotStarted(error);
  });
  if (running === undefined) return 0;
  const closeControl = options.control ? openControl(running, pipeline, file, options) : () => {};
  try {
    return await watch(running, signals, options);
  } finally {
    // Who waits for the end finds the report written.
    closeControl();
  }
}

function openControl(
  running: import("../../workers/pipeline.ts").RunningPipeline,
  pipeline: Pipeline,
  file: string,
  options: RunOptions,
): () => void {
  // A table that is drawn over and over shows what it does.
  const isSilent = options.quiet === true || process.stdout.isTTY;
  return startControl({
    pipeline,
    command: "run",
    file,
    set: options.set,
    report: () => running.report(),
    stop: () => running.stop(),
    reload: (version) => running.reload(version),
    log: (text) => !isSilent && process.stderr.write(`pktflow: ${text}\n`),
  });
}

async function prepare(file: string, options: RunOptions): Promise<Pipeline> {
  const { loadPipeline } = await import("../../config/pipeline.ts");
  const pipeline = loadPipeline(file, { set: options.set });
  if (options.report !== undefined) prepareReport(options.report);
  return pipeline;
}

/** A report that cannot be written is said now, not when the run is over. */
export function prepareReport(path: string): void {
  if (path === "-") return;
  try {
    // Not emptied: an earlier report stays until there is a new one.
    closeSync(openSync(path, "a"));
  } catch (error) {
    throw new UsageError(
      `open ${path}: ${(error as NodeJS.ErrnoException).code}: it cannot be written there`,
    );
  }
}

const STOPPING = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** SIGINT, SIGTERM and SIGHUP (the terminal has gone) from now on: one that comes while the pipeline is still starting stops it once it has. */
export class StopSignals {
  private stop: (() => void) | undefined;
  private readonly received = new AbortController();

  constructor() {
    for (const signal of STOPPING) process.on(signal, this.receive);
  }

  /** Aborted by the first signal. */
  get whileStarting(): AbortSignal {
    return this.received.signal;
  }

  /** Calls `stop` at every signal, and now if there was one. */
  deliver(stop: () => void): void {
    this.stop = stop;
    if (this.whileStarting.aborted) stop();
  }

  close(): void {
    for (const signal of STOPPING) process.off(signal, this.receive);
  }

  private readonly receive = () => {
    this.received.abort();
    this.stop?.();
  };
}

/**
 * Follows a started pipeline to its end: live view, signals, time limit; then the report and the summary.
 * @throws what ended the run, after the report is written
 */
export async function watch(
  running: import("../../workers/pipeline.ts").RunningPipeline,
  signals: StopSignals,
  options: Pick<RunOptions, "for" | "report" | "quiet">,
): Promise<number> {
  // The report may go to standard output; then the rest must not.
  const out = options.report === "-" || running.usesStdout ? process.stderr : process.stdout;
  const warn = newWarnings(running.warnings);
  warn();
  // What goes wrong while it runs is said then, unless a table is drawn over and over where it would be said.
  const saying = out.isTTY && options.quiet !== true ? undefined : setInterval(warn, 1000).unref();
  running.followLogs(({ filter, text }) => {
    if (options.quiet !== true) process.stderr.write(`pktflow: ${filter}: ${text}\n`);
  });
  const view = options.quiet === true ? undefined : startLiveView(out, () => running.report());
  const stop = () => running.stop();
  signals.deliver(stop);
  const cancel = options.for === undefined ? () => {} : after(options.for / 1e6, stop);
  let failure: unknown;
  try {
    await running.ended;
  } catch (error) {
    failure = error;
  } finally {
    cancel();
    clearInterval(saying);
    signals.close();
    view?.stop();
  }
  const report = running.report();
  warn();
  try {
    if (options.report !== undefined) writeReport(options.report, report);
  } catch (error) {
    failure ??= error;
  }
  if (options.quiet !== true) out.write(`${summary(report)}\n`);
  if (failure !== undefined) throw failure;
  return 0;
}

/** Says what has been added to the warnings since it was last called. */
function newWarnings(warnings: readonly string[]): () => void {
  const said = new Set<string>();
  return () => {
    for (const warning of warnings) {
      if (!said.has(warning)) process.stderr.write(`pktflow: warning: ${warning}\n`);
      said.add(warning);
    }
  };
}

/** The longest that Node's timers run, ms; a longer one would fire at once. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** Calls `action` after `ms`, however long. @returns what cancels it */
export function after(ms: number, action: () => void): () => void {
  let timer: NodeJS.Timeout;
  const wait = (left: number) => {
    const now = Math.min(left, LONGEST_TIMER);
    timer = setTimeout(() => (left > now ? wait(left - now) : action()), now);
  };
  wait(ms);
  return () => clearTimeout(timer);
}

/** @throws Error that names the system's */
function writeReport(path: string, report: Report): void {
  const text = `${JSON.stringify(report, null, 2)}\n`;
  if (path === "-") {
    process.stdout.write(text);
    return;
  }
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new Error(`write ${path}: ${(error as NodeJS.ErrnoException).code}: the report is not complete`);
  }
}
