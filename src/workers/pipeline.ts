/**
 * A pipeline from start to end, seen from the main thread: opens devices, lays out memory, starts the workers, reads
 * their counters, tells them to stop, and closes what it opened, whatever went wrong in between.
 */
import { COMMAND, PIPELINE_CONTROL, WORKER_CONTROL, WORKER_STATE } from "../batches/control.ts";
import type { PacketMemory } from "../batches/memory.ts";
import type { Pipeline } from "../config/types.ts";
import { type LogEntry, LogReader } from "../control/logs.ts";
import { makeReport, type Report } from "../control/report.ts";
import { type ThreadReport, threadReports } from "../control/threads.ts";
import { closeAll, type OpenedDevice, openDevices } from "../devices/open.ts";
import { coreBytes } from "../filters/library.ts";
import { chooseEngine, usingPoll, whyNoRing } from "../io/probe.ts";
import { releaseOrphan } from "../io/uring/orphan.ts";
import { makePlan } from "../plan/plan.ts";
import type { Plan } from "../plan/types.ts";
import { clockMonotonic, close, eventfd, eventfdSignal } from "../sys/calls.ts";
import { check, SystemError } from "../sys/errno.ts";
import { tunSetQueue } from "../sys/if_tun.ts";
import { watchOffloads } from "./offload-watch.ts";
import { type Job, type Pool, startPool } from "./pool.ts";
import { fillMemory, loadFilters } from "./prepare.ts";
import { type Reloaded, Reloader } from "./reload.ts";
import { countHang, HANG_REASON, resetWorker, untilGone } from "./replace.ts";
import { SoftRemains } from "./soft-remains.ts";
import type { WorkerFailure, WorkerResult, WorkerTask } from "./task.ts";
import { Watchdog } from "./watchdog.ts";

/** A worker that has not ended this long after it was told to is ended by force. ms */
const STOP_LIMIT = 2000;

/** How often what filters say is read, ms. */
const LOG_INTERVAL = 100;

export interface StartOptions {
  io: "auto" | "uring" | "poll";
  /** There is a program that sends and takes the packets of memory devices. */
  inProgram?: boolean;
  /** Ends the start where it waits for somebody: who reads a named pipe. */
  signal?: AbortSignal;
  /** Threads that were started earlier, to save time; they end with the pipeline, or if it does not start. */
  pool?: Pool;
}

export interface RunningPipeline {
  readonly plan: Plan;
  readonly warnings: string[];
  /** A device of the pipeline writes to standard output, so nothing else should. */
  readonly usesStdout: boolean;
  /** For whoever sends and takes the packets of memory devices. */
  readonly m: PacketMemory;
  /** Ends a worker's sleep; nothing when the pipeline has ended. */
  wake(worker: number): void;
  /** The report so far. */
  report(): Report;
  /**
   * Takes over the parameters that differ in another version of the pipeline: all of them or, if some only change with a restart or a
   * filter refuses its own, none. Packets go on meanwhile. One at a time.
   * @throws NotReloadable, FilterError, Error
   */
  reload(next: Pipeline): Promise<Reloaded>;
  /** From now on gets what filters say, as they say it, to the end; what they have said so far comes first. */
  followLogs(listener: (entry: LogEntry) => void): void;
  /** What each worker's thread has done so far, by worker. */
  threads(): ThreadReport[];
  /** Tells the workers to send what they have and end; `ended` settles when they have. */
  stop(): void;
  /** Settles when all workers have ended and all devices are closed; rejects with what failed first. */
  readonly ended: Promise<void>;
}

/**
 * Starts a pipeline and returns when every worker runs.
 * @throws SystemError, or what a filter or device refuses; nothing stays open then
 */
