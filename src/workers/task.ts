/** What the main thread hands a worker, and what the worker hands back. Plain data: it crosses by structured clone. */
import type { EngineName } from "../batches/control.ts";
import type { SoftOptions } from "../devices/soft.ts";
import type { Plan } from "../plan/types.ts";

export interface WorkerTask {
  worker: number;
  plan: Plan;
  memory: WebAssembly.Memory;
  /** core.wasm, and each filter's module by its index in the plan. */
  core: Uint8Array;
  modules: Uint8Array[];
  /** By device, by queue; empty for a device that is no kernel device. Descriptors are the process's, so numbers do. */
  fds: (readonly number[])[];
  /** By device: what its source and sink need; empty for a kernel device. */
  soft: SoftOptions[];
  /** Every worker's eventfd. */
  wakes: number[];
  io: { name: EngineName; auto: boolean };
}

/** What went wrong, in a form that survives the crossing. */
export interface WorkerFailure {
  message: string;
  /** The system call that kept the worker from starting: what the machine does not give, as opposed to what broke. */
  refused?: { call: string; target: string; errno: number; detail: string | undefined; unavailable: boolean };
  hint?: string;
  stack?: string;
}

export interface WorkerResult {
  worker: number;
  failure?: WorkerFailure;
  /** Said once each: what went wrong without ending the run. */
  warnings: string[];
}
