/** Chooses the engine that moves a worker's kernel queues. */
import type { EngineName } from "../batches/control.ts";
import type { PacketMemory } from "../batches/memory.ts";
import type { WorkerPlan } from "../plan/types.ts";
import { PollEngine } from "./poll/engine.ts";
import type { Engine, KernelPort } from "./types.ts";
import { UringEngine } from "./uring/engine.ts";

/**
 * @param wake the worker's eventfd: whoever signals it ends the engine's sleep
 * @throws SystemError when the kernel has no io_uring for us
 */
export function createEngine(
  name: EngineName,
  m: PacketMemory,
  worker: WorkerPlan,
  ports: KernelPort[],
  wake: number,
): Engine {
  return name === "uring" ? new UringEngine(m, worker, ports, wake) : new PollEngine(m, worker, ports, wake);
}