export async function startPipeline(pipeline: Pipeline, options: StartOptions): Promise<RunningPipeline> {
  const pool = options.pool ?? startPool(pipeline.workers);
  let devices: OpenedDevice[] = [];
  const wakes: number[] = [];
  let handedOver = false;
  try {
    pool.grow(pipeline.workers);
    if (options.inProgram !== true) refuseMemory(pipeline);
    const engine = chooseEngine(options.io);
    const filters = await loadFilters(pipeline);
    devices = await openDevices(pipeline, options.signal);
    const plan = makePlan(
      pipeline,
      devices.map((device) => device.facts),
      filters.facts,
    );
    const m = await fillMemory(pipeline, plan, filters);
    for (let i = 0; i < plan.workers.length; i++) wakes.push(check(eventfd(0), "eventfd", "for a worker"));
    m.i32[(plan.control + PIPELINE_CONTROL.FINITE_SOURCES) >>> 2] = finiteSources(plan);
    const core = coreBytes();
    handedOver = true;
    const wakeAll = () => wakes.forEach(eventfdSignal);
    const reloader = new Reloader(m, plan, pipeline, filters, wakeAll);
    const task = (worker: number): WorkerTask => ({
      worker,
      plan: reloader.planOf(worker),
      memory: m.memory,
      core,
      modules: filters.loaded.map((filter) => filter.bytes),
      fds: devices.map((device) => device.fds),
      soft: devices.map((device) => device.soft),
      wakes,
      io: { name: engine.name, auto: options.io === "auto" },
    });
    const running = new Running(reloader, m, pool, task, devices, wakes);
    running.warnings.unshift(...(pipeline.warnings ?? []));
    if (engine.notice !== undefined) running.warnings.push(engine.notice);
    await running.started;
    return running;
  } catch (error) {
    // Once workers run, Running closes what they use when they have ended.
    if (!handedOver) {
      closeAll(devices);
      for (const wake of wakes) close(wake);
      await pool.close();
    }
    throw error;
  }
}

function refuseMemory({ devices }: Pipeline): void {
  const device = devices.find(({ kind }) => kind === "memory");
  if (device === undefined) return;
  const how = 'run it in one, with import { load, run } from "pktflow"';
  throw new Error(
    `device "${device.id}": a memory device has its packets from a program, and there is none: ${how}`,
  );
}

function finiteSources(plan: Plan): number {
  const ports = plan.workers.flatMap((worker) => worker.ports);
  return ports.filter((port) => port.path >= 0 && plan.devices[port.device].finite).length;
}

class Running implements RunningPipeline {
  readonly warnings: string[] = [];
  readonly usesStdout: boolean;
  readonly ended: Promise<void>;
  /** Resolves when every worker's loop runs; rejects when one could not start, after all is closed. */
  readonly started: Promise<void>;
  readonly m: PacketMemory;
  private readonly reloader: Reloader;
  private readonly pool: Pool;
  private readonly task: (worker: number) => WorkerTask;
  private readonly jobs: (Job | undefined)[] = [];
  private readonly watchdog: Watchdog;
  private readonly endWatch: () => void;
  /** By worker: the filter for which its thread is being ended. */
  private readonly hangs = new Map<number, number>();
  private replaced = 0;
  private onLog: ((entry: LogEntry) => void) | undefined;
  private readonly logs: LogReader;
  private readonly logTimer: NodeJS.Timeout | undefined;
  private readonly devices: OpenedDevice[];
  private readonly wakes: number[];
  private startTime = performance.now();
  private endTime: number | undefined;
  private stopTimer: NodeJS.Timeout | undefined;
  private forced = false;
  /** What workers failed with, the first to fail first. */
  private readonly failures: unknown[] = [];

  constructor(
    reloader: Reloader,
    m: PacketMemory,
    pool: Pool,
    task: (worker: number) => WorkerTask,
    devices: OpenedDevice[],
    wakes: number[],
  ) {
    this.reloader = reloader;
    this.m = m;
    const { plan } = this;
    this.pool = pool;
    this.task = task;
    this.endWatch = watchOffloads(m, plan, (warning) => this.warnings.push(warning));
    const controls = plan.workers.map(({ control }) => control);
    this.watchdog = new Watchdog(m.i32, controls, (worker, filter) => this.hung(worker, filter));
    this.logs = new LogReader(m, plan);
    if (this.logs.hasLogs) this.logTimer = setInterval(() => this.readLogs(), LOG_INTERVAL).unref();
    this.devices = devices;
    this.wakes = wakes;
    this.usesStdout = devices.some((device) => device.usesStdout);
    this.warnings.push(...devices.flatMap((device) => device.warnings));
    this.ended = this.follow();
    // Who starts a pipeline may look at its end much later; a failure before that is not unhandled.
    this.ended.catch(() => {});
    this.started = this.untilStarted();
  }

  get plan(): Plan {
    return this.reloader.plan;
  }

