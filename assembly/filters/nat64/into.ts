// From outside: an IPv4 packet to an outside address becomes an IPv6 packet to the host that has a mapping there.

import {
  counter,
  emit,
  freshPacket,
  giveBack,
  hasRouteLeft,
  hold,
  ICMP_ECHO_REPLY,
  ICMP_IDENTIFIER,
  Icmp,
  IPV4_DONT_FRAGMENT,
  IPV4_HEADER,
  IPV4_SOURCE,
  IPV6_HEADER,
  Ipv4,
  now,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  Tcp,
  UDP_CHECKSUM,
} from "pktflow/assembly";
import { makeRoom } from "pktflow/assembly/lib/headroom";
import {
  clearSuper,
  completeChecksum,
  cutSegment,
  dataBytes,
  isSuper,
  segmentFits,
} from "pktflow/assembly/lib/segment";
import { setTimer, unitsOf } from "pktflow/assembly/lib/session-table";
import { trackInbound } from "pktflow/assembly/lib/session-tcp";
import { isHost, mayRepresent } from "./addresses";
import { errorInto } from "./error-into";
import { firstHigh, firstLow, followFirst, keepFirst } from "./fragments";
import { FRAGMENT_HEADER, wireBytes } from "./header";
import { isError4 } from "./icmp";
import { Counters, NonGlobal, params } from "./params";
import { cut } from "./pieces";
import { drop, refuse } from "./refuse";
import { findIn, isMapped, seenHigh, seenLow, seenPort, seenRecord, seenTimer } from "./sessions";
import { ipv6Mtu, lowestIpv6Mtu, MOST_WAITING, outsideIndex, waiting } from "./settings";
import { toIpv6 } from "./translate";

/** How long a fragment waits for its first one, ns (RFC 6146, 4). */
const FRAGMENT_MIN: u64 = 2_000_000_000;
/** Headers grow by so much at most. */
const GROWTH: u32 = IPV6_HEADER + FRAGMENT_HEADER - IPV4_HEADER;

/**
 * @param outside index of the outside address that it is sent to
 * @param isHairpin it comes from inside, and was translated already
 */
export function into(p: Packet, outside: u32, isHairpin: bool): Output {
  if (p.isMalformed) return drop(Counters.malformed);
  const protocol = p.protocol;
  const remote = load<u32>(p.ip, IPV4_SOURCE);
  if (protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP && protocol != PROTOCOL_ICMP) {
    return drop(Counters.unsupportedProtocol);
  }
  if (protocol == PROTOCOL_ICMP) {
    if (p.isFragment) return drop(Counters.fragment);
    // Of an error, the address may be any: it is for finding what is wrong (RFC 7915, 4.1).
    if (isError4(Icmp.of(p).type)) return errorInto(p, isHairpin);
  }
  if (!isHost(remote)) return drop(Counters.badAddress);
  if (!isHairpin && outsideIndex(remote) >= 0) return drop(Counters.badAddress);
  if (!isHairpin && !mayRepresent(remote, params.nonGlobal == NonGlobal.translate)) {
    return drop(Counters.nonGlobal);
  }
  return p.hasTransport ? whole(p, protocol, remote, outside, isHairpin) : later(p, isHairpin);
}

function whole(p: Packet, protocol: u8, remote: u32, outside: u32, isHairpin: bool): Output {
  let ports = load<u32>(p.transport);
  if (protocol == PROTOCOL_ICMP) {
    // A query from outside has no mapping, and none is made for it.
    if (Icmp.of(p).type != ICMP_ECHO_REPLY) return drop(Counters.noMapping);
    ports = (<u32>load<u16>(p.transport, ICMP_IDENTIFIER)) << 16;
  }
  if (!findIn(protocol, remote, load<u32>(p.ip, 16), ports)) {
    return drop(isMapped(outside, protocol, ports >> 16) ? Counters.filtered : Counters.noMapping);
  }
  if (hasRouteLeft(p))
    return isHairpin ? drop(Counters.sourceRouted) : refuse(p, Counters.sourceRouted, 3, 5, 0);
  const isUnchecked =
    protocol == PROTOCOL_UDP && !p.has(PACKET_FLAG_CSUM_PARTIAL) && load<u16>(p.transport, UDP_CHECKSUM) == 0;
  // Only the whole datagram can be summed (RFC 6146, 3.4).
  if (isUnchecked && p.isFragment) return drop(Counters.noChecksum);
  const high = seenHigh;
  const low = seenLow;
  const port = seenPort;
  const record = seenRecord;
  const timer = seenTimer;
  if (p.isFragment) keepFirst(p, high, low);
  const segment = protocol == PROTOCOL_TCP ? Tcp.of(p).flags : 0;
  const output = toHost(p, protocol, high, low, port, isHairpin);
  if (output != OUTPUT_DROP && (isHairpin || output == OUTPUT_NEXT)) {
    const units = unitsOf(now());
    if (protocol == PROTOCOL_TCP) trackInbound(segment, record, timer, units, params.inboundRefresh);
    else if (params.inboundRefresh) setTimer(record, timer, <u8>timer, <u8>(timer >> 8), units);
  }
  if (p.isFragment && waiting.count != 0) release();
  return output;
}

