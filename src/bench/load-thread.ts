/** A thread that makes load (sender.ts, mover.ts) as the main thread sees it. */
import { Worker } from "node:worker_threads";
import type { Endpoint } from "../sys/socket.ts";
import { entryFile } from "./entry.ts";

/** workerData of each kind of thread. */
export interface LoadTasks {
  sender: {
    /** Descriptor of the namespace it sends from. */
    namespace: number;
    to: Endpoint;
    /** Sockets, and so flows. */
    flows: number;
    /** Bytes of payload of a datagram. */
    payloadBytes: number;
    /** Datagrams of a flow in a row. */
    burst: number;
  };
  mover: {
    /** Connected sockets, nonblocking; they stay whoever's opened them. */
    sockets: number[];
    /** Into them, or out of them? */
    way: "send" | "receive";
  };
}

export type LoadTask<K extends keyof LoadTasks> = LoadTasks[K] & { control: SharedArrayBuffer };

/** Words of the control buffer: i32 each but the count. */
export const LOAD_CONTROL = {
  COMMAND: 0,
  /** Calls that failed, and the errno of the last one. */
  FAILURES: 1,
  ERRNO: 2,
  /** f64 at byte 16: datagrams or bytes that the kernel has taken or given. */
  COUNT: 2,
  BYTES: 64,
} as const;

export const LOAD_COMMAND = { WAIT: 0, RUN: 1, END: 2 } as const;

/** What it says: once when it is ready, once when it cannot go on. */
export type LoadReply = { ready: true } | { failure: string };

export interface LoadState {
  /** Datagrams of a sender, bytes of a mover. */
  count: number;
  failures: number;
  errno: number;
}

export class LoadThread {
  private readonly worker: Worker;
  private readonly words: Int32Array;
  private readonly counts: Float64Array;
  private readonly ended: Promise<void>;

  private constructor(kind: keyof LoadTasks, task: object) {
    const control = new SharedArrayBuffer(LOAD_CONTROL.BYTES);
    this.words = new Int32Array(control);
    this.counts = new Float64Array(control);
    this.worker = new Worker(entryFile(kind), { workerData: { ...task, control } });
    this.ended = new Promise((resolve) => this.worker.once("exit", () => resolve()));
  }

  /** Resolves when it is ready to go. @throws Error */
  static async start<K extends keyof LoadTasks>(kind: K, task: LoadTasks[K]): Promise<LoadThread> {
    const thread = new LoadThread(kind, task);
    await new Promise<void>((resolve, reject) => {
      thread.worker.once("message", (reply: LoadReply) => {
        if ("failure" in reply) reject(new Error(reply.failure));
        else resolve();
      });
      thread.worker.once("error", reject);
    });
    return thread;
  }

  go(): void {
    this.tell(LOAD_COMMAND.RUN);
  }

  state(): LoadState {
    return {
      count: this.counts[LOAD_CONTROL.COUNT],
      failures: this.words[LOAD_CONTROL.FAILURES],
      errno: this.words[LOAD_CONTROL.ERRNO],
    };
  }

  /** Resolves when it has made its last call. */
  async end(): Promise<void> {
    this.tell(LOAD_COMMAND.END);
    await this.ended;
  }

  private tell(command: number): void {
    Atomics.store(this.words, LOAD_CONTROL.COMMAND, command);
    Atomics.notify(this.words, LOAD_CONTROL.COMMAND);
  }
}
