// The link's header, put before a packet and taken off.

import {
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  Ethernet,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_MULTICAST,
  Packet,
} from "pktflow/assembly";
import { pull, push } from "pktflow/assembly/lib/headroom";
import { ownMac } from "./own";

export const MAC_BROADCAST: u64 = 0xffffffffffff;
export const MAC_GROUP: u64 = 0x010000000000;
/** RFC 1112, 6.4, and 23 bits of the address; RFC 2464, 7, and 32. */
const MAC_IPV4_GROUP: u64 = 0x01005e000000;
const MAC_IPV6_GROUP: u64 = 0x333300000000;

export function groupMac4(address: u32): u64 {
  return MAC_IPV4_GROUP | <u64>(address & 0x7fffff);
}

export function groupMac6(low: u64): u64 {
  return MAC_IPV6_GROUP | (low & 0xffffffff);
}

/** @returns false: its slot has no room */
export function addHeader(p: Packet, mac: u64): bool {
  if (!push(p, ETHERNET_HEADER)) return false;
  p.l3 = <u16>ETHERNET_HEADER;
  const ethernet = Ethernet.at(p.data);
  ethernet.destination = mac;
  ethernet.source = ownMac;
  ethernet.type = p.isIpv4 ? ETHERTYPE_IPV4 : ETHERTYPE_IPV6;
  if (mac == MAC_BROADCAST) p.flags |= PACKET_FLAG_BROADCAST;
  else if ((mac & MAC_GROUP) != 0) p.flags |= PACKET_FLAG_MULTICAST;
  return true;
}

/** Leaves the IP packet, without what the link has put behind it. */
export function takeHeader(p: Packet): void {
  pull(p, ETHERNET_HEADER);
  if (p.isIp) p.length = <u32>(p.ipEnd - <usize>p.data);
}
