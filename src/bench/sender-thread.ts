/** A sender (sender.ts) as the main thread sees it. */
import { Worker } from "node:worker_threads";
import type { Endpoint } from "../sys/datagrams.ts";
import { entryFile } from "./entry.ts";

/** workerData */
export interface SenderTask {
  /** Descriptor of the namespace it sends from. */
  namespace: number;
  to: Endpoint;
  /** Sockets, and so flows. */
  flows: number;
  /** Bytes of payload of a datagram. */
  payloadBytes: number;
  /** Datagrams of a flow in a row. */
  burst: number;
  control: SharedArrayBuffer;
}

/** Words of the control buffer: i32 each but the count. */
export const SENDER_CONTROL = {
  COMMAND: 0,
  /** Sends that failed, and the errno of the last one. */
  FAILURES: 1,
  ERRNO: 2,
  /** f64 at byte 16: datagrams handed to the kernel. */
  SENT: 2,
  BYTES: 64,
} as const;

export const SENDER_COMMAND = { WAIT: 0, SEND: 1, END: 2 } as const;

/** What it says: once when its sockets are open, once when it cannot go on. */
export type SenderReply = { ready: true } | { failure: string };

export interface SenderState {
  sent: number;
  failures: number;
  errno: number;
}

export class SenderThread {
  private readonly worker: Worker;
  private readonly words: Int32Array;
  private readonly counts: Float64Array;
  private readonly ended: Promise<void>;

  private constructor(task: Omit<SenderTask, "control">) {
    const control = new SharedArrayBuffer(SENDER_CONTROL.BYTES);
    this.words = new Int32Array(control);
    this.counts = new Float64Array(control);
    this.worker = new Worker(entryFile("sender"), { workerData: { ...task, control } satisfies SenderTask });
    this.ended = new Promise((resolve) => this.worker.once("exit", () => resolve()));
  }

  /** Resolves when all its sockets are open. @throws Error */
  static async start(task: Omit<SenderTask, "control">): Promise<SenderThread> {
    const thread = new SenderThread(task);
    await new Promise<void>((resolve, reject) => {
      thread.worker.once("message", (reply: SenderReply) => {
        if ("failure" in reply) reject(new Error(reply.failure));
        else resolve();
      });
      thread.worker.once("error", reject);
    });
    return thread;
  }

  go(): void {
    this.tell(SENDER_COMMAND.SEND);
  }

  state(): SenderState {
    return {
      sent: this.counts[SENDER_CONTROL.SENT],
      failures: this.words[SENDER_CONTROL.FAILURES],
      errno: this.words[SENDER_CONTROL.ERRNO],
    };
  }

  /** Resolves when it has sent its last. */
  async end(): Promise<void> {
    this.tell(SENDER_COMMAND.END);
    await this.ended;
  }

  private tell(command: number): void {
    Atomics.store(this.words, SENDER_CONTROL.COMMAND, command);
    Atomics.notify(this.words, SENDER_CONTROL.COMMAND);
  }
}
