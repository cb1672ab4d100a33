/** Sets up an interface that pktflow has made. Nothing here is ever done to one of somebody else's. */
import { addAddress } from "../../sys/addresses.ts";
import { check, ENODEV, ENOENT, SystemError } from "../../sys/errno.ts";
import { tunSetGroup, tunSetOwner, tunSetPersist } from "../../sys/if_tun.ts";
import {
  getLink,
  type LinkRef,
  setLinkMac,
  setLinkMaster,
  setLinkMtu,
  setLinkTxqueuelen,
  setLinkUp,
} from "../../sys/links.ts";
import type { Netlink } from "../../sys/netlink.ts";
import { addRoute } from "../../sys/routes.ts";
import { groupId, userId } from "../../sys/users.ts";
import type { TunConfig } from "./config.ts";
import { permissionHint } from "./refusal.ts";

/** RFC 8200, section 5. */
const IPV6_MIN_MTU = 1280;

/**
 * @param fd any queue of the interface
 * @throws SystemError; closing the queues then removes the interface, for it is made persistent last
 */
export function configure(netlink: Netlink, fd: number, link: LinkRef, config: TunConfig): void {
  const { name } = config;
  if (config.owner !== undefined) setOwner(fd, name, config.owner);
  if (config.group !== undefined) setGroup(fd, name, config.group);
  try {
    if (config.mac !== undefined) setLinkMac(netlink, link, config.mac);
    setLinkMtu(netlink, link, config.mtu);
    if (config.txqueuelen !== undefined) setLinkTxqueuelen(netlink, link, config.txqueuelen);
    if (config.bridge !== undefined) setLinkMaster(netlink, link, findBridge(netlink, config.bridge));
    for (const address of config.addresses) addOwnAddress(netlink, link, address, config.mtu);
    // Routes want an interface that is up.
    setLinkUp(netlink, link, true);
    for (const destination of config.routes) addRoute(netlink, { destination, dev: link });
  } catch (error) {
    throw permissionHint(error);
  }
  if (config.persist) check(tunSetPersist(fd, true), "TUNSETPERSIST", name);
}

/** The kernel has no word for why it refuses IPv6 to an interface of a small MTU. */
function addOwnAddress(netlink: Netlink, link: LinkRef, address: string, mtu: number): void {
  try {
    addAddress(netlink, link, address);
  } catch (error) {
    if (!(error instanceof SystemError) || !address.includes(":") || mtu >= IPV6_MIN_MTU) throw error;
    throw new SystemError(error.call, error.target, error.errno, {
      detail: `IPv6 needs an mtu of at least ${IPV6_MIN_MTU}, and it is ${mtu}`,
    });
  }
}

/** @param owner user's name or uid */
export function setOwner(fd: number, name: string, owner: string): void {
  check(tunSetOwner(fd, known(userId(owner), "getpwnam", "user", owner)), "TUNSETOWNER", `${name} ${owner}`);
}

/** @param group group's name or gid */
export function setGroup(fd: number, name: string, group: string): void {
  check(
    tunSetGroup(fd, known(groupId(group), "getgrnam", "group", group)),
    "TUNSETGROUP",
    `${name} ${group}`,
  );
}

function known(id: number | undefined, call: string, what: string, name: string): number {
  if (id !== undefined) return id;
  throw new SystemError(call, name, ENOENT, {
    detail: `there is no ${what} "${name}" on this machine`,
    unavailable: true,
  });
}

function findBridge(netlink: Netlink, name: string): LinkRef {
  const bridge = getLink(netlink, name);
  if (bridge?.kind === "bridge") return bridge;
  throw new SystemError("RTM_GETLINK", name, ENODEV, {
    detail: bridge ? "it is no bridge" : "there is no such bridge",
    hint: bridge ? undefined : `sudo ip link add ${name} type bridge && sudo ip link set ${name} up`,
    unavailable: true,
  });
}
