/**
 * A tun or tap device of the pipeline, from its configuration to descriptors that are read and written. Thread: the
 * main one; workers get the descriptors, which belong to the process. What a read and a write of them do: README.md.
 */
import type { DeviceConfig } from "../../config/types.ts";
import { listAddresses } from "../../sys/addresses.ts";
import { close } from "../../sys/calls.ts";
import { ENODEV, SystemError } from "../../sys/errno.ts";
import { deleteLink, getLink, type Link } from "../../sys/links.ts";
import { openNamespace, withNamespace } from "../../sys/namespaces.ts";
import { type Netlink, withNetlink } from "../../sys/netlink.ts";
import { groupId, userId } from "../../sys/users.ts";
import { type Mode, type TunConfig, tunConfig } from "./config.ts";
import { configure } from "./configure.ts";
import { checkName, closeQueues, type OpenQueues, openQueues } from "./queues.ts";
import { mismatch } from "./refusal.ts";

export interface OpenDevice {
  /** Name of the interface. */
  readonly name: string;
  readonly mode: Mode;
  readonly ifindex: number;
  /** Queue i's descriptor at [i]: nonblocking, closed on exec. */
  readonly fds: readonly number[];
  /** OFFLOAD bits: what its packets may leave undone, both ways. */
  readonly offloads: number;
  /** Bytes of the struct virtio_net_hdr before each packet; 0: there is none. */
  readonly vnetHeader: number;
  /** pktflow made it; otherwise it was there, and is left as it was. */
  readonly made: boolean;
  /** The interface's own, bytes without the Ethernet header. */
  readonly mtu: number;
  /** MAC address of the kernel's side, empty for tun. */
  readonly mac: string;
  /** Where the interface is, as configured; undefined: the current network namespace. */
  readonly netns: string | undefined;
  /** What the user should know: settings that were not applied to a device that was there already. */
  readonly warnings: readonly string[];
  /** Closes the queues; what was made here is gone then, unless it is persistent. Once is enough, twice does no harm. */
  close(): void;
}

/**
 * Opens a tun or tap device: makes and configures it, or attaches to one that exists.
 * @throws SystemError; nothing stays open, and what was made is gone
 */
export function openDevice(device: DeviceConfig): OpenDevice {
  return openTun(tunConfig(device));
}

export function openTun(config: TunConfig): OpenDevice {
  checkName(config.name);
  return inNamespace(config.netns, () =>
    withNetlink((netlink) => {
      const existing = getLink(netlink, config.name);
      return existing ? attach(netlink, config, existing) : make(netlink, config);
    }),
  );
}

function inNamespace<T>(netns: string | undefined, visit: () => T): T {
  if (netns === undefined) return visit();
  const namespace = openNamespace(netns);
  try {
    return withNamespace(namespace, visit);
  } finally {
    close(namespace);
  }
}

function make(netlink: Netlink, config: TunConfig): OpenDevice {
  const queues = openQueues(config, undefined);
  try {
    configure(netlink, queues.fds[0], linkOf(netlink, config.name), config);
    return opened(config, linkOf(netlink, config.name), queues, true, []);
  } catch (error) {
    closeQueues(queues);
    throw error;
  }
}

function attach(netlink: Netlink, config: TunConfig, existing: Link): OpenDevice {
  const refused = mismatch(existing, config.mode, config.queues);
  if (refused) throw refused;
  const queues = openQueues(config, existing);
  try {
    return opened(config, existing, queues, false, attachWarnings(netlink, config, existing));
  } catch (error) {
    closeQueues(queues);
    throw error;
  }
}

function opened(
  { mode, name, netns, persist }: TunConfig,
  link: Link,
  queues: OpenQueues,
  made: boolean,
  warnings: string[],
): OpenDevice {
  let open = true;
  return {
    name,
    mode,
    ifindex: link.index,
    fds: queues.fds,
    offloads: queues.offload.offloads,
    vnetHeader: queues.offload.header,
    made,
    mtu: link.mtu,
    mac: link.mac,
    netns,
    warnings,
    close() {
      if (!open) return;
      open = false;
      closeQueues(queues);
      if (made && !persist) removeLeft(link, netns);
    },
  };
}

/**
 * The kernel removes an interface with its last descriptor, but the ring of a worker that was ended by force lets go of its
 * descriptors only when the kernel comes round to it: what is left of a run is in the next one's way.
 */
function removeLeft({ name, index }: Link, netns: string | undefined): void {
  try {
    inNamespace(netns, () =>
      withNetlink((netlink) => {
        const left = getLink(netlink, name);
        if (left?.index === index) deleteLink(netlink, left);
      }),
    );
  } catch (error) {
    // Gone meanwhile, or its namespace is.
    if (!(error instanceof SystemError)) throw error;
  }
}

function attachWarnings(netlink: Netlink, config: TunConfig, link: Link): string[] {
  const { name } = config;
  const warnings: string[] = [];
  if (!link.up)
    warnings.push(`${name} is down and nothing comes in until it is up: sudo ip link set ${name} up`);
  const differing = differences(netlink, config, link);
  if (differing.length > 0) {
    warnings.push(
      `${name} was there already and keeps its own settings; not applied: ${differing.join(", ")}`,
    );
  }
  return warnings;
}

/** Names of parameters that say something else than what an existing device has. Routes are not compared. */
function differences(netlink: Netlink, config: TunConfig, link: Link): string[] {
  const { owner, group, bridge } = config;
  const addresses = listAddresses(netlink, link);
  const differs: Record<string, boolean> = {
    address: config.addresses.some((address) => !addresses.includes(address)),
    mtu: config.mtu !== link.mtu,
    txqueuelen: config.txqueuelen !== undefined && config.txqueuelen !== link.txqueuelen,
    mac: config.mac !== undefined && config.mac !== link.mac,
    bridge: bridge !== undefined && getLink(netlink, bridge)?.index !== link.master,
    persist: config.persist && link.tun?.persist === false,
    owner: owner !== undefined && userId(owner) !== link.tun?.owner,
    group: group !== undefined && groupId(group) !== link.tun?.group,
  };
  return Object.keys(differs).filter((parameter) => differs[parameter]);
}

function linkOf(netlink: Netlink, name: string): Link {
  const link = getLink(netlink, name);
  if (!link)
    throw new SystemError("RTM_GETLINK", name, ENODEV, { detail: "it went away while it was set up" });
  return link;
}
