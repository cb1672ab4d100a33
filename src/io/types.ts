/**
 * What moves batches between devices and the pipeline's memory. Thread: the worker's. The loop owns every batch;
 * an engine or a sink hands descriptors back to the worker's free list when it is done with them.
 */
import type { PortPlan } from "../plan/types.ts";

export { DROP_REASONS, type DropReason, type PortCounters } from "../batches/counters.ts";

/** A kernel queue of this worker: its place in the plan, and the descriptor that reads and writes it. */
export interface KernelPort {
  plan: PortPlan;
  fd: number;
  /** For messages: "lan queue 0". */
  label: string;
  /** Address of its device's DEVICE_INFO. */
  info: number;
  /** Bytes of the struct virtio_net_hdr that lies right before each packet, read and written with it; 0: none. */
  header: number;
}

/** Moves packets of kernel queues. One a worker, for all its kernel ports. */
export interface Engine {
  readonly name: "poll" | "uring";
  /** What went wrong without ending the run, said once each. */
  readonly warnings: readonly string[];
  /** Once a round, before the ports are read: submits what was transmitted, collects what has arrived. */
  turn(): void;
  /**
   * Fills the port's rxBatch from its queue, up to BATCH_PACKETS or as many as there are free descriptors.
   * @returns packets received
   * @throws SystemError when the device is gone
   */
  receive(port: number): number;
  /**
   * Sends all of the port's txBatch, counts tx or drops, gives the descriptors back, empties the batch. A packet that the
   * kernel refuses with work left to it goes back into exitBatch with OUTPUT_FINISH: RefusedWrites in io/drops.ts.
   * @throws SystemError when the device is gone, now or in the next turn(), after all of the batch has been counted
   */
  transmit(port: number): void;
  /** Waits until the descriptors of all that was transmitted are on the free list. */
  settle(): void;
  /**
   * Sleeps until a queue may have packets, the worker's eventfd was signalled, or the time is over.
   * @param timeout ns; Infinity: no limit
   */
  wait(timeout: number): void;
  /** Completes what is under way and releases the engine's own resources; the ports' descriptors are not its own. */
  close(): void;
}

/** Where packets enter that are not a kernel queue: a capture file, the generator. */
export interface SoftSource {
  /**
   * Takes up to `max` descriptors from the free list, fills each (descriptorReset, then the bytes) and appends it to
   * `batch`. Counts nothing: dissect does.
   * @param now CLOCK_MONOTONIC, ns
   * @returns ns from `now` until it may have more: 0 at once, Infinity: it has ended.
   */
  receive(batch: number, max: number, now: number): number;
  /** Called once, from the worker's thread. Throws what could not be read whole (a truncated capture). */
  close(): void;
}

/** Where packets leave that is not a kernel queue. */
export interface SoftSink {
  /** Takes every packet of `batch`, counts it (tx or drop), hands the descriptors to the free list, empties `batch`. */
  transmit(batch: number): void;
  /** Makes what was transmitted durable; called when the worker goes idle and at the end. Throws on I/O errors. */
  flush(): void;
  /** true: flush() has left something that is to be tried again; a worker does not sleep for long on it. */
  readonly pending?: boolean;
  close(): void;
}
