// One end of an IP-in-IP tunnel: the outer header and nothing else between it and the packet.
//
//   [outer IP, protocol 4 | IPv4 packet]      [outer IP, protocol 41 | IPv6 packet]
//
// lib/tunnel.ts has the header, lib/fragment.ts the fragments.

import { counter, emit, giveBack, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
import { trafficClass } from "pktflow/assembly/lib/ecn";
import { fragmentData4 } from "pktflow/assembly/lib/fragment";
import {
  completeInner,
  emitOuterFragments,
  FIT_OUTER,
  FIT_REFUSED,
  isFromPeer,
  outerHeader,
  readInner,
  setTunnel,
  takeInnerFragment,
  takeOverEcn,
  trim,
  tunnelMtu,
  unwrap,
  wayToFit,
  wrap,
} from "pktflow/assembly/lib/tunnel";
import { Action, Counters, Fragment, params } from "./params";

const PROTOCOL_IPIP: u8 = 4;
const PROTOCOL_IPV6: u8 = 41;

let mtu: u32 = 0;

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
  mtu = params.mtu == 0 ? tunnelMtu(0) : params.mtu;
}

export function reload(): void {
  init();
}

export function packet(p: Packet): Output {
  return params.action == Action.encap ? encapsulate(p) : decapsulate(p);
}

function encapsulate(p: Packet): Output {
  if (!p.isIp || p.l3 != 0) return drop(Counters.notIp);
  trim(p);
  completeInner(p);
  readInner(p);
  if (p.length <= mtu) return wrapped(p, false);
  const way = params.fragment == Fragment.no ? FIT_REFUSED : wayToFit(p, params.fragment == Fragment.outer);
  if (way == FIT_OUTER) return cutOutside(p);
  const size: u32 = way == FIT_REFUSED ? 0 : fragmentData4(p, mtu);
  if (size == 0) {
    counter(Counters.tooBig).add(1);
    return params.tooBig;
  }
  counter(Counters.fragmented).add(1);
  while (p.length > mtu) {
    const fragment = takeInnerFragment(p, size);
    if (changetype<usize>(fragment) == 0) return drop(Counters.noSlot);
    if (wrapped(fragment, false) == OUTPUT_NEXT) emit(fragment, OUTPUT_NEXT);
    else giveBack(fragment);
  }
  return wrapped(p, false);
}

/** One packet that fits, or will be cut outside. */
function wrapped(p: Packet, mayCut: bool): Output {
  if (!wrap(p, p.isIpv4 ? PROTOCOL_IPIP : PROTOCOL_IPV6, mayCut)) return drop(Counters.tooLong);
  counter(Counters.encapsulated).add(1);
  return OUTPUT_NEXT;
}

function cutOutside(p: Packet): Output {
  const output = wrapped(p, true);
  if (output != OUTPUT_NEXT) return output;
  counter(Counters.fragmented).add(1);
  return emitOuterFragments(p, mtu + outerHeader()) ? OUTPUT_NEXT : drop(Counters.noSlot);
}

function decapsulate(p: Packet): Output {
  const protocol = p.protocol;
  if (p.l3 != 0 || !isFromPeer(p) || (protocol != PROTOCOL_IPIP && protocol != PROTOCOL_IPV6)) {
    counter(Counters.other).add(1);
    return params.other;
  }
  if (p.isFragment) return drop(Counters.outerFragments);
  const outer = trafficClass(p);
  if (!unwrap(p, p.payload, protocol == PROTOCOL_IPIP ? 4 : 6)) return drop(Counters.malformed);
  if (!takeOverEcn(p, outer)) return drop(Counters.congestion);
  counter(Counters.decapsulated).add(1);
  return OUTPUT_NEXT;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
