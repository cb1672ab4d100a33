/**
 * Writes that the kernel refused: each is counted under a reason, and one that has none of its own is told of, once.
 *
 * EINVAL for a sound packet is another matter: some kernels accept an offload and then refuse the header that makes use
 * of it. Such a packet is finished in software and written again; if that succeeds, it was the header, and the device
 * does without offloads from then on.
 */
import { DROP_REASONS, type DropReason, OFFLOAD_COUNTERS } from "../batches/counters.ts";
import { DESCRIPTOR, DEVICE_INFO, OUTPUT_FINISH } from "../batches/layout.ts";
import { batchPush, counterAdd, type PacketMemory } from "../batches/memory.ts";
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

export const REFUSED = 8 * OFFLOAD_COUNTERS.indexOf("refused");

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

  /**
   * Gives a refused packet back to be finished, if anything was left undone in it.
   * @param result of the write, -errno
   * @returns true: it is in the port's exitBatch, and neither to be counted nor to be freed
   */
  finishInstead(port: KernelPort, d: number, result: number): boolean {
    const { m } = this;
    if (result !== -EINVAL || port.header === 0) return false;
    if (m.u8[d + DESCRIPTOR.OUTPUT] === OUTPUT_FINISH) return false;
    if (m.u8[d + DESCRIPTOR.VNET_FLAGS] === 0 && m.u8[d + DESCRIPTOR.VNET_GSO_TYPE] === 0) return false;
    m.u8[d + DESCRIPTOR.OUTPUT] = OUTPUT_FINISH;
    batchPush(m, port.plan.exitBatch, d);
    counterAdd(m, port.plan.counters.offload + REFUSED, 1);
    return true;
  }

  /** A packet was written. If it was refused before, its device refuses what it has promised: no more of that. */
  written(port: KernelPort, d: number): void {
    if (this.m.u8[d + DESCRIPTOR.OUTPUT] !== OUTPUT_FINISH) return;
    const before = Atomics.exchange(this.m.u32, (port.info + DEVICE_INFO.OFFLOADS) >>> 2, 0);
    if (before === 0) return;
    this.warnings.push(withoutOffloads(port.label));
  }
}

/** What is said when a device turned out to refuse what it had promised. The main thread finds out from DEVICE_INFO. */
export function withoutOffloads(label: string): string {
  return (
    `${label}: the kernel refused a packet with its checksum or segments left to it (EINVAL), ` +
    "and took it finished: the device does without offloads from now on"
  );
}

/** What EBADFD of a tun or tap queue means. */
export const GONE = "the interface was removed";
