// Source NAT with ports. In: packets of both directions. Out: those from inside with an outside source endpoint, those
// to an outside endpoint with the inside destination it stands for, anything else as it came.
//
// One mapping an inside endpoint, wherever it sends (RFC 4787 REQ-1), and whoever sends to its outside endpoint gets
// through (endpoint-independent filtering). Mappings lie in the state that all workers share, as a reply may arrive on
// any worker: lib/mapping-table.ts.

import {
  counter,
  Icmp,
  Ipv4,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  random,
  Tcp,
  worker,
  workers,
} from "pktflow/assembly";
import {
  MAPPING_BUSY,
  MAPPING_FOUND,
  MAPPING_NO_PORT,
  MAPPING_REMADE,
} from "pktflow/assembly/lib/mapping-table";
import { isError, isReply, isRequest, translateError } from "./error";
import { Counters, params } from "./params";
import { destinationPort, setDestination, setSource, sourcePort } from "./rewrite";
import {
  CLASS_ICMP,
  CLASS_TRANSITORY,
  CLASS_UDP,
  format,
  insideKey,
  isInside,
  KIND_ICMP,
  KIND_TCP,
  keyAddress,
  keyPort,
  kindOf,
  mappings,
  open,
  outsideIndex,
  pairedPool,
  poolAddress,
  poolOf,
  settingsSize,
} from "./settings";
import { trackInbound, trackOutbound } from "./tcp";

/** Mappings looked at in a tick, and once a batch when there is no room: some 40 us and 5 us. */
const REAP_TICK: u32 = 8192;
const REAP_NO_ROOM: u32 = 1024;

let reapFrom: u32 = 0;
let reapedAt: u64 = 0;

export function sharedStateSize(_at: usize): usize {
  return settingsSize();
}

export function initShared(): void {
  format();
}

export function init(): void {
  open();
}

export function packet(p: Packet): Output {
  // An address that cannot be read may be an inside one, which must not leak.
  if (!p.isIpv4) return p.isMalformed && !p.isIpv6 ? drop(Counters.malformed) : OUTPUT_NEXT;
  const ip = Ipv4.of(p);
  const fromInside = isInside(ip.source);
  const toOutside = outsideIndex(ip.destination);
  if (!fromInside && toOutside < 0) return OUTPUT_NEXT;
  const kind = kindOf(p.protocol);
  if (!p.hasTransport) {
    if (p.isMalformed) return drop(Counters.malformed);
    return drop(kind >= 0 ? Counters.fragment : Counters.unsupportedProtocol);
  }
  if (kind < 0) return drop(Counters.unsupportedProtocol);
  if (kind == KIND_ICMP && !isRequest(Icmp.of(p).type)) {
    const type = Icmp.of(p).type;
    if (isError(type)) return translateError(p, fromInside, toOutside);
    if (!isReply(type)) return drop(Counters.unsupportedProtocol);
    return fromInside ? drop(Counters.noMapping) : inbound(p, KIND_ICMP, <u32>toOutside);
  }
  if (fromInside) return toOutside < 0 ? outbound(p, <u32>kind) : hairpin(p, <u32>kind, <u32>toOutside);
  return kind == KIND_ICMP ? drop(Counters.noMapping) : inbound(p, <u32>kind, <u32>toOutside);
}

/** Ends mappings whose time is over; the workers share the table out between them. */
export function tick(): void {
  reap(reapFrom + worker() * REAP_TICK, REAP_TICK);
  reapFrom += workers() * REAP_TICK;
}

function outbound(p: Packet, kind: u32): Output {
  const inside = insideKey(kind, Ipv4.of(p).source, sourcePort(p.transport, kind));
  if (!mappings.findInside(inside, now()) && !make(kind, inside)) return OUTPUT_DROP;
  if (kind == KIND_TCP) trackOutbound(Tcp.of(p).flags, now());
  else mappings.use(mappings.timeoutClass, 0, true, now());
  setSource(p, kind, poolAddress(mappings.outsidePool), mappings.outsidePort);
  return OUTPUT_NEXT;
}

function inbound(p: Packet, kind: u32, outside: u32): Output {
  if (!mappings.findOutside(poolOf(outside, kind), destinationPort(p.transport, kind), now())) {
    return drop(Counters.noMapping);
  }
  if (kind == KIND_TCP) trackInbound(Tcp.of(p).flags, now());
  setDestination(p, kind, keyAddress(mappings.inside), keyPort(mappings.inside));
  return OUTPUT_NEXT;
}

/** RFC 4787 REQ-9: both hosts see each other's outside endpoint. */
function hairpin(p: Packet, kind: u32, outside: u32): Output {
  // The destination first: a packet to nobody makes no mapping. A query has no endpoint to go to.
  if (kind == KIND_ICMP) return drop(Counters.noMapping);
  const destination = destinationPort(p.transport, kind);
  if (!mappings.findOutside(poolOf(outside, kind), destination, now())) return drop(Counters.noMapping);
  const inside = mappings.inside;
  if (kind == KIND_TCP) trackInbound(Tcp.of(p).flags, now());
  if (outbound(p, kind) == OUTPUT_DROP) return OUTPUT_DROP;
  setDestination(p, kind, keyAddress(inside), keyPort(inside));
  return params.hairpin;
}

/** A new mapping, unless another worker was faster. @returns false: there is none, and why was counted */
function make(kind: u32, inside: u64): bool {
  const timeoutClass = kind == KIND_TCP ? CLASS_TRANSITORY : kind == KIND_ICMP ? CLASS_ICMP : CLASS_UDP;
  const pool = pairedPool(keyAddress(inside), kind);
  const start = <u32>random();
  let result = mappings.make(inside, pool, keyPort(inside), start, timeoutClass, now());
  if (result < 0 && result != MAPPING_BUSY && reapedAt != now()) {
    reapedAt = now();
    reap(reapFrom, REAP_NO_ROOM);
    reapFrom += REAP_NO_ROOM;
    result = mappings.make(inside, pool, keyPort(inside), start, timeoutClass, now());
  }
  if (result < 0) {
    counter(result == MAPPING_NO_PORT ? Counters.noPort : Counters.tableFull).add(1);
    return false;
  }
  if (result == MAPPING_REMADE) counter(Counters.mappingsExpired).add(1);
  if (result != MAPPING_FOUND) counter(Counters.mappingsMade).add(1);
  return true;
}

function reap(from: u32, count: u32): void {
  const removed = mappings.reap(from, count, now());
  if (removed != 0) counter(Counters.mappingsExpired).add(removed);
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