function later(p: Packet, isHairpin: bool): Output {
  if (followFirst(p)) return follow(p, isHairpin);
  if (waiting.count == MOST_WAITING || !hold(p)) return drop(Counters.fragment);
  waiting.add(p, now() + FRAGMENT_MIN);
  if (waiting.count == 1) waiting.wake(now());
  return OUTPUT_HOLD;
}

function follow(p: Packet, isHairpin: bool): Output {
  counter(Counters.fragments).add(1);
  return toHost(p, p.protocol, firstHigh(), firstLow(), 0, isHairpin);
}

/** Lets those go on whose first fragment has come, and those that have waited long enough go nowhere. */
export function release(): void {
  let i: u32 = 0;
  while (i < waiting.count) {
    const p = waiting.at(i);
    const isKnown = followFirst(p);
    if (!isKnown && waiting.dueOf(i) > now()) {
      i++;
      continue;
    }
    waiting.remove(i);
    // From outside nothing comes in with such a source.
    const isHairpin = outsideIndex(load<u32>(p.ip, IPV4_SOURCE)) >= 0;
    emit(p, isKnown ? follow(p, isHairpin) : drop(Counters.fragment));
  }
  waiting.wake(now());
}

/** Translates a packet, and cuts it where an IPv4 router might have. */
function toHost(p: Packet, protocol: u8, high: u64, low: u64, port: u16, isHairpin: bool): Output {
  const hops: u8 = isHairpin ? 0 : 1;
  if (!isHairpin && Ipv4.of(p).ttl <= 1) return refuse(p, Counters.expired, 11, 0, 0);
  const header = Ipv4.of(p).headerLength;
  const bytes = <u32>(p.ipEnd - p.ip) - header;
  const extra = p.isFragment ? FRAGMENT_HEADER : 0;
  const longest = wireBytes(p, IPV6_HEADER + extra, bytes);
  const output = isHairpin ? params.hairpin : OUTPUT_NEXT;
  const mayCut = (Ipv4.of(p).fragment & IPV4_DONT_FRAGMENT) == 0;
  if (!mayCut && longest > ipv6Mtu) {
    const mtu = ipv6Mtu - (IPV6_HEADER - IPV4_HEADER) - extra;
    return isHairpin ? drop(Counters.tooBig) : refuse(p, Counters.tooBig, 3, 4, mtu);
  }
  // Filters before may have used up the headroom.
  if (!makeRoom(p, GROWTH)) return drop(Counters.noSlot);
  const mustCut = mayCut && longest > lowestIpv6Mtu;
  if (!mustCut) {
    toIpv6(p, protocol, high, low, port, p.isFragment, hops);
    return output;
  }
  if (isSuper(p) && !cutSegments(p, protocol, high, low, port, hops, output)) return drop(Counters.noSlot);
  return cutOne(p, protocol, high, low, port, hops, output) ? output : drop(Counters.noSlot);
}

/** A packet that is too long, and may be cut. @returns false: there are no slots for the pieces */
function cutOne(p: Packet, protocol: u8, high: u64, low: u64, port: u16, hops: u8, output: Output): bool {
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  const needsHeader =
    p.isFragment || IPV6_HEADER + <u32>(p.ipEnd - p.ip) - Ipv4.of(p).headerLength > lowestIpv6Mtu;
  toIpv6(p, protocol, high, low, port, needsHeader, hops);
  return !needsHeader || cut(p, output);
}

/** All segments of a super-packet but the last, each cut again. */
function cutSegments(
  p: Packet,
  protocol: u8,
  high: u64,
  low: u64,
  port: u16,
  hops: u8,
  output: Output,
): bool {
  while (dataBytes(p) > <u32>p.vnetGsoSize) {
    const segment = freshPacket(p);
    if (changetype<usize>(segment) == 0) return false;
    if (!segmentFits(p, segment)) {
      giveBack(segment);
      return false;
    }
    cutSegment(p, segment);
    emit(segment, cutOne(segment, protocol, high, low, port, hops, output) ? output : drop(Counters.noSlot));
  }
  clearSuper(p);
  return true;
}
