/** Which engine this machine gives. Thread: the main one, before the workers start. */
import type { EngineName } from "../batches/control.ts";
import { close, O_RDWR, open } from "../sys/calls.ts";
import { EINVAL, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM, SystemError } from "../sys/errno.ts";
import { IORING_OP_READ, RWF_NOWAIT } from "../sys/io_uring.ts";
import { addressOf } from "../sys/memory.ts";
import { Ring } from "./uring/ring.ts";

const WHY = new Map([
  [ENOSYS, "this kernel has no io_uring"],
  [EPERM, "forbidden here, by seccomp or by the sysctl kernel.io_uring_disabled"],
  [EINVAL, "this kernel is older than Linux 6.1"],
  [EOPNOTSUPP, "this kernel's TUN driver cannot read without waiting, as Linux can since 6.4"],
  [ENOMEM, "no memory for a ring of a worker's size: see ulimit -l"],
]);

/** What is said when poll is used for want of io_uring. */
export function usingPoll(why: string): string {
  return `io_uring is not available (${why}): using poll`;
}

/** Why there is no ring, by what it was refused with. @param errno positive */
export function whyNoRing(errno: number): string {
  return WHY.get(errno) ?? new SystemError("io_uring_setup", "", errno).message;
}

/** What is thrown where io_uring is wanted and not to be had. */
export function noRing(errno: number, why: string): SystemError {
  return new SystemError("io_uring_setup", "", errno, {
    detail: why,
    hint: "use --io poll, or --io auto to take what there is",
    unavailable: true,
  });
}

/**
 * @param wanted `auto`: uring where there is one, poll otherwise
 * @returns the engine, and for `auto` why it is not uring
 * @throws SystemError when uring is wanted and not to be had
 */
export function chooseEngine(wanted: "auto" | "uring" | "poll"): { name: EngineName; notice?: string } {
  if (wanted === "poll") return { name: "poll" };
  try {
    probeRing();
    return { name: "uring" };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const why = WHY.get(error.errno) ?? error.message;
    if (wanted === "auto") return { name: "poll", notice: usingPoll(why) };
    throw noRing(error.errno, why);
  }
}

/** @throws SystemError when there is no ring, or none that reads a TUN without waiting */
function probeRing(): void {
  const ring = new Ring(4);
  try {
    const tun = open("/dev/net/tun", O_RDWR);
    // Without the device node there is no queue to read either.
    if (tun < 0) return;
    let supported: boolean;
    try {
      supported = readsWithoutWaiting(ring, tun);
    } finally {
      close(tun);
    }
    if (!supported) throw new SystemError("io_uring read", "/dev/net/tun", EOPNOTSUPP);
  } finally {
    ring.close();
  }
}

/**
 * Does a descriptor take RWF_NOWAIT? Without it a read that finds nothing is parked, and a turn of the engine would not
 * end. A TUN descriptor that belongs to no interface answers EBADFD if it does.
 */
export function readsWithoutWaiting(ring: Ring, fd: number): boolean {
  const buffer = new Uint8Array(new SharedArrayBuffer(64));
  ring.push(IORING_OP_READ, fd, addressOf(buffer), buffer.length, RWF_NOWAIT, 0, 0);
  ring.enter(1);
  const supported = ring.result(0) !== -EOPNOTSUPP;
  ring.consume(1);
  return supported;
}
