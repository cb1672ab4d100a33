/**
 * A worker's io_uring, known to the main thread: a worker that is ended by force closes nothing, and its ring would keep
 * the devices' queues. The worker writes down what it has mapped; the main thread releases it when the thread is gone.
 */
import { WORKER_CONTROL } from "../../batches/control.ts";
import { type PacketMemory, u64Read, u64Write } from "../../batches/memory.ts";
import { type RingMapping, releaseRing } from "../../sys/io_uring.ts";

/** @param control WorkerPlan.control */
export function rememberRing(m: PacketMemory, control: number, mapping: RingMapping): void {
  u64Write(m, control + WORKER_CONTROL.RING_ADDRESS, mapping.ringAddress);
  u64Write(m, control + WORKER_CONTROL.RING_SQE_ADDRESS, mapping.sqeAddress);
  m.u32[(control + WORKER_CONTROL.RING_BYTES) >>> 2] = mapping.ringBytes;
  m.u32[(control + WORKER_CONTROL.RING_SQE_BYTES) >>> 2] = mapping.sqeBytes;
  Atomics.store(m.u32, (control + WORKER_CONTROL.RING) >>> 2, mapping.fd + 1);
}

export function forgetRing(m: PacketMemory, control: number): void {
  Atomics.store(m.u32, (control + WORKER_CONTROL.RING) >>> 2, 0);
}

/** Releases what a worker whose thread has ended left behind, if anything. */
export function releaseOrphan(m: PacketMemory, control: number): void {
  const fd = Atomics.exchange(m.u32, (control + WORKER_CONTROL.RING) >>> 2, 0) - 1;
  if (fd < 0) return;
  releaseRing({
    fd,
    ringAddress: u64Read(m, control + WORKER_CONTROL.RING_ADDRESS),
    ringBytes: m.u32[(control + WORKER_CONTROL.RING_BYTES) >>> 2],
    sqeAddress: u64Read(m, control + WORKER_CONTROL.RING_SQE_ADDRESS),
    sqeBytes: m.u32[(control + WORKER_CONTROL.RING_SQE_BYTES) >>> 2],
  });
}
