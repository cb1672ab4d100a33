/**
 * Devices that refused what they had promised, as the workers write it down while they run: said when it happens, for
 * throughput falls several times then. Thread: the main one.
 */

import { DEVICE_INFO } from "../batches/layout.ts";
import { counterRead, type PacketMemory } from "../batches/memory.ts";
import { REFUSED, withoutOffloads } from "../io/drops.ts";
import type { Plan } from "../plan/types.ts";

/** ms */
const LOOK = 500;

/** @returns what ends it */
export function watchOffloads(m: PacketMemory, plan: Plan, say: (warning: string) => void): () => void {
  const promised = plan.devices.flatMap(({ offloads }, device) => (offloads === 0 ? [] : [device]));
  const left = new Set(promised);
  const look = () => {
    for (const device of left) {
      const info = plan.deviceInfo + device * DEVICE_INFO.SIZE;
      if (Atomics.load(m.u32, (info + DEVICE_INFO.OFFLOADS) >>> 2) !== 0) continue;
      left.delete(device);
      const port = plan.workers
        .flatMap(({ ports }) => ports)
        .find((one) => one.device === device && counterRead(m, one.counters.offload + REFUSED) > 0);
      if (port !== undefined) say(withoutOffloads(`${plan.devices[device].id} queue ${port.queue}`));
    }
  };
  if (promised.length === 0) return () => {};
  const timer = setInterval(look, LOOK).unref();
  return () => clearInterval(timer);
}
