/**
 * Which queue of a capture a packet belongs to: a hash of its flow, the same in both directions, as a NIC's receive
 * side scaling does it with a symmetric key. Packets that are no IP, or too short to tell, belong to queue 0.
 */

const ETHERNET_HEADER = 14;
const VLAN_TAG = 4;
const MOST_VLAN_TAGS = 4;
const MOST_EXTENSION_HEADERS = 8;
const PROTOCOL = {
  HOP_BY_HOP: 0,
  TCP: 6,
  UDP: 17,
  DCCP: 33,
  ROUTING: 43,
  FRAGMENT: 44,
  AUTHENTICATION: 51,
  DESTINATION_OPTIONS: 60,
  SCTP: 132,
  UDP_LITE: 136,
} as const;

/** @param at address of the packet's first byte @param layer 2 or 3 @returns 0 to queues - 1 */
export function queueOf(u8: Uint8Array, at: number, length: number, layer: number, queues: number): number {
  const end = at + length;
  const ip = layer === 2 ? networkHeader(u8, at, end) : at;
  if (ip < 0 || ip >= end) return 0;
  const version = u8[ip] >>> 4;
  if (version === 4) return ip + 20 > end ? 0 : queueOfIpv4(u8, ip, end, queues);
  if (version === 6) return ip + 40 > end ? 0 : queueOfIpv6(u8, ip, end, queues);
  return 0;
}

/** Where the IP header stands behind an Ethernet header; -1: there is none. */
function networkHeader(u8: Uint8Array, at: number, end: number): number {
  let type = at + ETHERNET_HEADER - 2;
  for (let tags = 0; tags <= MOST_VLAN_TAGS; tags++) {
    if (type + 2 > end) return -1;
    const etherType = (u8[type] << 8) | u8[type + 1];
    if (etherType === 0x0800 || etherType === 0x86dd) return type + 2;
    if (etherType !== 0x8100 && etherType !== 0x88a8 && etherType !== 0x9100) return -1;
    type += VLAN_TAG;
  }
  return -1;
}

function queueOfIpv4(u8: Uint8Array, ip: number, end: number, queues: number): number {
  const addresses = Math.imul(word(u8, ip + 12) ^ word(u8, ip + 16), 0x9e3779b1);
  const isFragment = ((u8[ip + 6] & 0x3f) | u8[ip + 7]) !== 0;
  const transport = ip + (u8[ip] & 15) * 4;
  return spread(addresses ^ (isFragment ? 0 : ports(u8, u8[ip + 9], transport, end)), queues);
}

function queueOfIpv6(u8: Uint8Array, ip: number, end: number, queues: number): number {
  let addresses = 0;
  for (let i = 8; i < 24; i += 4) {
    addresses = Math.imul(addresses ^ word(u8, ip + i) ^ word(u8, ip + i + 16), 0x9e3779b1);
  }
  let next = u8[ip + 6];
  let header = ip + 40;
  for (let i = 0; i < MOST_EXTENSION_HEADERS && header + 8 <= end; i++) {
    // All fragments of a packet stay together, and only the first one knows the ports.
    if (next === PROTOCOL.FRAGMENT) return spread(addresses, queues);
    const options =
      next === PROTOCOL.HOP_BY_HOP || next === PROTOCOL.ROUTING || next === PROTOCOL.DESTINATION_OPTIONS;
    if (!options && next !== PROTOCOL.AUTHENTICATION) break;
    next = u8[header];
    header += options ? (u8[header + 1] + 1) * 8 : (u8[header + 1] + 2) * 4;
  }
  return spread(addresses ^ ports(u8, next, header, end), queues);
}

/** Both ports in one number, whichever way the packet goes; 0: the protocol has none, or they are not there. */
function ports(u8: Uint8Array, protocol: number, transport: number, end: number): number {
  switch (protocol) {
    case PROTOCOL.TCP:
    case PROTOCOL.UDP:
    case PROTOCOL.DCCP:
    case PROTOCOL.SCTP:
    case PROTOCOL.UDP_LITE: {
      if (transport + 4 > end) return 0;
      const from = (u8[transport] << 8) | u8[transport + 1];
      const to = (u8[transport + 2] << 8) | u8[transport + 3];
      return Math.imul(from < to ? (from << 16) | to : (to << 16) | from, 0x85ebca6b) ^ protocol;
    }
    default:
      return 0;
  }
}

function word(u8: Uint8Array, at: number): number {
  return (u8[at] << 24) | (u8[at + 1] << 16) | (u8[at + 2] << 8) | u8[at + 3];
}

/** MurmurHash3's finalizer, so that neighbouring addresses do not share a queue. */
function spread(hash: number, queues: number): number {
  let h = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) % queues;
}
