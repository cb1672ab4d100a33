/** What a device's configuration alone says about it: all there is for `pktflow check`, a start for opening it. */
import { ALL_OFFLOADS, VNET_HEADER } from "../batches/layout.ts";
import type { DeviceConfig } from "../config/types.ts";
import type { DeviceFacts } from "../plan/types.ts";
import { generatorFacts } from "./generator/prepare.ts";
import { memoryFacts } from "./memory/facts.ts";
import { pcapFacts } from "./pcap/prepare.ts";

const DISCARD: DeviceFacts = {
  layer: 0,
  mtu: 0,
  queues: 1,
  kernel: false,
  finite: false,
  bufferBytes: 0,
  // Nobody will read it.
  offloads: ALL_OFFLOADS,
  vnetHeader: 0,
};

/** @throws Error that names the device when its parameters contradict each other */
export function factsBeforeOpening(device: DeviceConfig): DeviceFacts {
  try {
    return factsOf(device);
  } catch (error) {
    throw new Error(`device "${device.id}": ${(error as Error).message}`);
  }
}

function factsOf({ kind, params }: DeviceConfig): DeviceFacts {
  switch (kind) {
    case "tun":
    case "tap":
      return {
        layer: kind === "tun" ? 3 : 2,
        mtu: params["mtu"] as number,
        queues: params["queues"] as number,
        kernel: true,
        finite: false,
        bufferBytes: 0,
        // What the kernel gives is known when the device is open.
        ...(params["offload"] === "off"
          ? { offloads: 0, vnetHeader: 0 }
          : { offloads: ALL_OFFLOADS, vnetHeader: VNET_HEADER }),
      };
    case "pcap":
      return pcapFacts(params);
    case "generator":
      return generatorFacts(params);
    case "memory":
      return memoryFacts(params);
    case "discard":
      return { ...DISCARD };
    default:
      throw new Error(`device kind "${kind}" has no facts`);
  }
}
