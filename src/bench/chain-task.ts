/** What the main thread and a chain's thread (chain-worker.ts) say to each other. */
import type { WorkerTask } from "../workers/task.ts";

/** workerData */
export interface ChainTask {
  worker: WorkerTask;
  /** i32: CHAIN_COMMAND, the same for all threads, so that they start together. */
  control: SharedArrayBuffer;
}

export const CHAIN_COMMAND = { WAIT: 0, WARM_UP: 1, MEASURE: 2, END: 3 } as const;

/** ns a packet, of each window: of the whole chain, and by filter of what it took in the rounds that were timed. */
export interface ChainWindows {
  chain: number[];
  filters: number[][];
}

/** What it says: once when it can start, once at the end, or once when it cannot go on. */
export type ChainReply = { ready: true } | { windows: ChainWindows } | { failure: string };
