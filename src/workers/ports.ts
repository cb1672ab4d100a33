/** The queues a worker reads and writes, kernel's and soft ones alike, opened on the worker's thread. */
import { PIPELINE_CONTROL } from "../batches/control.ts";
import { DEVICE_INFO } from "../batches/layout.ts";
import type { PacketMemory } from "../batches/memory.ts";
import type { SoftPort } from "../devices/port.ts";
import { openSoftSink, openSoftSource } from "../devices/soft.ts";
import type { KernelPort, SoftSink, SoftSource } from "../io/types.ts";
import type { PortPlan } from "../plan/types.ts";
import type { Core } from "./core.ts";
import type { WorkerTask } from "./task.ts";

export interface WorkerPort {
  plan: PortPlan;
  /** 2 or 3. */
  layer: number;
  /** Its packets come with a struct virtio_net_hdr. */
  hasVnetHeader: boolean;
  /** Index of the path on which its packets start; -1: it is only written to. */
  path: number;
  /** Index among the engine's ports; -1: it is no kernel queue. */
  engineIndex: number;
  source: SoftSource | undefined;
  sink: SoftSink | undefined;
  /** Its source has nothing more to give. */
  ended: boolean;
}

/** Opens worker `task.worker`'s ports. What was opened is closed again if one of them fails. */
export function openPorts(
  task: WorkerTask,
  m: PacketMemory,
  core: Core,
): { ports: WorkerPort[]; kernel: KernelPort[] } {
  const { plan } = task;
  const worker = plan.workers[task.worker];
  const ports: WorkerPort[] = [];
  const kernel: KernelPort[] = [];
  try {
    for (const port of worker.ports) {
      const device = plan.devices[port.device];
      const opened: WorkerPort = {
        plan: port,
        layer: device.layer,
        hasVnetHeader: device.vnetHeader > 0,
        path: port.path,
        engineIndex: -1,
        source: undefined,
        sink: undefined,
        ended: false,
      };
      ports.push(opened);
      if (device.kernel) {
        const fd = task.fds[port.device][port.queue];
        const info = plan.deviceInfo + port.device * DEVICE_INFO.SIZE;
        const label = `${device.id} queue ${port.queue}`;
        opened.engineIndex = kernel.push({ plan: port, fd, label, info, header: device.vnetHeader }) - 1;
        continue;
      }
      const soft: SoftPort = {
        m,
        free: worker.free,
        counters: port.counters,
        buffer: port.buffer,
        device: port.device,
        queue: port.queue,
        queues: device.queues,
        lock: device.lock,
        command: plan.control + PIPELINE_CONTROL.COMMAND,
      };
      const options = task.soft[port.device];
      if (port.path >= 0) opened.source = openSoftSource(device.kind, soft, options);
      if (port.transmits) opened.sink = openSoftSink(device.kind, soft, options, core.measure);
    }
  } catch (error) {
    closePorts(ports);
    throw error;
  }
  return { ports, kernel };
}

/**
 * Flushes and closes every soft port, all of them even if one fails.
 * @returns what failed: a truncated capture, a full disk
 */
export function closePorts(ports: WorkerPort[]): unknown[] {
  const failures: unknown[] = [];
  const attempt = (action: () => void) => {
    try {
      action();
    } catch (error) {
      failures.push(error);
    }
  };
  for (const { source, sink } of ports) {
    if (sink !== undefined) {
      attempt(() => sink.flush());
      attempt(() => sink.close());
    }
    if (source !== undefined) attempt(() => source.close());
  }
  return failures;
}