  async reload(next: Pipeline): Promise<Reloaded> {
    const command = (this.plan.control + PIPELINE_CONTROL.COMMAND) >>> 2;
    const isRunning = () => this.endTime === undefined && Atomics.load(this.m.i32, command) === COMMAND.RUN;
    if (!isRunning()) throw new Error("the pipeline has ended");
    const reloaded = await this.reloader.reload(next, isRunning);
    for (const id of reloaded.trapped)
      this.warnings.push(`filter "${id}" trapped as it went over to other parameters`);
    this.warnings.push(...(next.warnings ?? []).filter((warning) => !this.warnings.includes(warning)));
    return reloaded;
  }

  report(): Report {
    const seconds = ((this.endTime ?? performance.now()) - this.startTime) / 1000;
    return { ...makeReport(this.m, this.reloader.reported, seconds), replacedWorkers: this.replaced };
  }

  followLogs(listener: (entry: LogEntry) => void): void {
    this.onLog = listener;
    this.readLogs();
  }

  private readLogs(): void {
    // Until somebody listens, they wait where they are.
    if (this.onLog === undefined) return;
    for (const entry of this.logs.read()) this.onLog(entry);
  }

  threads(): ThreadReport[] {
    return threadReports(this.m, this.plan);
  }

  wake(worker: number): void {
    if (this.endTime === undefined) eventfdSignal(this.wakes[worker]);
  }

  stop(): void {
    if (this.endTime !== undefined) return;
    Atomics.store(this.m.i32, (this.plan.control + PIPELINE_CONTROL.COMMAND) >>> 2, COMMAND.STOP);
    for (const wake of this.wakes) eventfdSignal(wake);
    this.stopTimer ??= setTimeout(() => {
      this.forced = true;
      void this.pool.close();
    }, STOP_LIMIT);
  }

  private async follow(): Promise<void> {
    await Promise.all(this.plan.workers.map((_, worker) => this.supervise(worker)));
    this.watchdog.close();
    this.endWatch();
    this.reloader.settleAll();
    clearInterval(this.logTimer);
    this.readLogs();
    this.endTime = performance.now();
    clearTimeout(this.stopTimer);
    await this.pool.close();
    // Those of workers that were ended by force: they would keep the devices' queues.
    for (const { control } of this.plan.workers) releaseOrphan(this.m, control);
    for (const wake of this.wakes) close(wake);
    const failures = [...this.failures, ...closeAll(this.devices)];
    if (failures.length === 0) return;
    // Workers that share a file or a device often fail alike: that is said once.
    const { message } = failures[0] as Error;
    this.warnings.splice(0, this.warnings.length, ...this.warnings.filter((warning) => warning !== message));
    for (const failure of failures.slice(1) as Error[]) {
      if (failure.message !== message && !this.warnings.includes(failure.message))
        this.warnings.push(failure.message);
    }
    throw failures[0];
  }

  /** Follows a worker to its end, and those that replace it. */
  private async supervise(worker: number): Promise<void> {
    for (;;) {
      try {
        const job = this.pool.run(this.task(worker));
        this.jobs[worker] = job;
        this.workerEnded(await job.result);
        return;
      } catch (error) {
        const filter = this.hangs.get(worker);
        const isReplaced = filter !== undefined && (await this.replace(worker, filter, error));
        this.hangs.delete(worker);
        if (isReplaced) continue;
        if (filter === undefined) this.workerEnded(this.died(worker, error));
        return;
      }
    }
  }

  /** A filter's call does not end: the kernel shall steer packets to other workers' queues, and the thread must go. */
  private hung(worker: number, filter: number): void {
    if (this.hangs.has(worker)) return;
    this.hangs.set(worker, filter);
    for (const fd of this.queuesReadBy(worker)) tunSetQueue(fd, false);
    this.jobs[worker]?.kill();
  }

