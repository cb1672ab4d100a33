/**
 * A filter's code outside of a pipeline: its cases, the sizes that it computes, its shared state, its cost. In: a module and a
 * question; out: the answer, or that a call did not end. All of it runs on a thread of its own, which is ended when a call
 * takes too long, so that the main thread always listens to signals.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { CONTROL } from "../batches/control.ts";
import type { Manifest } from "../config/types.ts";
import type { Case } from "../filters/cases.ts";
import type { Cost } from "../filters/cost.ts";
import { FilterError } from "../filters/error.ts";
import { coreBytes } from "../filters/library.ts";
import type { StateSizes } from "../filters/load.ts";
import type { Failure } from "../filters/runner.ts";
import type { Answer, Filling, Question, TrialTask } from "./trial-thread.ts";
import { TIME_LIMIT, Watchdog } from "./watchdog.ts";

/** Processor time that a filter may take to make itself ready (init, initShared, prepare), ms. */
export const SETUP_LIMIT = 5000;

/** A call that did not end. */
export class Hang extends FilterError {}

/** What was asked was called off. */
export class Aborted extends Error {}

export class Trial {
  private readonly filter: Uint8Array;
  private readonly setupLimit: number;
  private thread: Thread | undefined;

  /** @param filter the bytes of its module, checked @param setupLimit ms of processor time */
  constructor(filter: Uint8Array, setupLimit = SETUP_LIMIT) {
    this.filter = filter;
    this.setupLimit = setupLimit;
  }

  /** Runs one case. @returns what did not come out as it says: a call that did not end, too @throws FilterError, Aborted */
  async examine(test: Case, signal?: AbortSignal): Promise<Failure[]> {
    try {
      return (await this.ask({ ask: "examine", test }, signal)) as Failure[];
    } catch (error) {
      if (error instanceof Hang) return [{ text: error.message }];
      throw error;
    }
  }

  /** @returns what measureCost() does @throws Hang, FilterError, Error when it traps */
  async cost(cases: Case[]): Promise<Cost | undefined> {
    return (await this.ask({ ask: "cost", cases })) as Cost | undefined;
  }

  /** @returns what stateSizes() does @throws Hang, FilterError */
  async sizes(manifest: Manifest, encoded: Uint8Array): Promise<StateSizes> {
    return (await this.ask({ ask: "sizes", manifest, encoded })) as StateSizes;
  }

  /** Calls what fills state for all workers. @param memory the pipeline's @throws Hang, Error when it traps */
  async fill(memory: WebAssembly.Memory, context: number, call: Filling): Promise<void> {
    await this.ask({ ask: "fill", memory, context, call });
  }

  async close(): Promise<void> {
    await this.thread?.close();
    this.thread = undefined;
  }

  private async ask(question: Question, signal?: AbortSignal): Promise<unknown> {
    this.thread ??= new Thread(this.filter, this.setupLimit);
    try {
      return await this.thread.ask(question, signal);
    } catch (error) {
      if (error instanceof Hang || error instanceof Aborted) await this.close();
      throw error;
    }
  }
}

/** One thread, one question at a time. */
class Thread {
  private readonly worker: Worker;
  private readonly watchdog: Watchdog;
  /** Not to be ended while it loads: koffi would abort the process. */
  private readonly loaded: Promise<unknown>;
  private settle: { resolve: (value: unknown) => void; reject: (error: Error) => void } | undefined;

  constructor(filter: Uint8Array, setupLimit: number) {
    const words = new SharedArrayBuffer(CONTROL.BYTES);
    const task: TrialTask = { words, core: coreBytes(), filter };
    this.worker = new Worker(threadFile(), { workerData: task });
    this.loaded = new Promise((resolve) => {
      for (const event of ["message", "error", "exit"]) this.worker.once(event, resolve);
    });
    this.worker.on("message", (answer: Answer | "loaded") => {
      if (answer === "loaded") return;
      if ("value" in answer) this.settle?.resolve(answer.value);
      else this.settle?.reject(answer.isRefusal ? new FilterError(answer.error) : new Error(answer.error));
    });
    this.worker.on("error", (error) => this.settle?.reject(error));
    const limits = [TIME_LIMIT, setupLimit];
    const hung = (_: number, call: number) =>
      this.settle?.reject(new Hang(`did not end within ${limits[call]} ms of processor time`));
    this.watchdog = new Watchdog(new Int32Array(words), [0], hung, (call) => limits[call]);
  }

  async ask(question: Question, signal: AbortSignal | undefined): Promise<unknown> {
    const abort = () => this.settle?.reject(new Aborted("called off"));
    try {
      return await new Promise<unknown>((resolve, reject) => {
        this.settle = { resolve, reject };
        signal?.addEventListener("abort", abort);
        if (signal?.aborted) abort();
        this.worker.postMessage(question);
      });
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }

  async close(): Promise<void> {
    this.watchdog.close();
    await this.loaded;
    await this.worker.terminate();
  }
}

/** The compiled thread, also when this file runs from its source (in tests). */
function threadFile(): string {
  const beside = fileURLToPath(new URL("./trial-thread.js", import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL("../../build/workers/trial-thread.js", import.meta.url));
}
