/** What the plan must know of a memory device. */
import type { ParamValues } from "../../params/types.ts";
import type { DeviceFacts } from "../../plan/types.ts";
import { ringBytes } from "./ring.ts";

export function memoryFacts(params: ParamValues): DeviceFacts {
  return {
    layer: params["layer"] as 2 | 3,
    mtu: params["mtu"] as number,
    queues: params["queues"] as number,
    kernel: false,
    // It ends when the program says so.
    finite: true,
    bufferBytes: 2 * ringBytes(params["buffer"] as number),
    offloads: 0,
    vnetHeader: 0,
  };
}
