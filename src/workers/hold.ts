/**
 * Filters that hold packets: where a path is cut so that what they emit can go on behind them, what their contexts say, and
 * what becomes of the packets of one that has lost its memory of them. The other half is assembly/abi/hold.ts and core's emit.
 */
import { HOST_COUNTER } from "../batches/counters.ts";
import { BATCH, CONTEXT, DESCRIPTOR, OUTPUT_DROP } from "../batches/layout.ts";
import { batchAt, batchCount, batchPush, counterAdd, type PacketMemory } from "../batches/memory.ts";
import type { Plan, WorkerPlan } from "../plan/types.ts";

/** Of HOLDERS: who holds it. The highest bit says that it has been emitted. */
const HOLDER_MASK = 0x7fff0000;
/** A step's number is a byte there. */
const MOST_STEPS = 256;

/** Fills what the contexts of a worker's filters say of holding. Main thread, before the workers start. */
export function writeHold(m: PacketMemory, plan: Plan, worker: WorkerPlan): void {
  worker.instances.forEach(({ context, hold }, filter) => {
    if (hold === undefined) return;
    const word = (offset: number, value: number) => {
      m.u32[(context + offset) >>> 2] = value;
    };
    word(CONTEXT.EMITTED, hold.emitted);
    word(CONTEXT.HOLDERS, worker.holders);
    word(CONTEXT.DESCRIPTORS, worker.descriptors);
    word(CONTEXT.HOLDER, (filter + 1) << 16);
    word(CONTEXT.STEP_TABLES, hold.stepTables);
    word(CONTEXT.HOLD_LIMIT, hold.limit);
    m.u32[(hold.emitted + BATCH.CAPACITY) >>> 2] = worker.slots.count;
    const tables = plan.paths.flatMap((path, p) =>
      path.steps.flatMap((step, s) => (step.filter === filter ? [worker.paths[p].tables[s]] : [])),
    );
    if (tables.length > MOST_STEPS)
      throw new Error(
        `filter "${plan.filters[filter].id}" holds packets: it may stand in ${MOST_STEPS} places at most`,
      );
    tables.forEach((table, step) => {
      m.u32[(hold.stepTables >>> 2) + step] = table;
    });
  });
}

/** Number of a step among those that use its filter: CONTEXT.STEP. */
export function stepNumber(plan: Plan, path: number, step: number): number {
  const { filter } = plan.paths[path].steps[step];
  const before = plan.paths.flatMap((one, p) =>
    one.steps.filter((_, s) => p < path || (p === path && s < step)),
  );
  return before.filter((one) => one.filter === filter).length;
}

/** How many packets a filter holds on this worker. */
export function heldBy(m: PacketMemory, context: number): number {
  return m.u32[(context + CONTEXT.HELD) >>> 2];
}

/** When a filter wants to be woken, CLOCK_MONOTONIC ns; Infinity: it does not. */
export function dueOf(m: PacketMemory, context: number): number {
  const at = (context + CONTEXT.DUE) >>> 2;
  const time = m.u32[at] + m.u32[at + 1] * 4294967296;
  return time === 0 ? Number.POSITIVE_INFINITY : time;
}

/**
 * Takes back every packet that a filter held and no longer knows of, counted as lost to a trap. Those of the batch at hand are
 * still in it, and leave as drops.
 * @param batch address of the batch at hand; 0: there is none
 */
export function reclaim(
  m: PacketMemory,
  worker: WorkerPlan,
  context: number,
  host: number,
  batch: number,
): void {
  const id = m.u32[(context + CONTEXT.HOLDER) >>> 2];
  const holders = worker.holders >>> 2;
  for (let i = 0; batch !== 0 && i < batchCount(m, batch); i++) {
    const descriptor = batchAt(m, batch, i);
    const at = holders + ((descriptor - worker.descriptors) >>> 6);
    if ((m.u32[at] & HOLDER_MASK) !== id) continue;
    m.u32[at] = 0;
    m.u8[descriptor + DESCRIPTOR.OUTPUT] = OUTPUT_DROP;
  }
  let lost = 0;
  for (let i = 0; i < worker.slots.count; i++) {
    if ((m.u32[holders + i] & HOLDER_MASK) !== id) continue;
    m.u32[holders + i] = 0;
    batchPush(m, worker.free, worker.descriptors + (i << 6));
    lost++;
  }
  forget(m, context);
  counterAdd(m, host + HOST_COUNTER.TRAPPED, lost);
}

/** A worker begins anew: no filter holds anything, and those that did know of nothing. Main thread. */
export function resetHold(m: PacketMemory, worker: WorkerPlan): void {
  if (worker.holders === 0) return;
  m.u32.fill(0, worker.holders >>> 2, (worker.holders >>> 2) + worker.slots.count);
  for (const { context, hold, workerState } of worker.instances) {
    if (hold === undefined) continue;
    forget(m, context);
    m.u8.fill(0, workerState.address, workerState.address + workerState.bytes);
  }
}

function forget(m: PacketMemory, context: number): void {
  const at = context >>> 2;
  m.u32[at + (CONTEXT.HELD >>> 2)] = 0;
  m.u32[at + (CONTEXT.DUE >>> 2)] = 0;
  m.u32[at + (CONTEXT.DUE >>> 2) + 1] = 0;
  m.u32[m.u32[at + (CONTEXT.EMITTED >>> 2)] >>> 2] = 0;
}
