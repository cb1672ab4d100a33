/** Worker threads for a pipeline's whole run: the only place that knows piscina. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import type { WorkerResult, WorkerTask } from "./task.ts";
import { compileEarly } from "./tier-up.ts";

/** A worker at work on a thread. */
export interface Job {
  /** Settles when its loop has ended; rejects when its thread has, or is about to. */
  result: Promise<WorkerResult>;
  /** Ends the thread, wherever it is. */
  kill(): void;
}

export interface Pool {
  run(task: WorkerTask): Job;
  /** Ends the threads. Call it when all results have settled. */
  close(): Promise<void>;
}

/** @param threads as many as tasks run at a time */
export function startPool(threads: number): Pool {
  compileEarly();
  const pool = new Piscina({
    filename: workerFile(),
    minThreads: threads,
    maxThreads: threads,
    // A loop runs until the pipeline ends: one task a thread, none waiting, and no timer that ends a thread.
    concurrentTasksPerWorker: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    atomics: "disabled",
    recordTiming: false,
  });
  return {
    run(task) {
      const killer = new AbortController();
      const result = pool.run(task, { signal: killer.signal }) as Promise<WorkerResult>;
      return { result, kill: () => killer.abort() };
    },
    close: () => pool.destroy(),
  };
}

/** The compiled worker, also when this file runs from its source (in tests). */
function workerFile(): string {
  const beside = fileURLToPath(new URL("./worker.js", import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL("../../build/workers/worker.js", import.meta.url));
}
