/** Addresses of network interfaces over rtnetlink. */
import ipaddr from "ipaddr.js";
import type { LinkRef } from "./links.ts";
import { Attributes, Message, type Netlink, NLM_F_CREATE, NLM_F_EXCL } from "./netlink.ts";
import { AF_INET, AF_INET6 } from "./socket.ts";

// <linux/rtnetlink.h>, <linux/if_addr.h>
const RTM_NEWADDR = 20;
const RTM_GETADDR = 22;
const IFADDRMSG_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_F_NODAD = 0x02;

/**
 * Gives an interface an address; its prefix becomes a connected route. An IPv6 address is usable at once: duplicate
 * address detection would ask nobody but the pipeline.
 * @param address "10.77.0.1/24", "fd00::1/64"
 * @throws SystemError
 */
export function addAddress(netlink: Netlink, { index, name }: LinkRef, address: string): void {
  const { family, octets, length } = parsePrefix(address);
  // struct ifaddrmsg: u8 family, u8 prefix length, u8 flags, u8 scope (universe), u32 index
  const message = new Message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, [
    [1, family],
    [1, length],
    [1, family === AF_INET6 ? IFA_F_NODAD : 0],
    [1, 0],
    [4, index],
  ]);
  message.octets(IFA_LOCAL, octets).octets(IFA_ADDRESS, octets);
  netlink.change(message, { call: "RTM_NEWADDR", target: `${name} ${address}` });
}

/** An interface's addresses of both families, "address/length", IPv6 as RFC 5952 writes it. @throws SystemError */
export function listAddresses(netlink: Netlink, { index, name }: LinkRef): string[] {
  const message = new Message(RTM_GETADDR, 0, [
    [4, 0],
    [4, 0],
  ]);
  const found: string[] = [];
  for (const payload of netlink.dump(message, { call: "RTM_GETADDR", target: name })) {
    const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
    if (view.getUint32(4, true) !== index) continue;
    const attributes = new Attributes(payload, IFADDRMSG_BYTES);
    // On a point-to-point link IFA_ADDRESS is the peer's; IPv6 has no IFA_LOCAL unless there is a peer.
    const octets = attributes.octets(IFA_LOCAL) ?? attributes.octets(IFA_ADDRESS);
    if (!octets) continue;
    const address = ipaddr.fromByteArray([...octets]);
    found.push(`${address instanceof ipaddr.IPv6 ? address.toRFC5952String() : address}/${payload[1]}`);
  }
  return found;
}

export interface Prefix {
  family: typeof AF_INET | typeof AF_INET6;
  /** 4 or 16 bytes, network order. */
  octets: number[];
  length: number;
}

/** "address/length", checked before; without a length the host prefix. @throws Error when it is no address */
export function parsePrefix(text: string): Prefix {
  const slash = text.indexOf("/");
  const octets = ipaddr.parse(slash < 0 ? text : text.slice(0, slash)).toByteArray();
  return {
    family: octets.length === 4 ? AF_INET : AF_INET6,
    octets,
    length: slash < 0 ? octets.length * 8 : Number(text.slice(slash + 1)),
  };
}
