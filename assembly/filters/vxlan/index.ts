// One end of a VXLAN tunnel: Ethernet frames in UDP.
//
//   [outer IP | UDP, source port by flow, to 4789 | VXLAN, VNI | Ethernet frame]
//
// Routers between spread flows by the outer ports, so each flow has a source port of its own. lib/tunnel.ts has the outer header.

import {
  be16,
  be32,
  complement,
  counter,
  ETHERNET_HEADER,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_UDP,
  setBe16,
  setBe32,
  sum,
  sumPseudoIpv4,
  sumPseudoIpv6,
  UDP_CHECKSUM,
  UDP_DESTINATION_PORT,
  UDP_HEADER,
  UDP_LENGTH,
  Udp,
  VXLAN_FLAG_VNI,
  VXLAN_HEADER,
} from "pktflow/assembly";
import { trafficClass } from "pktflow/assembly/lib/ecn";
import { push } from "pktflow/assembly/lib/headroom";
import {
  completeInner,
  emitOuterFragments,
  isFromPeer,
  outerHeader,
  readInner,
  setTunnel,
  takeOverEcn,
  tunnelMtu,
  unwrapFrame,
  wrap,
} from "pktflow/assembly/lib/tunnel";
import { Action, Counters, Fragment, params, UdpChecksum } from "./params";

const HEADERS: u32 = UDP_HEADER + VXLAN_HEADER;
/** RFC 7348, 5: the dynamic ports, 49152 to 65535. */
const FIRST_PORT: u16 = 0xc000;

let longest: u32 = 0;

export function init(): void {
  setTunnel(
    params.local.address,
    params.local.family,
    params.remote.address,
    params.remote.family,
    params.ttl,
    params.dscp,
    params.df,
  );
  longest = (params.mtu == 0 ? tunnelMtu(HEADERS + ETHERNET_HEADER) : params.mtu) + ETHERNET_HEADER;
}

export function reload(): void {
  init();
}

export function packet(p: Packet): Output {
  return params.action == Action.encap ? encapsulate(p) : decapsulate(p);
}

function encapsulate(p: Packet): Output {
  if (!p.isFrame) return drop(Counters.notFrame);
  const fits = p.length <= longest;
  if (!fits && params.fragment == Fragment.no) {
    counter(Counters.tooBig).add(1);
    return params.tooBig;
  }
  completeInner(p);
  readInner(p);
  const port = FIRST_PORT | <u16>(p.flowHash >> 18);
  if (!push(p, HEADERS)) return drop(Counters.tooLong);
  const udp = <usize>p.data;
  const bytes = p.length;
  setBe16(udp, port);
  setBe16(udp + UDP_DESTINATION_PORT, params.port);
  setBe16(udp + UDP_LENGTH, <u16>bytes);
  store<u16>(udp, 0, UDP_CHECKSUM);
  store<u32>(udp, VXLAN_FLAG_VNI, UDP_HEADER);
  setBe32(udp + UDP_HEADER + 4, params.vni << 8);
  if (!wrap(p, PROTOCOL_UDP, !fits)) return drop(Counters.tooLong);
  p.l4 = p.payload;
  p.payload += <u16>UDP_HEADER;
  const isOn = params.udpChecksum == UdpChecksum.on || (params.udpChecksum == UdpChecksum.auto && p.isIpv6);
  if (isOn) {
    const right = complement(sum(p.transport, bytes, pseudoSum(p, bytes)));
    store<u16>(p.transport, right == 0 ? 0xffff : right, UDP_CHECKSUM);
  }
  counter(Counters.encapsulated).add(1);
  if (fits) return OUTPUT_NEXT;
  counter(Counters.fragmented).add(1);
  return emitOuterFragments(p, longest + HEADERS + outerHeader()) ? OUTPUT_NEXT : drop(Counters.noSlot);
}

function pseudoSum(p: Packet, bytes: u32): u32 {
  return p.isIpv4 ? sumPseudoIpv4(p.ip, PROTOCOL_UDP, bytes) : sumPseudoIpv6(p.ip, PROTOCOL_UDP, bytes);
}

function decapsulate(p: Packet): Output {
  if (p.l3 != 0 || !p.isTransport(PROTOCOL_UDP) || !isFromPeer(p)) return other();
  const udp = p.transport;
  if (be16(udp + UDP_DESTINATION_PORT) != params.port) return other();
  if (p.isFragment) return drop(Counters.outerFragments);
  if (p.isMalformed) return drop(Counters.malformed);
  const bytes = <u32>Udp.of(p).length;
  if (bytes < HEADERS) return drop(Counters.malformed);
  const header = udp + UDP_HEADER;
  // RFC 7348, 5: without the flag there is no VNI.
  if ((load<u8>(header) & VXLAN_FLAG_VNI) == 0) return drop(Counters.malformed);
  if (be32(header + 4) >> 8 != params.vni) return other();
  if (!isRight(p, bytes)) return drop(Counters.badChecksum);
  const outer = trafficClass(p);
  const headers = <u32>p.l4 + HEADERS;
  if (!unwrapFrame(p, headers, udp + bytes)) return drop(Counters.malformed);
  if (!takeOverEcn(p, outer)) return drop(Counters.congestion);
  counter(Counters.decapsulated).add(1);
  return OUTPUT_NEXT;
}

function isRight(p: Packet, bytes: u32): bool {
  if (load<u16>(p.transport, UDP_CHECKSUM) == 0) return p.isIpv4 || params.udpChecksum == UdpChecksum.off;
  return sum(p.transport, bytes, pseudoSum(p, bytes)) == 0xffff;
}

function other(): Output {
  counter(Counters.other).add(1);
  return params.other;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
