/** Writes that the kernel refused: each is counted under a reason, and one that has none of its own is told of, once. */
import { DROP_REASONS, type DropReason } from "../batches/counters.ts";
import { counterAdd, type PacketMemory } from "../batches/memory.ts";
import {
  EAGAIN,
  EBADFD,
  EINVAL,
  EIO,
  EMSGSIZE,
  ENETDOWN,
  ENOBUFS,
  ENOMEM,
  SystemError,
} from "../sys/errno.ts";
import type { KernelPort } from "./types.ts";

const REASON_OF_ERRNO: ReadonlyMap<number, DropReason> = new Map([
  [EAGAIN, "would-block"],
  [EIO, "down"],
  [ENETDOWN, "down"],
  [EINVAL, "invalid"],
  [ENOBUFS, "no-memory"],
  [ENOMEM, "no-memory"],
  [EMSGSIZE, "too-long"],
]);

/** Index in DROP_REASONS of the reason for a failed write. @param errno positive */
export function dropReason(errno: number): number {
  return DROP_REASONS.indexOf(REASON_OF_ERRNO.get(errno) ?? "io-error");
}

const TOO_LONG = 8 * DROP_REASONS.indexOf("too-long");

/**
 * Counts a packet that filled all the room there was, so that its end may be cut off: received, and dropped. Slots are
 * sized for the MTU at the start and some more; it grew since.
 */
export function dropTooLong(m: PacketMemory, { plan }: KernelPort, length: number): void {
  const { rxPackets, rxBytes, rxDatagrams, drops } = plan.counters;
  counterAdd(m, rxPackets, 1);
  counterAdd(m, rxBytes, length);
  counterAdd(m, rxDatagrams, 1);
  counterAdd(m, drops + TOO_LONG, 1);
}

/** The refused writes of one engine. */
export class RefusedWrites {
  /** The first refusal of each port and errno that is counted as io-error. */
  readonly warnings: string[] = [];
  private readonly m: PacketMemory;
  private readonly told = new Set<number>();

  constructor(m: PacketMemory) {
    this.m = m;
  }

  /**
   * Counts one packet that was not taken.
   * @param errno positive
   * @returns the error that ends the run: the device is gone; undefined otherwise
   */
  count(port: KernelPort, errno: number): SystemError | undefined {
    const { counters, device, queue } = port.plan;
    counterAdd(this.m, counters.drops + 8 * dropReason(errno), 1);
    if (REASON_OF_ERRNO.has(errno)) return undefined;
    if (errno === EBADFD) return new SystemError("write", port.label, errno, { detail: GONE });
    const key = (device * 256 + queue) * 4096 + errno;
    if (!this.told.has(key)) {
      this.told.add(key);
      this.warnings.push(new SystemError("write", port.label, errno, { detail: "first of these" }).message);
    }
    return undefined;
  }
}

/** What EBADFD of a tun or tap queue means. */
export const GONE = "the interface was removed";