  /** @returns whether a new worker may take the place of one that was ended in a filter */
  private async replace(worker: number, filter: number, error: unknown): Promise<boolean> {
    const { m, plan } = this;
    const { control } = plan.workers[worker];
    const { id, onTrap } = plan.filters[filter];
    const what = `filter "${id}" ${HANG_REASON} on worker ${worker}`;
    const isStarted = Atomics.load(m.i32, (control + WORKER_CONTROL.STATE) >>> 2) === WORKER_STATE.RUNNING;
    let remains: SoftRemains | undefined;
    const fail = (why: string): false => {
      this.warnings.push(...(remains?.finish() ?? []));
      this.workerEnded({ ...this.died(worker, error), failure: { message: `${what}${why}` } });
      return false;
    };
    if (!(await untilGone(m, control, STOP_LIMIT))) return fail(", and its thread cannot be ended");
    remains = new SoftRemains(m, plan, worker, this.devices);
    const stuck = remains.leaveSources();
    const lost = countHang(m, plan, worker, filter, remains.waiting);
    if (!isStarted) return fail(": in init");
    if (onTrap === "stop") return fail("");
    if (stuck !== undefined) return fail(`, which cannot be replaced: ${stuck}`);
    this.warnings.push(
      `${what}: the worker was replaced, ${lost} packets in its hands are lost; the filter's packets there are ` +
        `${onTrap === "pass" ? "let by unfiltered" : "dropped"} for a while`,
    );
    this.reloader.settle(worker, true);
    resetWorker(m, plan, worker, filter);
    if (Atomics.load(m.i32, (plan.control + PIPELINE_CONTROL.COMMAND) >>> 2) !== COMMAND.RUN) {
      Atomics.store(m.i32, (control + WORKER_CONTROL.STATE) >>> 2, WORKER_STATE.ENDED);
      this.warnings.push(...remains.finish());
      return false;
    }
    for (const fd of this.queuesReadBy(worker)) tunSetQueue(fd, true);
    this.replaced++;
    return true;
  }

  /** Descriptors of the kernel's queues that a worker reads; a device with one queue refuses to be without. */
  private queuesReadBy(worker: number): number[] {
    return this.plan.workers[worker].ports.flatMap(({ device, queue, path }) =>
      path >= 0 && this.plan.devices[device].kernel ? [this.devices[device].fds[queue]] : [],
    );
  }

  /** A worker that fails takes the others with it: half a pipeline would lose packets without a word. */
  private workerEnded(result: WorkerResult): void {
    this.warnings.push(...result.warnings.filter((warning) => !this.warnings.includes(warning)));
    if (result.failure === undefined) return;
    this.failures.push(revive(result.failure));
    this.stop();
  }

  private died(worker: number, error: unknown): WorkerResult {
    const { control } = this.plan.workers[worker];
    Atomics.store(this.m.i32, (control + WORKER_CONTROL.STATE) >>> 2, WORKER_STATE.FAILED);
    new SoftRemains(this.m, this.plan, worker, this.devices).abandon();
    const why = this.forced
      ? `did not end within ${STOP_LIMIT / 1000} s of being told to`
      : (error as Error).message;
    return { worker, warnings: [], failure: { message: `worker ${worker}: ${why}` } };
  }

  private async untilStarted(): Promise<void> {
    const state = (worker: number) =>
      Atomics.load(this.m.i32, (this.plan.workers[worker].control + WORKER_CONTROL.STATE) >>> 2);
    while (this.plan.workers.some((_, worker) => state(worker) === WORKER_STATE.STARTING)) {
      if (this.endTime !== undefined) break;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (this.plan.workers.some((_, worker) => state(worker) === WORKER_STATE.FAILED)) await this.ended;
    this.tellRefusals();
    this.startTime = performance.now() - sinceFirstStart(this.m, this.plan);
  }

  /** The probe had a small ring; a worker of `io: auto` that was refused its larger one runs with poll. */
  private tellRefusals(): void {
    for (const { control } of this.plan.workers) {
      const errno = this.m.i32[(control + WORKER_CONTROL.ENGINE) >>> 2] >>> 8;
      if (errno === 0) continue;
      const notice = usingPoll(whyNoRing(errno));
      if (!this.warnings.includes(notice)) this.warnings.push(notice);
    }
  }
}

/** How long ago the first worker's loop began, ms: it has moved packets while others were still starting. */
function sinceFirstStart(m: PacketMemory, plan: Plan): number {
  const now = Math.floor(clockMonotonic() / 1000) % 2 ** 32;
  const ages = plan.workers
    .map(({ control }) => Atomics.load(m.u32, (control + WORKER_CONTROL.STARTED) >>> 2))
    .filter((since) => since !== 0)
    .map((since) => ((now - since) >>> 0) / 1000);
  return Math.max(0, ...ages);
}

function revive({ message, refused, hint, stack }: WorkerFailure): Error {
  const error =
    refused === undefined
      ? Object.assign(new Error(message), hint === undefined ? {} : { hint })
      : new SystemError(refused.call, refused.target, refused.errno, { ...refused, hint });
  if (stack !== undefined) error.stack = stack;
  return error;
}
