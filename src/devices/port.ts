/** What a source or sink that is no kernel queue gets from its worker: one port of the plan, with the memory it lies in. */
import type { PortCounters } from "../batches/counters.ts";
import type { PacketMemory } from "../batches/memory.ts";

export interface SoftPort {
  m: PacketMemory;
  /** The worker's free list. */
  free: number;
  counters: PortCounters;
  /** This port's own bytes in memory, as many as the device's facts asked for. */
  buffer: { address: number; bytes: number };
  /** Index of the device in the plan. */
  device: number;
  queue: number;
  /** Queues of the device. */
  queues: number;
  /** Address of an i32 that all ports of the device share, 0 at the start. */
  lock: number;
  /** Address of the pipeline's COMMAND; 0: nobody who is slow is waited for. */
  command: number;
}

/** Adds a batch's packets, bytes and datagrams to three u64 counters that lie in a row, in one call: core's measure. */
export type Measure = (batch: number, counters: number) => void;
