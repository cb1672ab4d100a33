/** From the errno of a refused write to the reason it is counted under. */
import { DROP_REASONS, type DropReason } from "../batches/counters.ts";
import { EAGAIN, EINVAL, EIO, EMSGSIZE, ENETDOWN, ENOBUFS, ENOMEM } from "../sys/errno.ts";

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
