/** The generator before any worker runs: its parameters checked, what the plan must know, plain data for the workers. */
import type { DeviceConfig } from "../../config/types.ts";
import type { ParamValue, ParamValues, Rate } from "../../params/types.ts";
import type { DeviceFacts } from "../../plan/types.ts";
import { readFlows } from "./flows.ts";
import type { GeneratorSourceOptions } from "./source.ts";
import { templateBytes } from "./templates.ts";

/** @throws Error when a flow cannot be made */
export function generatorFacts(params: ParamValues): DeviceFacts {
  const flows = readFlows(params["flows"] as ParamValue[]);
  return {
    layer: 3,
    mtu: flows.reduce((longest, { sizes }) => Math.max(longest, ...sizes), 0),
    queues: params["queues"] as number,
    kernel: false,
    finite: (params["packets"] as number) > 0,
    bufferBytes: templateBytes(flows),
    offloads: 0,
    vnetHeader: 0,
  };
}

/** @throws Error when a flow cannot be made */
export function prepareGenerator({ params }: DeviceConfig): GeneratorSourceOptions {
  return {
    flows: readFlows(params["flows"] as ParamValue[]),
    rate: params["rate"] as Rate | undefined,
    packets: params["packets"] as number,
    seed: params["seed"] as number,
  };
}
