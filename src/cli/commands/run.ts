/** `pktflow run FILE`: runs a pipeline until its sources end, the time is over or a signal comes. */
import { closeSync, openSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import { NotStarted, UsageError } from "../exit.ts";
import { startLiveView } from "../live.ts";
import { collect, parseDuration, parseIo } from "../options.ts";
import { summary } from "../summary.ts";

export interface RunOptions {
  for?: number;
  set: string[];
  io: "auto" | "uring" | "poll";
  report?: string;
  quiet?: boolean;
}

export function registerRun(program: Command): void {
  program
    .command("run")
    .description("run a pipeline until its sources end, --for is over, or SIGINT or SIGTERM")
    .argument("<file>", "the pipeline file (YAML)")
    .option("--for <duration>", "stop after this long: 10s, 2m, 500ms", parseDuration)
    .option("--set <key=value>", "override one value of the file: devices.lan.queues=4", collect, [])
    .option("--io <engine>", "how packets move: auto, uring or poll", parseIo, "auto")
    .option("--report <file>", "write the final report as JSON (- for standard output)")
    .option("--quiet", "no live view and no summary")
    .action(async (file: string, options: RunOptions) => {
      process.exitCode = await run(file, options);
    });
}

async function run(file: string, options: RunOptions): Promise<number> {
  const { loadPipeline } = await import("../../config/pipeline.ts");
  const { startPipeline } = await import("../../workers/pipeline.ts");
  const pipeline = loadPipeline(file, { set: options.set });
  if (options.report !== undefined) prepareReport(options.report);
  const signals = new StopSignals();
  const running = await startPipeline(pipeline, { io: options.io }).catch((error: unknown) => {
    throw new NotStarted(error);
  });
  return await watch(running, signals, options);
}

/** A report that cannot be written is said now, not when the run is over. */
export function prepareReport(path: string): void {
  if (path === "-") return;
  try {
    closeSync(openSync(path, "w"));
  } catch (error) {
    throw new UsageError(
      `open ${path}: ${(error as NodeJS.ErrnoException).code}: the report cannot be written there`,
    );
  }
}

/** SIGINT and SIGTERM from now on: one that comes while the pipeline is still starting stops it once it has. */
export class StopSignals {
  private stop: (() => void) | undefined;
  private received = false;

  constructor() {
    process.on("SIGINT", this.receive);
    process.on("SIGTERM", this.receive);
  }

  /** Calls `stop` at every signal, and now if there was one. */
  deliver(stop: () => void): void {
    this.stop = stop;
    if (this.received) stop();
  }

  close(): void {
    process.off("SIGINT", this.receive);
    process.off("SIGTERM", this.receive);
  }

  private readonly receive = () => {
    this.received = true;
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
  const view = options.quiet === true ? undefined : startLiveView(out, () => running.report());
  const stop = () => running.stop();
  signals.deliver(stop);
  const timer = options.for === undefined ? undefined : setTimeout(stop, options.for / 1e6);
  let failure: unknown;
  try {
    await running.ended;
  } catch (error) {
    failure = error;
  } finally {
    clearTimeout(timer);
    signals.close();
    view?.stop();
  }
  const report = running.report();
  for (const warning of running.warnings) process.stderr.write(`pktflow: warning: ${warning}\n`);
  if (options.report === "-") process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
  else if (options.report !== undefined)
    writeFileSync(options.report, `${JSON.stringify(report, null, 2)}\n`);
  if (options.quiet !== true) out.write(`${summary(report)}\n`);
  if (failure !== undefined) throw failure;
  return 0;
}
