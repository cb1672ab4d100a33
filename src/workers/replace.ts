/**
 * What remains of a worker that was ended in a filter that did not end, put in order for the next one: its losses
 * counted, its packets' slots free again, its ring released. Thread: the main one, when the worker's is gone.
 */
import { existsSync } from "node:fs";
import { PIPELINE_CONTROL, WORKER_CONTROL, WORKER_STATE } from "../batches/control.ts";
import { HOST_COUNTER } from "../batches/counters.ts";
import { BATCH, DESCRIPTOR } from "../batches/layout.ts";
import { batchPush, counterAdd, type PacketMemory, u64Read, u64Write } from "../batches/memory.ts";
import { writeReason } from "../batches/trap-reason.ts";
import { conservation, makeReport } from "../control/report.ts";
import { releaseOrphan } from "../io/uring/orphan.ts";
import type { Plan } from "../plan/types.ts";
import { clockMonotonic } from "../sys/calls.ts";
import { resetHold } from "./hold.ts";
import { releaseLocks } from "./locks.ts";
import { TIME_LIMIT } from "./watchdog.ts";

/** How long a filter that has hung is left alone on its worker, ns; doubled every time. */
const FIRST_PAUSE = 10e9;
const LONGEST_PAUSE = 600e9;

export const HANG_REASON = `did not end within ${TIME_LIMIT} ms of processor time`;

/** @returns whether the thread ended within `limit` ms */
export async function untilGone(m: PacketMemory, control: number, limit: number): Promise<boolean> {
  const thread = Atomics.load(m.i32, (control + WORKER_CONTROL.THREAD) >>> 2);
  const end = performance.now() + limit;
  while (existsSync(`/proc/self/task/${thread}`)) {
    if (performance.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return true;
}

/**
 * Counts the hang of `filter` on `worker`, and every packet that the worker had in hand as lost to it.
 * @param waiting packets that wait in the buffers of its devices: they still leave
 * @returns how many those were
 */
export function countHang(
  m: PacketMemory,
  plan: Plan,
  worker: number,
  filter: number,
  waiting: number,
): number {
  const { host } = plan.workers[worker].instances[filter];
  for (const { context } of plan.workers[worker].instances) releaseLocks(m, context);
  // What filters held is lost as well.
  resetHold(m, plan.workers[worker]);
  counterAdd(m, host + HOST_COUNTER.TRAPS, 1);
  writeReason(m, host, HANG_REASON);
  const lost = conservation(makeReport(m, { ...plan, workers: [plan.workers[worker]] }, 0)).missing - waiting;
  if (lost > 0) counterAdd(m, host + HOST_COUNTER.TRAPPED, lost);
  return lost;
}

/** The worker's memory as it was before the first packet, but for counters and what its filters know. */
export function resetWorker(m: PacketMemory, plan: Plan, worker: number, filter: number): void {
  const { control, slots, descriptors, free, ports, paths, instances } = plan.workers[worker];
  releaseOrphan(m, control);
  const batches = ports.flatMap((port) => [port.rxBatch, port.exitBatch, port.txBatch]);
  const onPaths = paths.flatMap((path) => [path.batch, ...path.resume.filter((resume) => resume !== 0)]);
  for (const batch of [free, ...batches, ...onPaths]) {
    m.u32[(batch + BATCH.COUNT) >>> 2] = 0;
  }
  for (let i = slots.count - 1; i >= 0; i--) batchPush(m, free, descriptors + i * DESCRIPTOR.SIZE);
  pause(m, instances[filter].host);
  // Sources that have ended will end again in the next worker's eyes.
  const word = (offset: number) => (control + offset) >>> 2;
  const ended = Atomics.exchange(m.i32, word(WORKER_CONTROL.ENDED_SOURCES), 0);
  Atomics.add(m.i32, (plan.control + PIPELINE_CONTROL.FINITE_SOURCES) >>> 2, ended);
  for (const offset of [WORKER_CONTROL.ASLEEP, WORKER_CONTROL.FILTER]) Atomics.store(m.i32, word(offset), 0);
  Atomics.store(m.i32, word(WORKER_CONTROL.STATE), WORKER_STATE.STARTING);
}

function pause(m: PacketMemory, host: number): void {
  const before = u64Read(m, host + HOST_COUNTER.PAUSE);
  const length = before === 0 ? FIRST_PAUSE : Math.min(before * 2, LONGEST_PAUSE);
  u64Write(m, host + HOST_COUNTER.PAUSE, length);
  u64Write(m, host + HOST_COUNTER.PAUSED_UNTIL, clockMonotonic() + length);
}
