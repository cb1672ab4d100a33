// Any packet, one at a time, with all that may be wrong with it: what the stages of index.ts found no session for, and what is not
// a whole TCP or UDP packet. Here sessions are made.

import {
  counter,
  Icmp,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  Tcp,
} from "pktflow/assembly";
import { unitsOf } from "pktflow/assembly/lib/session-table";
import { isError, isReply, isRequest, translateError } from "./error";
import { follow, keepFirst, OUTPUT_PENDING, readdress } from "./fragments";
import {
  findIn,
  findInTwice,
  findOutTwice,
  seenAddresses,
  seenChanges,
  seenIsTwice,
  seenPorts,
  seenRecord,
  seenTimer,
} from "./lookup";
import { isMapped, refusal } from "./mappings";
import { enter, leave } from "./one-to-one";
import { Counters, params } from "./params";
import { INWARDS, OUTWARDS, portsOf, translate, translateBoth } from "./rewrite";
import { openIn, openOut } from "./sessions";
import {
  allot,
  allottedOutside,
  hasTwice,
  isInside,
  isTranslated,
  outsideIndex,
  pairs,
  poolAddress,
  poolOf,
} from "./settings";
import { isMarkedOutside } from "./special";
import { isTwiceDestination, remoteOf } from "./twice";
import { refresh, track } from "./usage";

export function slow(p: Packet): Output {
  // An address that cannot be read may be an inside one, which must not leak.
  if (!p.isIpv4) return p.isMalformed && !p.isIpv6 ? drop(Counters.malformed) : OUTPUT_NEXT;
  if (pairs == 0) return dynamic(p, isFromInside(p));
  // One that has an outside address of its own is outside from here on.
  const left = leave(p);
  const fromInside = !left && isFromInside(p);
  const toOutside = outsideIndex(load<u32>(p.ip, IPV4_DESTINATION)) >= 0;
  const output = dynamic(p, fromInside);
  if (output != OUTPUT_NEXT) return output;
  // From one side of the translator back to the same.
  const entered = enter(p);
  return (left && toOutside) || (entered && (left || fromInside)) ? params.hairpin : OUTPUT_NEXT;
}

/** By its source, unless its mark says that the same address is outside, too. */
function isFromInside(p: Packet): bool {
  return !isMarkedOutside(p.mark) && isInside(load<u32>(p.ip, IPV4_SOURCE));
}

function dynamic(p: Packet, fromInside: bool): Output {
  const ip = p.ip;
  const toOutside = outsideIndex(load<u32>(ip, IPV4_DESTINATION));
  if (!fromInside && toOutside < 0) return OUTPUT_NEXT;
  const protocol = p.protocol;
  if (!p.hasTransport) {
    if (p.isMalformed) return drop(Counters.malformed);
    return isTranslated(protocol)
      ? followOrGuess(p, fromInside, toOutside)
      : drop(Counters.unsupportedProtocol);
  }
  if (!isTranslated(protocol)) return drop(Counters.unsupportedProtocol);
  if (!p.isFragment) return whole(p, protocol, fromInside, toOutside);
  const came = addressesOf(p);
  const output = whole(p, protocol, fromInside, toOutside);
  keepFirst(p, came, output);
  return output;
}

/** A packet that has ports, or an identifier; or an ICMP error. */
function whole(p: Packet, protocol: u8, fromInside: bool, toOutside: i32): Output {
  if (protocol == PROTOCOL_ICMP && !isRequest(Icmp.of(p).type)) {
    const type = Icmp.of(p).type;
    if (isError(type)) return translateError(p, fromInside, toOutside);
    if (!isReply(type)) return drop(Counters.unsupportedProtocol);
    return fromInside ? drop(Counters.noMapping) : inbound(p, protocol, <u32>toOutside);
  }
  if (fromInside) return toOutside < 0 ? outbound(p, protocol) : hairpin(p, protocol, <u32>toOutside);
  return protocol == PROTOCOL_ICMP ? drop(Counters.noMapping) : inbound(p, protocol, <u32>toOutside);
}

/**
 * A fragment without ports. One to the outside world needs no more than the outside address, which is the same for all that
 * its sender sends (paired pooling), so it need not wait for its first.
 */
