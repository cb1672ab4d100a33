// 64-bit keys by which filters tell flows and prefixes apart. Hashed with a seed that nobody outside knows, so that two that
// meet share a key by chance only: among a million flows, once in 37 million tables.

import { Packet } from "../abi/packet";
import { be32, be64 } from "../wire/bytes";
import { IPV4_SOURCE } from "../wire/ipv4";
import { IPV6_SOURCE } from "../wire/ipv6";

/** Key of what is no IP packet: all of it is one flow. */
export const KEY_NOT_IP: u64 = 1;

/** The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
export function mix(x: u64): u64 {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

/** The same for both directions of a flow, and for all fragments between two addresses. Never 0. */
export function flowKey(p: Packet, seed: u64): u64 {
  if (!p.isIp) return KEY_NOT_IP;
  // Ports lie first in a TCP or UDP header. Only a datagram's first fragment has them, so no fragment is told by them.
  const hasPorts = (p.protocol == 6 || p.protocol == 17) && p.hasTransport && !p.isFragment;
  const ports: u32 = hasPorts ? load<u32>(p.transport) : 0;
  const from = endpoint(p, 0, ports & 0xffff, seed);
  const to = endpoint(p, 1, ports >> 16, seed);
  return mix(from + to + <u64>p.protocol * 0x9e3779b97f4a7c15) | 1;
}

function endpoint(p: Packet, which: u32, port: u32, seed: u64): u64 {
  if (p.isIpv4) {
    const address = load<u32>(p.ip + IPV4_SOURCE + ((<usize>which) << 2));
    return mix((((<u64>address) << 16) | <u64>port) ^ seed);
  }
  const at = p.ip + IPV6_SOURCE + ((<usize>which) << 4);
  return mix(mix(load<u64>(at) ^ seed) ^ load<u64>(at, 8)) ^ mix(<u64>port + seed);
}

/**
 * Key of the prefix that the source (0) or destination (1) address lies in; IPv4 and IPv6 have none in common. Never 0.
 * @param bits4 0 to 32, @param bits6 0 to 128: bits of an address that make its prefix
 */
export function prefixKey(p: Packet, which: u32, bits4: u32, bits6: u32, seed: u64): u64 {
  if (p.isIpv4) {
    const address = (<u64>be32(p.ip + IPV4_SOURCE + ((<usize>which) << 2))) << 32;
    return mix(head(address, bits4) ^ seed) | 1;
  }
  if (!p.isIpv6) return KEY_NOT_IP;
  const at = p.ip + IPV6_SOURCE + ((<usize>which) << 4);
  const high = head(be64(at), min<u32>(bits6, 64));
  const low = bits6 > 64 ? head(be64(at + 8), bits6 - 64) : 0;
  return mix(mix(high ^ ~seed) ^ low) | 1;
}

/** The first bits of 64. */
function head(word: u64, bits: u32): u64 {
  return bits == 0 ? 0 : word & (~(<u64>0) << (64 - bits));
}
