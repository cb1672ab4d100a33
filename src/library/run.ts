/** A pipeline run by a program: started, watched, stopped; see memory-device.ts for the packets. */
// For those whose own `lib` ends before it: declarations are read with this one.
/// <reference lib="esnext.disposable" preserve="true" />
import type { Pipeline } from "../config/types.ts";
import type { LogEntry } from "../control/logs.ts";
import type { Report } from "../control/report.ts";
import { parseDuration } from "../params/quantities.ts";
import { type RunningPipeline, startPipeline } from "../workers/pipeline.ts";
import type { Reloaded } from "../workers/reload.ts";
import { MemoryDevice } from "./memory-device.ts";
import type { Flow } from "./pipeline.ts";

export interface RunOptions {
  /** How packets of tun and tap devices move. Default: "auto". */
  io?: "auto" | "uring" | "poll";
  /** Stop after this long: ms, or "10s", "500ms". Default: when every source has ended. */
  for?: number | string;
  /** Gets what filters say (their manifests' `logs`), as they say it. */
  onLog?: (entry: LogEntry) => void;
  /** Stops the pipeline when it is aborted. */
  signal?: AbortSignal;
}

/** A pipeline that runs. */
export interface Running<Memory extends string = string> {
  /** Its memory devices by name. */
  readonly devices: { readonly [M in Memory]: MemoryDevice };
  /** What went wrong without ending it, said once each; grows while it runs. */
  readonly warnings: readonly string[];
  /** Bytes of memory that it and its filters have between them; more of it may be taken by reload(). */
  readonly memory: number;
  /** The report so far, by packets, filters and paths: what `pktflow run --report` writes. Costs microseconds, no worker is asked. */
  report(): Report;
  /**
   * Takes over the parameters of filters that differ in another version of the pipeline (those that the filters' manifests allow to):
   * all of them, or none. Packets go on meanwhile, and what filters know of connections stays. One at a time.
   *
   *     await running.reload(load("gateway.yaml"));
   *
   * @returns what has changed, when every worker has gone over to it
   * @throws NotReloadable when something else differs, with each reason; FilterError when a filter cannot take its own; Error when the
   * pipeline has ended
   */
  reload(flow: Flow): Promise<Reloaded>;
  /** Tells the workers to send what they have and end. @returns `ended` */
  stop(): Promise<Report>;
  /** The final report, when all workers have ended and all devices are closed; rejects with what failed first. */
  readonly ended: Promise<Report>;
  /** `await using`: stops it. */
  [Symbol.asyncDispose](): Promise<void>;
}

/**
 * Starts a pipeline: builds its filters where that is needed, opens its devices, starts its workers.
 *
 *     const running = await run(flow, { for: "10s" });
 *     console.log(await running.ended);
 *
 * @returns when every worker runs
 * @throws SystemError when the system refuses something (the call, its target, errno's name), FilterError when a filter
 * does not build, Error for what a device refuses; nothing stays open then
 */
export async function run<Memory extends string>(
  flow: Flow<Memory>,
  options: RunOptions = {},
): Promise<Running<Memory>> {
  const limit = options.for === undefined ? undefined : milliseconds(options.for);
  options.signal?.throwIfAborted();
  const { signal, io = "auto" } = options;
  const started = await startPipeline(checked(flow, "run()"), {
    io,
    inProgram: true,
    ...(signal && { signal }),
  });
  const { plan, m } = started;
  if (options.onLog !== undefined) started.followLogs(options.onLog);
  const devices = new Map(
    plan.devices.flatMap(({ id, kind }, i): [string, MemoryDevice][] =>
      kind === "memory" ? [[id, new MemoryDevice(m, plan, i, (worker) => started.wake(worker))]] : [],
    ),
  );
  const stop = () => started.stop();
  const timer = limit === undefined ? undefined : setTimeout(stop, limit);
  options.signal?.addEventListener("abort", stop);
  if (options.signal?.aborted === true) stop();
  const ended = untilEnded(started, () => {
    clearTimeout(timer);
    options.signal?.removeEventListener("abort", stop);
    for (const device of devices.values()) device.over();
  });
  // Who starts it may look at its end much later.
  ended.catch(() => {});
  return {
    devices: Object.fromEntries(devices) as { [M in Memory]: MemoryDevice },
    warnings: started.warnings,
    get memory() {
      return m.memory.buffer.byteLength;
    },
    report: () => started.report(),
    reload: async (next) => await started.reload(checked(next, "reload()")),
    stop: () => {
      stop();
      return ended;
    },
    ended,
    async [Symbol.asyncDispose]() {
      stop();
      await ended;
    },
  };
}

/** @throws TypeError: it is not what pipeline() or load() gives */
function checked(flow: Flow, call: string): Pipeline {
  const pipeline = (flow as Partial<Flow> | undefined)?.pipeline;
  if (pipeline?.filters === undefined) throw new TypeError(`${call} wants what pipeline() or load() gives`);
  return pipeline;
}

async function untilEnded(started: RunningPipeline, over: () => void): Promise<Report> {
  try {
    await started.ended;
  } finally {
    over();
  }
  return started.report();
}

/** The longest that timers run, ms. */
const LONGEST = 2 ** 31 - 1;

function milliseconds(duration: number | string): number {
  const value = typeof duration === "number" ? duration : (parseDuration(duration) ?? Number.NaN) / 1e6;
  if (!(value >= 0 && value <= LONGEST)) {
    throw new RangeError(
      `run(): for: a duration is wanted, up to 24 days: 10000 (ms), "10s"; has ${JSON.stringify(duration)}`,
    );
  }
  return value;
}
