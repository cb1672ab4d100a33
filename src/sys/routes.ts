/** Routes over rtnetlink, in the main table. */
import { parsePrefix } from "./addresses.ts";
import { EEXIST, SystemError } from "./errno.ts";
import type { LinkRef } from "./links.ts";
import { Message, type Netlink, NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";

// <linux/rtnetlink.h>
const RTM_NEWROUTE = 24;
const RT_TABLE_MAIN = 254;
const RTPROT_BOOT = 3;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RTN_UNICAST = 1;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;

export interface Route {
  /** "192.0.2.0/24"; "0.0.0.0/0" and "::/0" are the default routes. */
  destination: string;
  /** Gateway's address, of the same family. */
  via?: string | undefined;
  dev?: LinkRef | undefined;
}

/**
 * Adds a route; the interface must be up.
 * @throws SystemError, EEXIST when there is a route to that destination already
 */
export function addRoute(netlink: Netlink, { destination, via, dev }: Route): void {
  const { family, octets, length } = parsePrefix(destination);
  // struct rtmsg: u8 family, destination and source lengths, tos, table, protocol, scope, type; u32 flags
  const message = new Message(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, [
    [1, family],
    [1, length],
    [1, 0],
    [1, 0],
    [1, RT_TABLE_MAIN],
    [1, RTPROT_BOOT],
    [1, via === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE],
    [1, RTN_UNICAST],
    [4, 0],
  ]);
  if (length > 0) message.octets(RTA_DST, octets);
  if (via !== undefined) message.octets(RTA_GATEWAY, parsePrefix(via).octets);
  if (dev) message.u32(RTA_OIF, dev.index);
  const words = [destination, via && `via ${via}`, dev && `dev ${dev.name}`].filter(Boolean).join(" ");
  try {
    netlink.change(message, { call: "RTM_NEWROUTE", target: words });
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== EEXIST) throw error;
    throw new SystemError(error.call, error.target, error.errno, {
      detail: `there is a route to ${destination} already`,
      hint: "an interface's own prefix is a route already; leave it out of `routes`",
    });
  }
}
