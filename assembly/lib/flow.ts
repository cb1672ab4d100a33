// What makes a packet one of a flow, as 128 bits: a key for WorkerTable.
//
// Example: when was this flow seen last?
//
//   if (!readFlowKey(p)) return OUTPUT_NEXT;
//   const value = WorkerTable.at(workerState()).put(flowKeyHigh, flowKeyLow, now());

import { Packet } from "../abi/packet";
import { IPV4_DESTINATION, IPV4_SOURCE, PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { IPV6_DESTINATION, IPV6_SOURCE } from "../wire/ipv6";

/** The key that readFlowKey() read last, in halves. */
export let flowKeyHigh: u64 = 0;
export let flowKeyLow: u64 = 0;

/**
 * Reads a packet's flow, in the direction that it goes, into flowKeyHigh and flowKeyLow: addresses, protocol, and the ports of
 * TCP and UDP (0 for others, and for fragments but the first). Of IPv4 it is all of these, so no two flows are alike; of IPv6 a
 * hash of them without a secret: two flows that were made to may be alike.
 * @param p the packet
 * @returns false: it is no IP packet, and the key is as it was
 */
export function readFlowKey(p: Packet): bool {
  const hasPorts = p.isTransport(PROTOCOL_TCP) || p.isTransport(PROTOCOL_UDP);
  const ports: u64 = hasPorts ? <u64>load<u32>(p.transport) : 0;
  const rest = ((<u64>p.protocol) << 32) | ports;
  const ip = p.ip;
  if (p.isIpv4) {
    flowKeyHigh = ((<u64>load<u32>(ip, IPV4_SOURCE)) << 32) | <u64>load<u32>(ip, IPV4_DESTINATION);
    flowKeyLow = rest;
    return true;
  }
  if (!p.isIpv6) return false;
  flowKeyHigh = mix(mix(load<u64>(ip, IPV6_SOURCE)) ^ load<u64>(ip, IPV6_SOURCE + 8)) ^ rest;
  // Bit 63 keeps it apart from every key of IPv4.
  flowKeyLow =
    mix(mix(load<u64>(ip, IPV6_DESTINATION) ^ rest) ^ load<u64>(ip, IPV6_DESTINATION + 8)) | ((<u64>1) << 63);
  return true;
}

/** The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
function mix(key: u64): u64 {
  let z = (key ^ (key >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
