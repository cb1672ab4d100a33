/** The latency probes (prober.ts) as the main thread sees them. */
import { Worker } from "node:worker_threads";
import type { Endpoint } from "../sys/socket.ts";
import { entryFile } from "./entry.ts";

/** workerData */
export interface ProberTask {
  /** Descriptors of the namespaces it sends from and receives in. */
  from: number;
  to: number;
  target: Endpoint;
  /** As in the load: a probe waits like any other packet. At least PROBE_WORD's words, at most 2048. */
  payloadBytes: number;
  /** Between two probes, ns. */
  period: number;
  /** i32: the phase that probes belong to. */
  control: SharedArrayBuffer;
}

/** Probes are counted by the phase in which they were sent. */
export const PHASE = { OFF: 0, IDLE: 1, LOAD: 2, END: 3 } as const;

/** What it says: once when its sockets are open, once at the end, or once when it cannot go on. */
export type ProberReply = { ready: true } | { phases: PhaseSamples[] } | { failure: string };

export interface PhaseSamples {
  sent: number;
  /** From send to the kernel's taking it from the far device, ns. */
  samples: number[];
}

export class ProberThread {
  private readonly worker: Worker;
  private readonly control: Int32Array;

  private constructor(task: Omit<ProberTask, "control">) {
    const control = new SharedArrayBuffer(4);
    this.control = new Int32Array(control);
    this.worker = new Worker(entryFile("prober"), { workerData: { ...task, control } satisfies ProberTask });
  }

  /** @throws Error */
  static async start(task: Omit<ProberTask, "control">): Promise<ProberThread> {
    const thread = new ProberThread(task);
    await thread.next();
    return thread;
  }

  phase(phase: number): void {
    Atomics.store(this.control, 0, phase);
    Atomics.notify(this.control, 0);
  }

  /** @returns what has come in, by phase */
  async end(): Promise<PhaseSamples[]> {
    const reply = this.next();
    this.phase(PHASE.END);
    return ((await reply) as { phases: PhaseSamples[] }).phases;
  }

  /** Ends the thread, wherever it is. */
  async close(): Promise<void> {
    this.phase(PHASE.END);
    await this.worker.terminate();
  }

  private next(): Promise<ProberReply> {
    return new Promise((resolve, reject) => {
      this.worker.once("message", (reply: ProberReply) => {
        if ("failure" in reply) reject(new Error(reply.failure));
        else resolve(reply);
      });
      this.worker.once("error", reject);
    });
  }
}
