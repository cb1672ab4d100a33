/**
 * Counters of a port as they lie in the pipeline's memory, u64 each. One writer (the port's worker), any reader.
 *
 *    0           8         16            24          32        40            48       48 + 8 * reasons
 *   +-----------+---------+-------------+-----------+---------+-------------+--------+-----------+----------+
 *   | rxPackets | rxBytes | rxDatagrams | txPackets | txBytes | txDatagrams | drops… | malformed…| offload… |
 *   +-----------+---------+-------------+-----------+---------+-------------+--------+-----------+----------+
 */
import { MALFORMED } from "./layout.ts";

/** Why a device did not take a packet. The report counts by these names. */
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
  /** A super-packet had to be cut and no slot was free for its segments. */
  "no-slot",
  /** Any other errno; the worker logs the first of each. */
  "io-error",
] as const;
export type DropReason = (typeof DROP_REASONS)[number];

/** What core and the engine did to packets on their way out, by the index in PortCounters.offload. */
export const OFFLOAD_COUNTERS = [
  /** Packets that came into being because a super-packet was cut: one less than its segments. */
  "segmented",
  /** Packets that went into another one as its segments. */
  "coalesced",
  /** Checksums completed, of segments too. */
  "checksummed",
  /** Packets that the kernel refused (EINVAL) with work left to it, and that were finished here instead. */
  "refused",
] as const;
export type OffloadCounter = (typeof OFFLOAD_COUNTERS)[number];

/** Addresses of one port's counters. */
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
  /** Base of the offload counters, indexed as OFFLOAD_COUNTERS. */
  offload: number;
}

export const PORT_COUNTERS_BYTES = 8 * (6 + DROP_REASONS.length + MALFORMED.length + OFFLOAD_COUNTERS.length);

export function portCounters(base: number): PortCounters {
  const drops = base + 48;
  const malformed = drops + 8 * DROP_REASONS.length;
  return {
    rxPackets: base,
    rxBytes: base + 8,
    rxDatagrams: base + 16,
    txPackets: base + 24,
    txBytes: base + 32,
    txDatagrams: base + 40,
    drops,
    malformed,
    offload: malformed + 8 * MALFORMED.length,
  };
}

/**
 * What the host counts of a filter instance, u64 each, from InstancePlan.host; then why it trapped last.
 *
 *    0            8                 16      24        32            40      48                52
 *   +------------+-----------------+-------+---------+-------------+-------+-----------------+---------------+
 *   | sampled ns | sampled packets | traps | trapped | pausedUntil | pause | reason's length | reason, ASCII |
 *   +------------+-----------------+-------+---------+-------------+-------+-----------------+---------------+
 */
export const HOST_COUNTER = {
  /** ns spent in the batches that were timed, and the packets in them. */
  SAMPLED_NS: 0,
  SAMPLED_PACKETS: 8,
  TRAPS: 16,
  /** Packets dropped because the filter trapped, or was waiting to be made anew. */
  TRAPPED: 24,
  /** CLOCK_MONOTONIC ns until which a new worker leaves the filter alone, for it has hung there; 0: it does not. */
  PAUSED_UNTIL: 32,
  /** How long that pause was, ns. */
  PAUSE: 40,
  REASON_LENGTH: 48,
  REASON: 52,
  REASON_BYTES: 76,
  BYTES: 128,
} as const;
