/**
 * What moves batches between devices and the pipeline's memory. Thread: the worker's. The loop owns every batch;
 * an engine or a sink hands descriptors back to the worker's free list when it is done with them.
 */

/** Addresses of a port's counters (u64 each), filled by whoever moves the packets. */
export interface PortCounters {
  rxPackets: number;
  rxBytes: number;
  rxDatagrams: number;
  txPackets: number;
  txBytes: number;
  txDatagrams: number;
  /** Base of the drop counters, indexed as DROP_REASONS. */
  drops: number;
  /** Base of the malformed counters, indexed as MALFORMED; core's dissect counts. */
  malformed: number;
}

/** Why a device did not take a packet, or could not give one. The report counts by these names. */
export const DROP_REASONS = [
  /** EAGAIN: the queue of the device is full. Flow control, not an error. */
  "would-block",
  /** EIO, ENETDOWN: the interface is down. */
  "down",
  /** EINVAL: the kernel refused the packet itself (version nibble, vnet_hdr). */
  "invalid",
  /** ENOBUFS, ENOMEM. */
  "no-memory",
  /** Longer than the device's MTU, or than a slot. */
  "too-long",
  /** Layer or link type that the device cannot carry. */
  "wrong-layer",
  /** Any other errno; the worker logs the first of each. */
  "io-error",
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

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
  close(): void;
}
