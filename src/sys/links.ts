/** Network interfaces over rtnetlink: looking at them and changing them. */
import { ENODEV, SystemError } from "./errno.ts";
import { Attributes, Message, type Netlink } from "./netlink.ts";

// <linux/rtnetlink.h>
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const IFINFOMSG_BYTES = 16;
// <linux/if_link.h>
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_TXQLEN = 13;
const IFLA_LINKINFO = 18;
const IFLA_STATS64 = 23;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const IFLA_TUN_OWNER = 1;
const IFLA_TUN_GROUP = 2;
const IFLA_TUN_TYPE = 3;
const IFLA_TUN_PI = 4;
const IFLA_TUN_VNET_HDR = 5;
const IFLA_TUN_PERSIST = 6;
const IFLA_TUN_MULTI_QUEUE = 7;
const IFLA_TUN_NUM_QUEUES = 8;
const IFLA_TUN_NUM_DISABLED_QUEUES = 9;
const TUN_TYPE_TAP = 2;
// <linux/if.h>
export const IFF_UP = 0x1;

/** What the tun driver says of a device (Linux 4.20 and later). */
export interface TunInfo {
  type: "tun" | "tap";
  /** uid; undefined: anyone with CAP_NET_ADMIN */
  owner: number | undefined;
  group: number | undefined;
  pi: boolean;
  vnetHdr: boolean;
  multiQueue: boolean;
  persist: boolean;
  /** Descriptors attached, of a multi-queue device. */
  queues: number | undefined;
  disabledQueues: number | undefined;
}

export interface Link {
  index: number;
  name: string;
  /** IFF_ bits. */
  flags: number;
  up: boolean;
  mtu: number;
  txqueuelen: number;
  /** "xx:xx:xx:xx:xx:xx"; empty for a device without addresses, as tun */
  mac: string;
  /** "tun" (tap too), "veth", "bridge", ...; empty for what is no virtual device. */
  kind: string;
  /** Index of the bridge it is in; 0: none. */
  master: number;
  tun: TunInfo | undefined;
}

/** @returns undefined: there is none of that name in the namespace. @throws SystemError */
export function getLink(netlink: Netlink, name: string): Link | undefined {
  const message = linkMessage(RTM_GETLINK, 0).string(IFLA_IFNAME, name);
  try {
    return readLink(netlink.get(message, { call: "RTM_GETLINK", target: name }));
  } catch (error) {
    if (error instanceof SystemError && error.errno === ENODEV) return undefined;
    throw error;
  }
}

/** struct rtnl_link_stats64, as far as anyone asks. */
export interface LinkStats {
  rxPackets: number;
  txPackets: number;
  rxBytes: number;
  txBytes: number;
  rxDropped: number;
  txDropped: number;
}

/** What the kernel has counted of an interface. @throws SystemError, ENODEV: there is none of that name */
export function getLinkStats(netlink: Netlink, name: string): LinkStats {
  const message = linkMessage(RTM_GETLINK, 0).string(IFLA_IFNAME, name);
  const payload = netlink.get(message, { call: "RTM_GETLINK", target: name });
  const octets = new Attributes(payload, IFINFOMSG_BYTES).octets(IFLA_STATS64);
  if (octets === undefined || octets.length < 64) {
    throw new SystemError("RTM_GETLINK", name, ENODEV, { detail: "the kernel says nothing of its counters" });
  }
  // u64 each: rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped, ...
  const view = new DataView(octets.buffer, octets.byteOffset, octets.byteLength);
  const at = (index: number) =>
    view.getUint32(8 * index + 4, true) * 2 ** 32 + view.getUint32(8 * index, true);
  return {
    rxPackets: at(0),
    txPackets: at(1),
    rxBytes: at(2),
    txBytes: at(3),
    rxDropped: at(6),
    txDropped: at(7),
  };
}

/** In the kernel's order. @param kind only these; "tun" gives tap devices too */
export function listLinks(netlink: Netlink, kind?: string): Link[] {
  const message = linkMessage(RTM_GETLINK, 0);
  if (kind !== undefined) message.nested(IFLA_LINKINFO, (m) => m.string(IFLA_INFO_KIND, kind));
  const links = netlink.dump(message, { call: "RTM_GETLINK", target: "all" }).map(readLink);
  // The kernel passes over the filter when it does not know the kind (the module is not loaded).
  return kind === undefined ? links : links.filter((link) => link.kind === kind);
}

