/** Persistent tun and tap devices: made, removed and listed, as `ip tuntap` does. In this thread's network namespace. */
import { readFileSync } from "node:fs";
import { close, O_RDWR, open } from "../../sys/calls.ts";
import { check, EBUSY, ENODEV, SystemError } from "../../sys/errno.ts";
import {
  IFF_MULTI_QUEUE,
  IFF_NO_PI,
  IFF_ONE_QUEUE,
  IFF_PERSIST,
  IFF_TAP,
  IFF_TUN,
  IFF_TUN_EXCL,
  IFF_VNET_HDR,
  TUN_DEVICE,
  tunGetIff,
  tunSetIff,
  tunSetPersist,
} from "../../sys/if_tun.ts";
import { getLink, type Link, listLinks, type TunInfo } from "../../sys/links.ts";
import { withNetlink } from "../../sys/netlink.ts";
import type { Mode } from "./config.ts";
import { setGroup, setOwner } from "./configure.ts";
import { checkName } from "./queues.ts";
import { cannotAttach, cannotOpenNode, mismatch } from "./refusal.ts";

export interface NewDevice {
  /** undefined: the kernel chooses tun0, tap0, ... */
  name: string | undefined;
  mode: Mode;
  /** Name or number. */
  user: string | undefined;
  group: string | undefined;
  /** Packets begin with struct tun_pi. */
  pi: boolean;
  vnetHdr: boolean;
  multiQueue: boolean;
  /** Without effect since Linux 3.8, but shown. */
  oneQueue: boolean;
}

export interface ListedDevice {
  name: string;
  /** IFF_TUN, IFF_TAP, ... of <linux/if_tun.h> */
  flags: number;
  /** uid; undefined: anyone with CAP_NET_ADMIN */
  owner: number | undefined;
  group: number | undefined;
}

/**
 * Makes a persistent device. @returns its name
 * @throws SystemError, EBUSY when there is an interface of that name; no device stays then
 */
export function addDevice(device: NewDevice): string {
  const { name = "", mode, user, group } = device;
  if (name !== "") checkName(name);
  return withQueue((fd) => {
    const flags =
      (mode === "tun" ? IFF_TUN : IFF_TAP) |
      (device.pi ? 0 : IFF_NO_PI) |
      (device.oneQueue ? IFF_ONE_QUEUE : 0) |
      (device.vnetHdr ? IFF_VNET_HDR : 0) |
      (device.multiQueue ? IFF_MULTI_QUEUE : 0);
    const result = tunSetIff(fd, name, flags | IFF_TUN_EXCL);
    if (result === -EBUSY) {
      throw new SystemError("TUNSETIFF", name, EBUSY, {
        detail: "there is an interface of that name already",
      });
    }
    if (result < 0) throw cannotAttach(name, result, undefined);
    const made = tunGetIff(fd);
    if (typeof made === "number") throw new SystemError("TUNGETIFF", name, made);
    if (user !== undefined) setOwner(fd, made.name, user);
    if (group !== undefined) setGroup(fd, made.name, group);
    // Last: until then, closing the descriptor removes the device.
    check(tunSetPersist(fd, true), "TUNSETPERSIST", made.name);
    return made.name;
  });
}

/**
 * Removes a persistent device. It has one queue or several: the kernel wants to hear which, but we can look.
 * @throws SystemError: there is none of that name and mode, or a program has it open
 */
export function deleteDevice(name: string, mode: Mode): void {
  checkName(name);
  const existing = withNetlink((netlink) => getLink(netlink, name));
  if (!existing)
    throw new SystemError("TUNSETIFF", name, ENODEV, { detail: "nothing to remove", unavailable: false });
  const refused = mismatch(existing, mode, 1);
  if (refused) throw new SystemError(refused.call, name, refused.errno, { detail: refused.detail });
  withQueue((fd) => {
    const flags = (mode === "tun" ? IFF_TUN : IFF_TAP) | (existing.tun?.multiQueue ? IFF_MULTI_QUEUE : 0);
    const result = tunSetIff(fd, name, flags | IFF_NO_PI);
    if (result < 0) throw cannotAttach(name, result, existing);
    check(tunSetPersist(fd, false), "TUNSETPERSIST", name);
  });
}

/** All tun and tap devices of the namespace, persistent or not, in the kernel's order. @throws SystemError */
export function listDevices(): ListedDevice[] {
  return withNetlink((netlink) => listLinks(netlink, "tun")).map((link) => ({
    name: link.name,
    flags: flagsOf(link),
    owner: link.tun?.owner,
    group: link.tun?.group,
  }));
}

function withQueue<T>(visit: (fd: number) => T): T {
  const fd = open(TUN_DEVICE, O_RDWR);
  if (fd < 0) throw cannotOpenNode(fd);
  try {
    return visit(fd);
  } finally {
    close(fd);
  }
}

/**
 * Netlink does not have every flag, and sysfs has, though perhaps of another namespace's device: it shows the network
 * namespace in which it was mounted. So it counts where the two agree in what both have.
 */
function flagsOf({ name, tun }: Link): number {
  const sysfs = sysfsFlags(name);
  if (!tun) return sysfs ?? 0;
  const known = netlinkFlags(tun);
  const BOTH = IFF_TUN | IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE | IFF_PERSIST;
  return sysfs !== undefined && (sysfs & BOTH) === known ? sysfs : known;
}

function netlinkFlags(tun: TunInfo): number {
  return (
    (tun.type === "tun" ? IFF_TUN : IFF_TAP) |
    (tun.pi ? 0 : IFF_NO_PI) |
    (tun.vnetHdr ? IFF_VNET_HDR : 0) |
    (tun.multiQueue ? IFF_MULTI_QUEUE : 0) |
    (tun.persist ? IFF_PERSIST : 0)
  );
}

function sysfsFlags(name: string): number | undefined {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/tun_flags`, "utf8"));
  } catch {
    return undefined;
  }
}