function followOrGuess(p: Packet, fromInside: bool, toOutside: i32): Output {
  const output = follow(p);
  if (output != OUTPUT_PENDING || !fromInside || toOutside >= 0) return output;
  const ip = p.ip;
  if (isTwiceDestination(load<u32>(ip, IPV4_DESTINATION))) return output;
  if (!allot(load<u32>(ip, IPV4_SOURCE))) return drop(Counters.noPort);
  readdress(p, poolAddress(poolOf(allottedOutside, PROTOCOL_TCP)), load<u32>(ip, IPV4_DESTINATION));
  counter(Counters.fragments).add(1);
  return OUTPUT_NEXT;
}

function outbound(p: Packet, protocol: u8): Output {
  const destination = load<u32>(p.ip, IPV4_DESTINATION);
  if (hasTwice && isTwiceDestination(destination)) return outboundTwice(p, protocol, destination);
  const ports = portsOf(p.transport, protocol, OUTWARDS);
  if (!openOut(protocol, addressesOf(p), ports, destination)) return params.refused;
  pass(p, protocol, OUTWARDS);
  return OUTPUT_NEXT;
}

/** To an address that stands inside for one outside. */
function outboundTwice(p: Packet, protocol: u8, destination: u32): Output {
  const ports = portsOf(p.transport, protocol, OUTWARDS);
  if (!findOutTwice(protocol, addressesOf(p), ports)) {
    const remote = remoteOf(destination);
    // An answer to a session that is over.
    if (remote == 0) return drop(Counters.noMapping);
    if (!openOut(protocol, addressesOf(p), ports, remote)) return params.refused;
  }
  pass(p, protocol, OUTWARDS);
  // Whom it answers may be an inside host, by its outside endpoint.
  const toOutside = outsideIndex(load<u32>(p.ip, IPV4_DESTINATION));
  if (toOutside < 0) return OUTPUT_NEXT;
  return inbound(p, protocol, <u32>toOutside) == OUTPUT_NEXT ? params.hairpin : OUTPUT_DROP;
}

function inbound(p: Packet, protocol: u8, outside: u32): Output {
  const ports = portsOf(p.transport, protocol, INWARDS);
  const addresses = addressesOf(p);
  if (!(hasTwice && findInTwice(protocol, addresses, ports)) && !findIn(protocol, addresses, ports)) {
    if (!isMapped(outside, protocol, ports >> 16)) return drop(Counters.noMapping);
    if (!openIn(protocol, addresses, ports, outside)) return drop(refusal());
  }
  pass(p, protocol, INWARDS);
  return OUTPUT_NEXT;
}

/** RFC 4787 REQ-9: both hosts see each other's outside endpoint; both sides' sessions must be there. */
function hairpin(p: Packet, protocol: u8, outside: u32): Output {
  // A packet to nobody makes no mapping. A query has no endpoint to go to.
  if (protocol == PROTOCOL_ICMP) return drop(Counters.noMapping);
  const ports = portsOf(p.transport, protocol, OUTWARDS);
  if (!isMapped(outside, protocol, ports >> 16)) return drop(Counters.noMapping);
  // Made even if the other side does not let the packet in: that is how both come to (RFC 5128, 3.3, hole punching).
  const output = outbound(p, protocol);
  if (output != OUTPUT_NEXT) return output;
  return inbound(p, protocol, outside) == OUTPUT_NEXT ? params.hairpin : OUTPUT_DROP;
}

/** Translates a packet by the session seen last, which notes that. */
function pass(p: Packet, protocol: u8, way: usize): void {
  const units = unitsOf(now());
  const timer = seenTimer();
  if (protocol == PROTOCOL_TCP) track(Tcp.of(p).flags, way, seenRecord(), timer, units);
  else refresh(way, seenRecord(), timer, units);
  if (!seenIsTwice()) {
    translate(p, protocol, way, seenAddresses(), seenPorts(), seenChanges());
    return;
  }
  translateBoth(p, protocol, way, seenAddresses(), seenPorts(), seenChanges());
  counter(Counters.twice).add(1);
}

/** Source and destination as they lie in the packet. */
function addressesOf(p: Packet): u64 {
  return load<u64>(p.ip, IPV4_SOURCE);
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
