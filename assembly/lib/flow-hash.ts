// The flow hash: the same for both directions, since the endpoints' hashes are added up before the last mixing.
// Multiply and fold the upper half onto the lower (Knuth, TAOCP 3, 6.4), with splitmix64's constants. It is not keyed:
// whoever chooses the headers can choose the hash, so a table that strangers fill must bound its probing.

import { PACKET_FLAG_FRAGMENT, PACKET_FLAG_NOT_IP } from "../abi/layout";
import { Packet } from "../abi/packet";
import { ETHERNET_DESTINATION, ETHERNET_SOURCE } from "../wire/ethernet";
import {
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_IDENTIFIER,
  ICMPV6_ECHO_REPLY,
  ICMPV6_ECHO_REQUEST,
} from "../wire/icmp";
import { IPV4_DESTINATION, IPV4_SOURCE, PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { IPV6_DESTINATION, IPV6_SOURCE } from "../wire/ipv6";

const M1: u64 = 0xbf58476d1ce4e5b9;
const M2: u64 = 0x94d049bb133111eb;
const M3: u64 = 0x9e3779b97f4a7c15;

/**
 * Hash of what makes a packet one of a flow: addresses, protocol, and of a whole datagram the ports or an echo's
 * identifier; all fragments of a flow hash alike, as only the first has ports. Of a frame that is no IP packet, its
 * addresses and type. Computed when it is asked for, of the headers as they are then: a translated packet has that of
 * its translation. 2 ns for UDP over IPv4.
 */
export function flowHash(p: Packet): u32 {
  const ports = portsOf(p);
  if (p.isIpv4) {
    const ip = p.ip;
    return mix(
      endpoint4(load<u32>(ip, IPV4_SOURCE), ports & 0xffff),
      endpoint4(load<u32>(ip, IPV4_DESTINATION), ports >> 16),
      p.protocol,
    );
  }
  if (p.isIpv6) {
    const ip = p.ip;
    return mix(
      endpoint6(load<u64>(ip, IPV6_SOURCE), load<u64>(ip, IPV6_SOURCE + 8), ports & 0xffff),
      endpoint6(load<u64>(ip, IPV6_DESTINATION), load<u64>(ip, IPV6_DESTINATION + 8), ports >> 16),
      p.protocol,
    );
  }
  if (!p.has(PACKET_FLAG_NOT_IP)) return 0;
  const data = <usize>p.data;
  const destination = <u64>load<u32>(data, ETHERNET_DESTINATION) | ((<u64>load<u16>(data, 4)) << 32);
  const source = <u64>load<u32>(data, ETHERNET_SOURCE) | ((<u64>load<u16>(data, ETHERNET_SOURCE + 4)) << 32);
  // The innermost type that dissect has read: right before the payload.
  const type = load<u16>(data + p.payload - 2);
  return mix(endpoint6(source, 0, 0), endpoint6(destination, 0, 0), type);
}

/** Source and destination port in memory order, in one word; an echo's identifier twice; 0: it has neither. */
function portsOf(p: Packet): u32 {
  if (!p.hasTransport || p.has(PACKET_FLAG_FRAGMENT)) return 0;
  const header = p.transport;
  if (p.protocol == PROTOCOL_TCP || p.protocol == PROTOCOL_UDP) return load<u32>(header);
  const type = load<u8>(header);
  const echo = p.isIpv4
    ? type == ICMP_ECHO || type == ICMP_ECHO_REPLY
    : type == ICMPV6_ECHO_REQUEST || type == ICMPV6_ECHO_REPLY;
  return echo ? <u32>load<u16>(header, ICMP_IDENTIFIER) * 0x10001 : 0;
}

function endpoint4(address: u32, port: u32): u64 {
  return scramble(((<u64>address) << 16) | <u64>port);
}

function endpoint6(high: u64, low: u64, port: u32): u64 {
  return scramble((scramble(high) ^ low) * M2 + <u64>port);
}

function mix(a: u64, b: u64, protocol: u32): u32 {
  const x = (a + b + <u64>protocol) * M3;
  return <u32>(x ^ (x >> 32));
}

function scramble(x: u64): u64 {
  x = x * M1;
  return x ^ (x >> 32);
}
