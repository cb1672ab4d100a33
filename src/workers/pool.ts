/** Worker threads for a pipeline's whole run: the only place that knows piscina. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import type { WorkerResult, WorkerTask } from "./task.ts";
import { compileEarly } from "./tier-up.ts";

export interface Pool {
  /** One promise a worker, in order; each settles when that worker's loop has ended. */
  results: Promise<WorkerResult>[];
  /** Ends the threads. Call it when all results have settled. */
  close(): Promise<void>;
}

export function startPool(tasks: WorkerTask[]): Pool {
  compileEarly();
  const pool = new Piscina({
    filename: workerFile(),
    minThreads: tasks.length,
    maxThreads: tasks.length,
    // A loop runs until the pipeline ends: one task a thread, none waiting, and no timer that ends a thread.
    concurrentTasksPerWorker: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    atomics: "disabled",
    recordTiming: false,
  });
  return {
    results: tasks.map((task) => pool.run(task) as Promise<WorkerResult>),
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
