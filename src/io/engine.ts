/** Chooses the engine that moves a worker's kernel queues. */
import type { EngineName } from "../batches/control.ts";
import type { PacketMemory } from "../batches/memory.ts";
import type { WorkerPlan } from "../plan/types.ts";
import { SystemError } from "../sys/errno.ts";
import { PollEngine } from "./poll/engine.ts";
import { noRing, whyNoRing } from "./probe.ts";
import type { Engine, KernelPort } from "./types.ts";
import { UringEngine } from "./uring/engine.ts";

/**
 * @param name what the probe has found; `auto` says that poll will do where there is no ring of this worker's size after
 * all, for the probe's was a small one
 * @param wake the worker's eventfd: whoever signals it ends the engine's sleep
 * @returns the engine, and the errno with which a ring was refused: 0, or it is poll's turn
 * @throws SystemError when the kernel has no io_uring for us
 */
export function createEngine(
  { name, auto }: { name: EngineName; auto: boolean },
  m: PacketMemory,
  worker: WorkerPlan,
  ports: KernelPort[],
  wake: number,
): { engine: Engine; refusal: number } {
  const poll = (refusal: number) => ({ engine: new PollEngine(m, worker, ports, wake), refusal });
  if (name !== "uring") return poll(0);
  try {
    return { engine: new UringEngine(m, worker, ports, wake), refusal: 0 };
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    if (auto) return poll(error.errno);
    throw noRing(error.errno, whyNoRing(error.errno));
  }
}
