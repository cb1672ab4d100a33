/** Which engine this machine gives. Thread: the main one, before the workers start. */
import type { EngineName } from "../batches/control.ts";
import { EINVAL, ENOSYS, EPERM, SystemError } from "../sys/errno.ts";
import { Ring } from "./uring/ring.ts";

const WHY = new Map([
  [ENOSYS, "this kernel has no io_uring"],
  [EPERM, "forbidden here, by seccomp or by the sysctl kernel.io_uring_disabled"],
  [EINVAL, "this kernel is older than Linux 6.1"],
]);

/**
 * @param wanted `auto`: uring where there is one, poll otherwise
 * @returns the engine, and for `auto` why it is not uring
 * @throws SystemError when uring is wanted and not to be had
 */
export function chooseEngine(wanted: "auto" | "uring" | "poll"): { name: EngineName; notice?: string } {
  if (wanted === "poll") return { name: "poll" };
  try {
    new Ring(4).close();
    return { name: "uring" };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    const why = WHY.get(error.errno) ?? error.message;
    if (wanted === "auto") return { name: "poll", notice: `io_uring is not available (${why}): using poll` };
    throw new SystemError("io_uring_setup", "", error.errno, {
      detail: why,
      hint: "use --io poll, or --io auto to take what there is",
      unavailable: true,
    });
  }
}