export type LinkRef = Pick<Link, "index" | "name">;

export function setLinkUp(netlink: Netlink, { index, name }: LinkRef, up: boolean): void {
  const message = linkMessage(RTM_NEWLINK, index, up ? IFF_UP : 0, IFF_UP);
  netlink.change(message, { call: "RTM_NEWLINK", target: `${name} ${up ? "up" : "down"}` });
}

/** @param mtu bytes */
export function setLinkMtu(netlink: Netlink, { index, name }: LinkRef, mtu: number): void {
  const message = linkMessage(RTM_NEWLINK, index).u32(IFLA_MTU, mtu);
  netlink.change(message, { call: "RTM_NEWLINK", target: `${name} mtu ${mtu}` });
}

/** @param length packets that the kernel keeps for a reader */
export function setLinkTxqueuelen(netlink: Netlink, { index, name }: LinkRef, length: number): void {
  const message = linkMessage(RTM_NEWLINK, index).u32(IFLA_TXQLEN, length);
  netlink.change(message, { call: "RTM_NEWLINK", target: `${name} txqueuelen ${length}` });
}

/** @param mac "xx:xx:xx:xx:xx:xx" */
export function setLinkMac(netlink: Netlink, { index, name }: LinkRef, mac: string): void {
  const octets = mac.split(":").map((octet) => Number.parseInt(octet, 16));
  const message = linkMessage(RTM_NEWLINK, index).octets(IFLA_ADDRESS, octets);
  netlink.change(message, { call: "RTM_NEWLINK", target: `${name} address ${mac}` });
}

/** Puts an interface into a bridge. @param master undefined: takes it out */
export function setLinkMaster(netlink: Netlink, { index, name }: LinkRef, master: LinkRef | undefined): void {
  const message = linkMessage(RTM_NEWLINK, index).u32(IFLA_MASTER, master?.index ?? 0);
  const target = master ? `${name} master ${master.name}` : `${name} nomaster`;
  netlink.change(message, { call: "RTM_NEWLINK", target });
}

export function deleteLink(netlink: Netlink, { index, name }: LinkRef): void {
  netlink.change(linkMessage(RTM_DELLINK, index), { call: "RTM_DELLINK", target: name });
}

/** struct ifinfomsg: u8 family, u8 pad, u16 type, i32 index, u32 flags, u32 change. */
function linkMessage(type: number, index: number, flags = 0, change = 0): Message {
  return new Message(type, 0, [
    [2, 0],
    [2, 0],
    [4, index],
    [4, flags],
    [4, change],
  ]);
}

function readLink(payload: Uint8Array): Link {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const flags = view.getUint32(8, true);
  const attributes = new Attributes(payload, IFINFOMSG_BYTES);
  const info = attributes.nested(IFLA_LINKINFO);
  const kind = info?.string(IFLA_INFO_KIND) ?? "";
  const mac = [...(attributes.octets(IFLA_ADDRESS) ?? [])];
  const tun = kind === "tun" ? info?.nested(IFLA_INFO_DATA) : undefined;
  return {
    index: view.getInt32(4, true),
    name: attributes.string(IFLA_IFNAME) ?? "",
    flags,
    up: (flags & IFF_UP) !== 0,
    mtu: attributes.integer(IFLA_MTU) ?? 0,
    txqueuelen: attributes.integer(IFLA_TXQLEN) ?? 0,
    mac: mac.map((octet) => octet.toString(16).padStart(2, "0")).join(":"),
    kind,
    master: attributes.integer(IFLA_MASTER) ?? 0,
    tun: tun && readTun(tun),
  };
}

function readTun(data: Attributes): TunInfo {
  return {
    type: data.integer(IFLA_TUN_TYPE) === TUN_TYPE_TAP ? "tap" : "tun",
    owner: data.integer(IFLA_TUN_OWNER),
    group: data.integer(IFLA_TUN_GROUP),
    pi: data.integer(IFLA_TUN_PI) === 1,
    vnetHdr: data.integer(IFLA_TUN_VNET_HDR) === 1,
    multiQueue: data.integer(IFLA_TUN_MULTI_QUEUE) === 1,
    persist: data.integer(IFLA_TUN_PERSIST) === 1,
    queues: data.integer(IFLA_TUN_NUM_QUEUES),
    disabledQueues: data.integer(IFLA_TUN_NUM_DISABLED_QUEUES),
  };
}
