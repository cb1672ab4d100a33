/**
 * A worker thread's entry: from a task to a running loop and back. It ends when the pipeline is drained; whatever goes
 * wrong comes back in the result, for the other workers are stopped by the main thread and their counters still count.
 */
import { ENGINES, WORKER_CONTROL, WORKER_STATE } from "../batches/control.ts";
import { HOST_COUNTER } from "../batches/counters.ts";
import { counterAdd, PacketMemory } from "../batches/memory.ts";
import { conservation, makeReport } from "../control/report.ts";
import { createEngine } from "../io/engine.ts";
import type { Plan, WorkerPlan } from "../plan/types.ts";
import { clockMonotonic, eventfdSignal } from "../sys/calls.ts";
import { SystemError } from "../sys/errno.ts";
import { setTimerSlack, threadId } from "../sys/process.ts";
import { Chain } from "./chain.ts";
import { instantiateCore } from "./core.ts";
import { FilterTrap } from "./instance.ts";
import { Loop, type LoopClock } from "./loop.ts";
import { closePorts, openPorts, type WorkerPort } from "./ports.ts";
import type { WorkerFailure, WorkerResult, WorkerTask } from "./task.ts";

export default function work(task: WorkerTask): WorkerResult {
  const m = new PacketMemory(task.memory);
  const plan = task.plan;
  const worker = plan.workers[task.worker];
  const setState = (state: number) => {
    Atomics.store(m.i32, (worker.control + WORKER_CONTROL.STATE) >>> 2, state);
  };
  const result: WorkerResult = { worker: task.worker, warnings: [] };
  let ports: WorkerPort[] = [];
  let chain: Chain | undefined;
  let started = false;
  const failures: unknown[] = [];
  // Before any filter's code runs: whoever finds it hanging asks for the thread's times.
  m.i32[(worker.control + WORKER_CONTROL.THREAD) >>> 2] = threadId();
  try {
    const core = instantiateCore(task.core, task.memory);
    const opened = openPorts(task, m, core);
    ports = opened.ports;
    const modules = task.modules.map((bytes) => new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>));
    chain = new Chain(m, plan, worker, core, modules);
    if (chain.hasTimers) setTimerSlack(1);
    const wake = task.wakes[task.worker];
    const { engine, refusal } = createEngine(task.io, m, worker, opened.kernel, wake);
    try {
      m.i32[(worker.control + WORKER_CONTROL.ENGINE) >>> 2] = ENGINES.indexOf(engine.name) | (refusal << 8);
      const wakeAll = () => task.wakes.forEach(eventfdSignal);
      const loop = new Loop(m, plan, worker, { engine, ports, chain, core, clock: makeClock(), wakeAll });
      started = true;
      // Before the state, for who sees that it runs reads since when.
      const since = (worker.control + WORKER_CONTROL.STARTED) >>> 2;
      Atomics.compareExchange(m.u32, since, 0, microseconds());
      setState(WORKER_STATE.RUNNING);
      loop.run();
    } finally {
      engine.close();
      result.warnings.push(...engine.warnings);
    }
  } catch (error) {
    failures.push(error);
  }
  failures.push(...closePorts(ports));
  for (const failure of failures) if (failure instanceof FilterTrap) countLost(m, plan, worker, failure);
  if (chain !== undefined) result.warnings.push(...chain.warnings);
  if (failures.length > 0) {
    result.failure = describe(failures[0], started);
    result.warnings.push(...failures.slice(1).map((failure) => describe(failure, started).message));
  }
  setState(started ? WORKER_STATE.ENDED : WORKER_STATE.FAILED);
  return result;
}

/** A filter has ended the run: what was on its way through filters went nowhere, and is counted as lost to it. */
function countLost(m: PacketMemory, plan: Plan, worker: WorkerPlan, { host }: FilterTrap): void {
  const { missing } = conservation(makeReport(m, { ...plan, workers: [worker] }, 0));
  if (missing > 0) counterAdd(m, host + HOST_COUNTER.TRAPPED, missing);
}

/** Never 0, which says that there is none. */
function microseconds(): number {
  return Math.floor(clockMonotonic() / 1000) % 2 ** 32 || 1;
}

/**
 * CLOCK_MONOTONIC at the price of performance.now(), which needs no system call of ours: both tick alike, so their
 * distance is measured once.
 */
function makeClock(): LoopClock {
  const start = clockMonotonic() - performance.now() * 1e6;
  return {
    monotonic: () => Math.round(start + performance.now() * 1e6),
    epochOffset: Date.now() * 1e6 - clockMonotonic(),
  };
}

function describe(error: unknown, started: boolean): WorkerFailure {
  if (!(error instanceof Error)) return { message: String(error) };
  const failure: WorkerFailure = { message: error.message };
  const { hint } = error as { hint?: unknown };
  if (typeof hint === "string") failure.hint = hint;
  if (error instanceof SystemError && !started) {
    const { call, target, errno, detail, unavailable } = error;
    failure.refused = { call, target, errno, detail, unavailable };
  }
  if (error.stack !== undefined) failure.stack = error.stack;
  return failure;
}
