/**
 * The ports of a worker that has ended that are no kernel queues: what they hold is let go, and what waits in their buffers is
 * left to the next worker, or sent when there is none. Thread: the main one, when the worker's is gone.
 */
import type { PacketMemory } from "../batches/memory.ts";
import type { OpenedDevice } from "../devices/open.ts";
import type { SoftPort } from "../devices/port.ts";
import {
  abandonSoftPort,
  hasBegun,
  leaveSoftSource,
  openSoftSink,
  type SoftOptions,
  waitingInSoftPort,
} from "../devices/soft.ts";
import type { Plan } from "../plan/types.ts";

interface Remaining {
  id: string;
  kind: string;
  port: SoftPort;
  options: SoftOptions;
}

export class SoftRemains {
  private readonly ports: Remaining[];

  constructor(m: PacketMemory, plan: Plan, worker: number, devices: readonly OpenedDevice[]) {
    const { ports, free } = plan.workers[worker];
    this.ports = ports.flatMap(({ buffer, counters, device, queue }) => {
      const { id, kind, kernel, lock, queues } = plan.devices[device];
      if (kernel) return [];
      // No command: a reader that is slow is not waited for.
      const port: SoftPort = { m, free, counters, buffer, device, queue, queues, lock, command: 0 };
      return [{ id, kind, port, options: devices[device].soft }];
    });
  }

  /** Packets that wait in buffers, and are not lost. */
  get waiting(): number {
    return this.ports.reduce(
      (sum, { kind, port, options }) => sum + waitingInSoftPort(kind, port, options),
      0,
    );
  }

  /** Closes what sources had open. @returns why no other worker can go on with them; undefined: one can */
  leaveSources(): string | undefined {
    const reasons = this.ports.flatMap(({ id, kind, port, options }) => {
      const why = leaveSoftSource(kind, port, options);
      return why === undefined ? [] : [`it read "${id}", and ${why}`];
    });
    return reasons[0];
  }

  /** Lets go of what they hold against other workers. */
  abandon(): void {
    for (const { kind, port } of this.ports) abandonSoftPort(kind, port);
  }

  /** Sends what waits, for nobody comes after this worker. @returns what was refused */
  finish(): string[] {
    return this.ports.flatMap(({ id, kind, port, options }) => {
      if (!hasBegun(kind, port, options)) abandonSoftPort(kind, port);
      if (waitingInSoftPort(kind, port, options) === 0) return [];
      try {
        openSoftSink(kind, port, options, () => {}).close();
        return [];
      } catch (error) {
        return [`device "${id}": ${(error as Error).message}`];
      }
    });
  }
}
