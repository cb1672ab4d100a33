/** A tun or tap device's parameters, from the pipeline file's untyped ones. */
import type { DeviceConfig } from "../../config/types.ts";

export type Mode = "tun" | "tap";
export type Offload = "auto" | "on" | "off";

export interface TunConfig {
  mode: Mode;
  /** Name of the interface. */
  name: string;
  queues: number;
  /** "address/length" */
  addresses: string[];
  /** "prefix/length" */
  routes: string[];
  mtu: number;
  /** undefined: the current one */
  netns: string | undefined;
  offload: Offload;
  persist: boolean;
  /** Name or number. */
  owner: string | undefined;
  group: string | undefined;
  /** undefined: the kernel's default */
  txqueuelen: number | undefined;
  /** tap only; undefined: a random one */
  mac: string | undefined;
  /** tap only */
  bridge: string | undefined;
}

/** @param config a checked one, of kind tun or tap */
export function tunConfig({ id, kind, params }: DeviceConfig): TunConfig {
  return {
    mode: kind as Mode,
    name: (params["name"] as string | undefined) || id,
    queues: params["queues"] as number,
    addresses: params["address"] as string[],
    routes: params["routes"] as string[],
    mtu: params["mtu"] as number,
    netns: (params["netns"] as string | undefined) || undefined,
    offload: params["offload"] as Offload,
    persist: params["persist"] as boolean,
    owner: (params["owner"] as string | undefined) || undefined,
    group: (params["group"] as string | undefined) || undefined,
    txqueuelen: params["txqueuelen"] as number | undefined,
    mac: params["mac"] as string | undefined,
    bridge: (params["bridge"] as string | undefined) || undefined,
  };
}
