/** Worker threads for a pipeline's whole run: the only place that knows piscina. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Piscina } from "piscina";
import type { WorkerResult, WorkerTask } from "./task.ts";
import { compileEarly } from "./tier-up.ts";

export { processIsOurs } from "./tier-up.ts";

/** A worker at work on a thread. */
export interface Job {
  /** Settles when its loop has ended; rejects when its thread has, or is about to. */
  result: Promise<WorkerResult>;
  /** Ends the thread, wherever it is. */
  kill(): void;
}

export interface Pool {
  /** Sees to it that there are so many threads. They start at once, and load what a worker needs before it is due. */
  grow(threads: number): void;
  /** There must be a thread that has nothing to do. */
  run(task: WorkerTask): Job;
  /** Ends the threads. Call it when all results have settled. */
  close(): Promise<void>;
}

/** Threads that started together, and how many of them have nothing to do. */
interface Group {
  threads: Piscina;
  /** Ids of threads that have loaded their modules. */
  loaded: Set<number>;
  idle: number;
  /** Rejects when a thread cannot even load its modules: whoever waits for a task of it would wait for ever. */
  broken: Promise<never>;
}

/** @param threads to start now: a thread takes as long to start as a pipeline's file to be read */
export function startPool(threads: number): Pool {
  const groups = [startGroup(threads)];
  let size = threads;
  return {
    grow(wanted) {
      if (wanted <= size) return;
      groups.push(startGroup(wanted - size));
      size = wanted;
    },
    run(task) {
      compileEarly();
      const group = groups.find(({ idle }) => idle > 0) as Group;
      group.idle--;
      const killer = new AbortController();
      const running = group.threads.run(task, { signal: killer.signal }) as Promise<WorkerResult>;
      const result = Promise.race([running, group.broken]).finally(() => {
        group.idle++;
      });
      return { result, kill: () => killer.abort() };
    },
    async close() {
      await Promise.all(groups.map(closeGroup));
    },
  };
}

function startGroup(size: number): Group {
  const threads = new Piscina({
    filename: workerFile(),
    minThreads: size,
    maxThreads: size,
    // A loop runs until the pipeline ends: one task a thread, none waiting, and no timer that ends a thread.
    concurrentTasksPerWorker: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    atomics: "disabled",
    recordTiming: false,
  });
  const broken = new Promise<never>((_, reject) => {
    threads.on("error", (error: Error) => {
      reject(new Error(`a worker's thread could not start: ${error.message}`, { cause: error }));
    });
  });
  // Nobody may be waiting yet.
  broken.catch(() => {});
  return { threads, loaded: loadedOf(threads), idle: size, broken };
}

function loadedOf(threads: Piscina): Set<number> {
  const loaded = new Set<number>();
  // The first message of a thread says that it is ready.
  for (const thread of threads.threads) thread.once("message", () => loaded.add(thread.threadId));
  // Piscina takes the first threads for ready from the start; those that come for one that was ended, when they are.
  setImmediate(() => threads.on("workerCreate", ({ id }) => loaded.add(id)));
  return loaded;
}

/**
 * Ends a group's threads, each when it has loaded its modules: koffi aborts the whole process when its thread is ended
 * while it is being loaded.
 */
async function closeGroup({ threads, loaded }: Group): Promise<void> {
  const loading = threads.threads.filter((thread) => !loaded.has(thread.threadId));
  // Nothing else may keep the process from ending meanwhile.
  for (const thread of loading) thread.ref();
  const ends = loading.map(
    (thread) => new Promise((resolve) => thread.once("message", resolve).once("exit", resolve)),
  );
  await Promise.all(ends);
  await threads.destroy();
}

/** The compiled worker, also when this file runs from its source (in tests). */
function workerFile(): string {
  const beside = fileURLToPath(new URL("./worker.js", import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL("../../build/workers/worker.js", import.meta.url));
}
