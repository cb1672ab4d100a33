/**
 * A pipeline without the kernel: what a host would send comes from a generator, and whatever a device would take is
 * discarded. Filters and paths stay as they are. Pure.
 */
import type { DeviceConfig, Pipeline } from "../config/types.ts";
import type { ParamValue } from "../params/types.ts";
import { NoTraffic } from "./traffic.ts";

/** Id of the generator; no device of a file can have it, for it begins with a digit. */
export const LOAD_DEVICE = "0";

export interface ChainTraffic {
  /** Bytes of the IP packets. */
  size: number;
  flows: number;
  /** UDP port it goes to. */
  port: number;
  source: string | undefined;
}

/**
 * The pipeline with its first source replaced. Does it have a generator, then that one's flows stand for themselves.
 * @throws NoTraffic: there is no source whose packets could be made up
 */
export function inMemory(pipeline: Pipeline, workers: number, traffic: ChainTraffic): Pipeline {
  const source = sourceOf(pipeline, traffic.source);
  const flows = source.kind === "generator" ? source.params["flows"] : [madeUp(pipeline, source, traffic)];
  const load: DeviceConfig = {
    id: LOAD_DEVICE,
    kind: "generator",
    params: { flows, packets: 0, seed: 1, queues: workers },
  };
  return {
    ...pipeline,
    workers,
    devices: [load, ...pipeline.devices.map(({ id }) => ({ id, kind: "discard", params: {} }))],
    paths: pipeline.paths.map((path) => ({
      ...path,
      from: path.from.includes(source.id) ? [LOAD_DEVICE] : [],
    })),
  };
}

/** The generator if there is one, else the first device with an address from which a path leads on. */
function sourceOf({ devices, paths }: Pipeline, wanted: string | undefined): DeviceConfig {
  const sources = devices.filter(({ id }) => paths.some(({ from }) => from.includes(id)));
  const named = sources.filter(({ id }) => wanted === undefined || id === wanted);
  const found =
    named.find(({ kind }) => kind === "generator") ?? named.find((device) => addressesOf(device).length > 0);
  if (found !== undefined) return found;
  throw new NoTraffic(
    wanted === undefined
      ? "there is no generator, and no tun or tap device that has an address, to make up packets from"
      : `no path leads from ${wanted}, or it has no address to make up packets from`,
  );
}

function addressesOf({ params }: DeviceConfig): string[] {
  return (params["address"] as string[] | undefined) ?? [];
}

/** UDP from the network of a host to the address of another one. */
function madeUp(pipeline: Pipeline, source: DeviceConfig, { size, flows, port }: ChainTraffic): ParamValue {
  const from = addressesOf(source)[0];
  const family = (text: string) => text.includes(":");
  const others = pipeline.devices.filter(({ id }) => id !== source.id).flatMap(addressesOf);
  const to = others.find((address) => family(address) === family(from)) ?? from;
  return {
    proto: "udp",
    from: networkOf(from),
    to: `${to.split("/")[0]}/${family(to) ? 128 : 32}`,
    "from-port": { first: 1024, last: 65_535 },
    "to-port": { first: port, last: port },
    size: [size],
    count: flows,
  };
}

/** "10.77.0.1/24" -> "10.77.0.0/24"; IPv6 stands for itself, for one address has ports enough. */
function networkOf(address: string): string {
  const [host, length] = address.split("/");
  if (host.includes(":")) return `${host}/128`;
  const bits = host.split(".").reduce((sum, octet) => sum * 256 + Number(octet), 0);
  const size = 2 ** (32 - Number(length));
  const first = bits - (bits % size);
  const octets = [24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256);
  return `${octets.join(".")}/${length}`;
}
