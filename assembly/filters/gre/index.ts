// One end of a GRE tunnel.
//
//   [outer IP, protocol 47 | GRE | IP packet, or Ethernet frame]
//
// lib/tunnel.ts has the outer header, lib/fragment.ts the fragments, header.ts what is between.

import {
  counter,
  ETHERNET_HEADER,
  ETHERTYPE_IPV4,
  ETHERTYPE_IPV6,
  ETHERTYPE_TEB,
  emit,
  giveBack,
  hold,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_GRE,
} from "pktflow/assembly";
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
  unwrapFrame,
  wayToFit,
  wrap,
} from "pktflow/assembly/lib/tunnel";
import { foundBytes, foundType, headerBytes, NOT_OURS, readHeader, WHOLE, writeHeader } from "./header";
import { Action, Carries, Counters, Fragment, params } from "./params";

/** Longest packet or frame that goes in. */
let longest: u32 = 0;
let carriesFrames: bool = false;

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
  carriesFrames = params.carries == Carries.ethernet;
  const link: u32 = carriesFrames ? ETHERNET_HEADER : 0;
  longest = (params.mtu == 0 ? tunnelMtu(headerBytes() + link) : params.mtu) + link;
}

export function reload(): void {
  init();
}

export function packet(p: Packet): Output {
  return params.action == Action.encap ? encapsulate(p) : decapsulate(p);
}

function encapsulate(p: Packet): Output {
  if (carriesFrames ? !p.isFrame : !p.isIp || p.l3 != 0) return drop(Counters.notIp);
  if (!carriesFrames) trim(p);
  completeInner(p);
  readInner(p);
  if (p.length <= longest) return leave(p, wrapped(p, false));
  const way = wayOf(p);
  if (way == FIT_OUTER) return cutOutside(p);
  const size: u32 = way == FIT_REFUSED ? 0 : fragmentData4(p, longest);
  if (size == 0) {
    counter(Counters.tooBig).add(1);
    return params.tooBig;
  }
  counter(Counters.fragmented).add(1);
  while (p.length > longest) {
    const fragment = takeInnerFragment(p, size);
    if (changetype<usize>(fragment) == 0) return drop(Counters.noSlot);
    if (wrapped(fragment, false) == OUTPUT_NEXT) emit(fragment, OUTPUT_NEXT);
    else giveBack(fragment);
  }
  return leave(p, wrapped(p, false));
}

function wayOf(p: Packet): u32 {
  if (params.fragment == Fragment.no) return FIT_REFUSED;
  const isOuter = params.fragment == Fragment.outer;
  if (carriesFrames) return isOuter ? FIT_OUTER : FIT_REFUSED;
  return wayToFit(p, isOuter);
}

/** One packet that fits, or will be cut outside. */
function wrapped(p: Packet, mayCut: bool): Output {
  if (!writeHeader(p) || !wrap(p, PROTOCOL_GRE, mayCut)) return drop(Counters.tooLong);
  counter(Counters.encapsulated).add(1);
  return OUTPUT_NEXT;
}

/** What is emitted goes before the rest of the batch: where numbers count, all is emitted, in order. */
function leave(p: Packet, output: Output): Output {
  if (!params.sequence || output != OUTPUT_NEXT || !hold(p)) return output;
  emit(p, OUTPUT_NEXT);
  return OUTPUT_HOLD;
}

function cutOutside(p: Packet): Output {
  const output = wrapped(p, true);
  if (output != OUTPUT_NEXT) return output;
  counter(Counters.fragmented).add(1);
  const mtu = longest + headerBytes() + outerHeader();
  return emitOuterFragments(p, mtu) ? leave(p, OUTPUT_NEXT) : drop(Counters.noSlot);
}

function decapsulate(p: Packet): Output {
  if (p.l3 != 0 || p.protocol != PROTOCOL_GRE || !isFromPeer(p)) return other();
  if (p.isFragment) return drop(Counters.outerFragments);
  const end = p.ipEnd;
  const found = readHeader(<usize>p.data + p.payload, end);
  if (found == NOT_OURS) return other();
  if (found != WHOLE) return drop(found);
  const outer = trafficClass(p);
  const headers = <u32>p.payload + foundBytes;
  if (carriesFrames) {
    if (foundType != ETHERTYPE_TEB || !unwrapFrame(p, headers, end)) return drop(Counters.malformed);
  } else {
    const version: u32 = foundType == ETHERTYPE_IPV4 ? 4 : 6;
    if (foundType != ETHERTYPE_IPV4 && foundType != ETHERTYPE_IPV6) return drop(Counters.malformed);
    if (!unwrap(p, headers, version)) return drop(Counters.malformed);
  }
  if (!takeOverEcn(p, outer)) return drop(Counters.congestion);
  counter(Counters.decapsulated).add(1);
  return OUTPUT_NEXT;
}

function other(): Output {
  counter(Counters.other).add(1);
  return params.other;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
