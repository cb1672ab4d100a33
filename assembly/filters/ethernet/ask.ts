// Questions for neighbors: an ARP request (RFC 826), or a Neighbor Solicitation (RFC 4861, 4.3), to all, or to the one that is to
// confirm that it is still there (7.3.3).

import {
  ARP_BYTES,
  ARP_ETHERNET_IPV4,
  ARP_OPERATION,
  ARP_REQUEST,
  ARP_SENDER_IP,
  ARP_SENDER_MAC,
  ARP_TARGET_IP,
  ARP_TARGET_MAC,
  complement,
  counter,
  ETHERNET_HEADER,
  ETHERTYPE_ARP,
  ETHERTYPE_IPV6,
  Ethernet,
  emit,
  freshPacket,
  ICMP_CHECKSUM,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_HOP_LIMIT,
  IPV6_NEXT_HEADER,
  IPV6_PAYLOAD_LENGTH,
  IPV6_SOURCE,
  OUTPUT_NEXT,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_MULTICAST,
  PACKET_FLAG_NOT_IP,
  Packet,
  PROTOCOL_ICMPV6,
  setBe16,
  setBe32,
  setBe64,
  sum,
  sumPseudoIpv6,
} from "pktflow/assembly";
import { groupMac6, MAC_BROADCAST } from "./link";
import { ownMac, sourceFor, sourceHigh, sourceLow } from "./own";
import { Counters } from "./params";

export const SOLICITATION: u8 = 135;
export const ADVERTISEMENT: u8 = 136;
export const OPTION_SOURCE: u8 = 1;
export const OPTION_TARGET: u8 = 2;
export const DISCOVERY_HOPS: u8 = 255;
/** Type, code, checksum, flags, target; then the option with the address on the link. */
export const DISCOVERY_BYTES: u32 = 24;
export const OPTION_BYTES: u32 = 8;
const SOLICITED_NODE_HIGH: u64 = 0xff02000000000000;
const SOLICITED_NODE_LOW: u64 = 0x1ff000000;

/** @param mac the neighbor's, to ask it alone; 0: whoever has the address */
export function ask(like: Packet, high: u64, low: u64, is4: bool, mac: u64): void {
  // Without an own address of the family there is nobody to answer to.
  if (!sourceFor(high, low, is4)) return;
  const p = freshPacket(like);
  if (changetype<usize>(p) == 0) return;
  if (is4) request(p, <u32>low, mac);
  else solicit(p, high, low, mac);
  counter(Counters.asked).add(1);
  emit(p, OUTPUT_NEXT);
}

export function setMac(at: usize, mac: u64): void {
  setBe16(at, <u16>(mac >> 32));
  setBe32(at + 2, <u32>mac);
}

function request(p: Packet, address: u32, mac: u64): void {
  const ethernet = Ethernet.at(p.data);
  ethernet.destination = mac == 0 ? MAC_BROADCAST : mac;
  ethernet.source = ownMac;
  ethernet.type = ETHERTYPE_ARP;
  const arp = <usize>p.data + ETHERNET_HEADER;
  store<u64>(arp, ARP_ETHERNET_IPV4);
  setBe16(arp + ARP_OPERATION, ARP_REQUEST);
  setMac(arp + ARP_SENDER_MAC, ownMac);
  setBe32(arp + ARP_SENDER_IP, <u32>sourceLow);
  setMac(arp + ARP_TARGET_MAC, mac);
  setBe32(arp + ARP_TARGET_IP, address);
  p.length = ETHERNET_HEADER + ARP_BYTES;
  p.payload = <u16>ETHERNET_HEADER;
  p.flags = PACKET_FLAG_NOT_IP | (mac == 0 ? PACKET_FLAG_BROADCAST : 0);
}

function solicit(p: Packet, high: u64, low: u64, mac: u64): void {
  const toHigh = mac == 0 ? SOLICITED_NODE_HIGH : high;
  const toLow = mac == 0 ? SOLICITED_NODE_LOW | (low & 0xffffff) : low;
  const ethernet = Ethernet.at(p.data);
  ethernet.destination = mac == 0 ? groupMac6(toLow) : mac;
  ethernet.source = ownMac;
  const ip = <usize>p.data + ETHERNET_HEADER;
  setBe64(ip + IPV6_SOURCE, sourceHigh);
  setBe64(ip + IPV6_SOURCE + 8, sourceLow);
  setBe64(ip + IPV6_DESTINATION, toHigh);
  setBe64(ip + IPV6_DESTINATION + 8, toLow);
  finishDiscovery(p, SOLICITATION, 0, high, low, OPTION_SOURCE);
  if (mac == 0) p.flags |= PACKET_FLAG_MULTICAST;
}

/** Writes all of a frame of neighbor discovery but the addresses of its headers, and describes it. @param bits R, S and O */
export function finishDiscovery(p: Packet, type: u8, bits: u32, high: u64, low: u64, option: u8): void {
  Ethernet.at(p.data).type = ETHERTYPE_IPV6;
  const ip = <usize>p.data + ETHERNET_HEADER;
  const bytes = DISCOVERY_BYTES + OPTION_BYTES;
  setBe32(ip, 0x60000000);
  setBe16(ip + IPV6_PAYLOAD_LENGTH, <u16>bytes);
  store<u8>(ip, PROTOCOL_ICMPV6, IPV6_NEXT_HEADER);
  store<u8>(ip, DISCOVERY_HOPS, IPV6_HOP_LIMIT);
  const icmp = ip + IPV6_HEADER;
  store<u32>(icmp, type);
  setBe32(icmp + 4, bits);
  setBe64(icmp + 8, high);
  setBe64(icmp + 16, low);
  store<u8>(icmp + DISCOVERY_BYTES, option);
  store<u8>(icmp + DISCOVERY_BYTES, 1, 1);
  setMac(icmp + DISCOVERY_BYTES + 2, ownMac);
  store<u16>(icmp, complement(sum(icmp, bytes, sumPseudoIpv6(ip, PROTOCOL_ICMPV6, bytes))), ICMP_CHECKSUM);
  p.length = ETHERNET_HEADER + IPV6_HEADER + bytes;
  p.l3 = <u16>ETHERNET_HEADER;
  p.l4 = <u16>(ETHERNET_HEADER + IPV6_HEADER);
  p.payload = p.l4 + 8;
  p.protocol = PROTOCOL_ICMPV6;
  p.flags = PACKET_FLAG_IPV6;
  p.vnetFlags = 0;
}
