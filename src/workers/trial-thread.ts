/**
 * The thread on which a filter's code runs outside of a pipeline (trial.ts): its cases, its sizes, its shared state, its
 * cost. It says in its control words when it is in the filter, and in which call; whoever sees it stay there ends it.
 */
import { parentPort, workerData } from "node:worker_threads";
import { WORKER_CONTROL } from "../batches/control.ts";
import type { Manifest } from "../config/types.ts";
import type { Case } from "../filters/cases.ts";
import { measureCost } from "../filters/cost.ts";
import { FilterError } from "../filters/error.ts";
import { instantiate, stateSizes } from "../filters/load.ts";
import { examineCase } from "../filters/runner.ts";
import { threadId } from "../sys/process.ts";

/** What the thread is asked. Each answer is what the function of that name gives. */
export type Question =
  | { ask: "examine"; test: Case }
  | { ask: "cost"; cases: Case[] }
  | { ask: "sizes"; manifest: Manifest; encoded: Uint8Array }
  | { ask: "fill"; memory: WebAssembly.Memory; context: number; call: Filling };

/** Exports that fill state for all workers. */
export type Filling = "prepare" | "initShared";

export interface TrialTask {
  /** Of the control words (WORKER_CONTROL). */
  words: SharedArrayBuffer;
  core: Uint8Array;
  filter: Uint8Array;
}

export type Answer = { value: unknown } | { error: string; isRefusal: boolean };

/** WORKER_CONTROL.FILTER, less 1: in a call for a packet, which is short, or in one that makes things ready. */
export const TRIAL_CALL = 0;
export const TRIAL_SETUP = 1;

const { words, core, filter } = workerData as TrialTask;
const i32 = new Int32Array(words);
const modules = [core, filter].map((bytes) => new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>));
const phase = (value: number) => Atomics.store(i32, WORKER_CONTROL.FILTER >>> 2, value);
/** A call has ended, and the next one is for a packet. */
const beat = () => {
  Atomics.add(i32, WORKER_CONTROL.HEARTBEAT >>> 2, 1);
  phase(1 + TRIAL_CALL);
};

function answer(question: Question): unknown {
  switch (question.ask) {
    case "examine":
      return examineCase(question.test, modules[0], modules[1], beat);
    case "cost":
      return measureCost(question.cases, modules[0], modules[1], beat);
    case "sizes":
      return stateSizes(modules[1], question.manifest, question.encoded);
    case "fill":
      return instantiate(modules[1], question.memory)[question.call]?.(question.context);
  }
}

Atomics.store(i32, WORKER_CONTROL.THREAD >>> 2, threadId());
parentPort!.postMessage("loaded");
parentPort!.on("message", (question: Question) => {
  let said: Answer;
  phase(1 + (question.ask === "sizes" ? TRIAL_CALL : TRIAL_SETUP));
  try {
    said = { value: answer(question) };
  } catch (error) {
    said = { error: (error as Error).message, isRefusal: error instanceof FilterError };
  }
  phase(0);
  Atomics.add(i32, WORKER_CONTROL.HEARTBEAT >>> 2, 1);
  parentPort!.postMessage(said);
});
