/**
 * The hosts of a lab: one network namespace for each tun or tap device of a pipeline. In: a checked pipeline. Out: the
 * same pipeline with its devices inside the namespaces. The namespaces have no names, so that nothing but the
 * descriptors of this process keeps them: however it dies, they and the devices in them are gone with it.
 */
import { writeFileSync } from "node:fs";
import type { DeviceConfig, Pipeline } from "../config/types.ts";
import type { Family } from "../params/addresses.ts";
import type { ParamValues } from "../params/types.ts";
import { close } from "../sys/calls.ts";
import { ENODEV, SystemError } from "../sys/errno.ts";
import { getLink, setLinkUp } from "../sys/links.ts";
import { createNamespace, withNamespace } from "../sys/namespaces.ts";
import { withNetlink } from "../sys/netlink.ts";

export interface HostAddress {
  family: Family;
  /** Canonical text. */
  address: string;
  /** Bits of its network. */
  length: number;
}

export interface Host {
  /** Id of the device through which it reaches the pipeline. */
  device: string;
  layer: 2 | 3;
  addresses: HostAddress[];
  /** Descriptor of its network namespace, closed on exec. */
  namespace: number;
}

export interface Topology {
  hosts: Host[];
  /** To be started instead of the one that was given. */
  pipeline: Pipeline;
  /** Another version of that one, with its devices at the same hosts. */
  move(pipeline: Pipeline): Pipeline;
  /** Once the pipeline has ended. */
  close(): void;
}

/** Is the device one that gets a host in a lab? */
export function isHostDevice({ kind }: Pick<DeviceConfig, "kind">): boolean {
  return kind === "tun" || kind === "tap";
}

/**
 * Makes the namespaces.
 * @throws SystemError, EPERM where namespaces may not be made; none is left then
 */
export function makeTopology(pipeline: Pipeline): Topology {
  const hosts: Host[] = [];
  const closeAll = () => {
    for (const host of hosts.splice(0)) close(host.namespace);
  };
  try {
    for (const device of pipeline.devices.filter(isHostDevice)) {
      const host: Host = {
        device: device.id,
        layer: device.kind === "tap" ? 2 : 3,
        addresses: (device.params["address"] as string[]).map(hostAddress),
        namespace: createNamespace(),
      };
      hosts.push(host);
      withNamespace(host.namespace, () => setUp(host));
    }
  } catch (error) {
    closeAll();
    throw error;
  }
  const move = (version: Pipeline): Pipeline => {
    const devices = version.devices.map((device) => {
      const host = isHostDevice(device) ? hosts.find(({ device: id }) => id === device.id) : undefined;
      return host ? { ...device, params: hostParams(device.params, host) } : device;
    });
    return { ...version, devices };
  };
  return { hosts, pipeline: move(pipeline), move, close: closeAll };
}

function hostAddress(text: string): HostAddress {
  const [address, length] = text.split("/");
  return { family: address.includes(":") ? 6 : 4, address, length: Number(length) };
}

/**
 * A device's parameters in the lab. What concerns the machine outside goes: a bridge is not in the namespace, an owner
 * is not in a user namespace, and a device that persists could only persist until the namespace goes.
 */
function hostParams(params: ParamValues, host: Host): ParamValues {
  const { bridge: _, owner: __, group: ___, ...kept } = params;
  const defaults = [
    ...(host.addresses.some(({ family }) => family === 4) ? ["0.0.0.0/0"] : []),
    ...(host.addresses.some(({ family }) => family === 6) ? ["::/0"] : []),
  ];
  return {
    ...kept,
    netns: `/proc/self/fd/${host.namespace}`,
    routes: [...new Set([...((params["routes"] as string[]) ?? []), ...defaults])],
    persist: false,
  };
}

function setUp({ device, layer }: Host): void {
  withNetlink((netlink) => {
    const lo = getLink(netlink, "lo");
    if (!lo) throw new SystemError("RTM_GETLINK", "lo", ENODEV, { detail: `in the namespace of ${device}` });
    setLinkUp(netlink, lo, true);
  });
  // What the kernel says of its own accord would pass through the pipeline and stand in its counters.
  quiet("router_solicitations", "0");
  quiet("accept_ra", "0");
  // Neighbour discovery on Ethernet wants a link-local address; elsewhere it is only announced to nobody (1: none).
  if (layer === 3) quiet("addr_gen_mode", "1");
}

/** A setting for the interfaces that will be made in this thread's namespace. */
function quiet(setting: string, value: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/default/${setting}`, value);
  } catch {
    // No IPv6, or /proc/sys is read-only, as in containers: a few packets more, and nothing else.
  }
}
