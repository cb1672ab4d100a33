/**
 * Control words: how the main thread and the workers speak while the workers' loops run. A worker's loop is
 * synchronous and never sees a message, so it looks at these words once a round; a worker that sleeps is woken
 * through its eventfd. i32 each, one cache line for the pipeline and one for each worker.
 */
export const CONTROL = {
  BYTES: 64,
} as const;

export const PIPELINE_CONTROL = {
  /** COMMAND: what all workers shall do. Written by the main thread, or by the worker whose source ended last. */
  COMMAND: 0,
  /** Finite sources that have not ended. */
  FINITE_SOURCES: 4,
  /** How often the pipeline has been reloaded: a worker that has seen fewer reads CHANGES. */
  GENERATION: 8,
  /** Address of what the last reload has changed (CHANGE in change.ts). */
  CHANGES: 12,
  /** Pages of the memory when CHANGES were written: a thread whose views are shorter has not seen it grow. */
  PAGES: 16,
} as const;

export const COMMAND = {
  RUN: 0,
  /** Send what has been received, flush, end. */
  DRAIN: 1,
  /** The user's wish, or a failure's: as DRAIN, without patience for who reads slowly what is written. */
  STOP: 2,
} as const;

export const WORKER_CONTROL = {
  STATE: 0,
  /** Rounds of the loop, modulo 2^32: stands still in a worker that sleeps or hangs. */
  HEARTBEAT: 4,
  /** 1 while the worker sleeps in the kernel: a heartbeat that stands still then is no hang. */
  ASLEEP: 8,
  /** The engine it runs, by its index in ENGINES, and from bit 8 on the errno for which it is not io_uring; 0: none. */
  ENGINE: 12,
  /** Its thread's number in /proc/self/task, where the kernel keeps its times. */
  THREAD: 16,
  /** The filter that it is in, by its index in the plan plus 1; 0: in none. */
  FILTER: 20,
  /** Finite sources of it that have ended, and been taken off FINITE_SOURCES. */
  ENDED_SOURCES: 24,
  /** Its io_uring, for who must release it when the worker cannot: descriptor plus 1 (0: none), the two mappings. */
  RING: 28,
  RING_ADDRESS: 32,
  RING_BYTES: 40,
  RING_SQE_BYTES: 44,
  RING_SQE_ADDRESS: 48,
  /** When its loop first began, CLOCK_MONOTONIC in us, modulo 2^32; 0: it has not. A replacement leaves it. */
  STARTED: 56,
  /** The last PIPELINE_CONTROL.GENERATION that it has gone over to. */
  GENERATION: 60,
} as const;

export const WORKER_STATE = {
  STARTING: 0,
  RUNNING: 1,
  /** Its loop has ended, well or not. */
  ENDED: 2,
  /** It never ran, or its thread died. */
  FAILED: 3,
} as const;

/** Engines by number, for WORKER_CONTROL.ENGINE. */
export const ENGINES = ["none", "poll", "uring"] as const;
export type EngineName = (typeof ENGINES)[number];
