// ICMP errors (RFC 5508, section 4): an error is about a packet that went through a mapping the other way, which it
// quotes. Both the error's own addresses and the quoted packet are translated, so that whoever gets the error
// recognizes what it sent: traceroute and path MTU discovery live on that. Errors neither refresh nor end a mapping
// (REQ-6).
//
//   from outside:  [to: outside endpoint's address | quotes: from outside endpoint, to somebody]   -> inside
//   from inside:   [from: inside host or router    | quotes: from somebody, to inside endpoint]    -> outside

import {
  applyChange,
  counter,
  ICMP_CHECKSUM,
  ICMP_DESTINATION_UNREACHABLE,
  ICMP_ECHO,
  ICMP_ECHO_REPLY,
  ICMP_IDENTIFIER,
  ICMP_PARAMETER_PROBLEM,
  ICMP_TIME_EXCEEDED,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_HEADER,
  IPV4_OFFSET_MASK,
  IPV4_PROTOCOL,
  IPV4_SOURCE,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  RawIpv4,
  sum,
  sumIpv4Header,
} from "pktflow/assembly";
import { findIn, findInTwice, findOut, findOutTwice, seenAddresses, seenPorts } from "./lookup";
import { Counters, params } from "./params";
import { change, endAddress, endPort, INWARDS, OUTWARDS, setQuoted } from "./rewrite";
import { hasTwice, isTranslated } from "./settings";

// Where the packet at hand quotes another.
let quoted: usize = 0;
let quotedTransport: usize = 0;
let quotedEnd: usize = 0;
let quotedProtocol: u8 = 0;

export function isError(type: u8): bool {
  return type == ICMP_DESTINATION_UNREACHABLE || type == ICMP_TIME_EXCEEDED || type == ICMP_PARAMETER_PROBLEM;
}

/** @param toOutside index of the outside address that it is sent to, or -1 */
export function translateError(p: Packet, fromInside: bool, toOutside: i32): Output {
  const refused = checkError(p);
  if (refused >= 0) {
    counter(refused).add(1);
    return OUTPUT_DROP;
  }
  // Both: an inside host answers what another one sent through its own outside endpoint.
  if ((fromInside && !outwards(p)) || (toOutside >= 0 && !inwards(p))) {
    counter(Counters.noMapping).add(1);
    return OUTPUT_DROP;
  }
  counter(Counters.errors).add(1);
  return fromInside && toOutside >= 0 ? params.hairpin : OUTPUT_NEXT;
}

/** Proves what the two directions need. @returns the counter of what is wrong, or -1 */
function checkError(p: Packet): i32 {
  if (p.isFragment) return Counters.fragment;
  const icmp = p.transport;
  const end = p.ipEnd;
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL) && sum(icmp, <u32>(end - icmp)) != 0xffff) return Counters.badChecksum;
  quoted = <usize>p.data + p.payload;
  quotedEnd = end;
  if (quoted + IPV4_HEADER > end || load<u8>(quoted) >> 4 != 4) return Counters.malformed;
  const headerLength = RawIpv4.at(quoted).headerLength;
  quotedTransport = quoted + headerLength;
  // RFC 792 promises 64 bits of the transport header.
  if (headerLength < IPV4_HEADER || quotedTransport + 8 > end) return Counters.malformed;
  if (sumIpv4Header(quoted) != 0xffff) return Counters.badChecksum;
  if ((RawIpv4.at(quoted).fragment & IPV4_OFFSET_MASK) != 0) return Counters.fragment;
  quotedProtocol = load<u8>(quoted, IPV4_PROTOCOL);
  return isTranslated(quotedProtocol) ? -1 : Counters.unsupportedProtocol;
}

/** From inside: the quoted packet is one from outside, as it came to the inside endpoint. */
function outwards(p: Packet): bool {
  if (quotedProtocol == PROTOCOL_ICMP && !isReply(load<u8>(quotedTransport))) return false;
  // Its answer would have the session's tuple.
  const ports = turnedPorts(OUTWARDS);
  if (!findOut(quotedProtocol, turned(quoted), ports)) {
    if (!hasTwice || !findOutTwice(quotedProtocol, turned(quoted), ports)) return false;
    replaceFarEnd(p, OUTWARDS);
  }
  const address = endAddress(OUTWARDS, seenAddresses());
  replaceQuoted(p, IPV4_DESTINATION, portOffset(2), address, endPort(OUTWARDS, seenPorts()));
  replaceAddress(p, IPV4_SOURCE, address);
  return true;
}

/** From outside: the quoted packet is one from inside, as it left the outside endpoint. */
function inwards(p: Packet): bool {
  if (quotedProtocol == PROTOCOL_ICMP && !isRequest(load<u8>(quotedTransport))) return false;
  const ports = turnedPorts(INWARDS);
  if (!findIn(quotedProtocol, turned(quoted), ports)) {
    if (!hasTwice || !findInTwice(quotedProtocol, turned(quoted), ports)) return false;
    replaceFarEnd(p, INWARDS);
  }
  const address = endAddress(INWARDS, seenAddresses());
  replaceQuoted(p, IPV4_SOURCE, portOffset(0), address, endPort(INWARDS, seenPorts()));
  replaceAddress(p, IPV4_DESTINATION, address);
  return true;
}

/** The other end of a session that changes both (twice.ts), in the quoted packet, and in the error where it is to or from that. */
function replaceFarEnd(p: Packet, way: usize): void {
  const isOutwards = way == OUTWARDS;
  const quotedAt: usize = isOutwards ? IPV4_SOURCE : IPV4_DESTINATION;
  const at: usize = isOutwards ? IPV4_DESTINATION : IPV4_SOURCE;
  const before = load<u32>(quoted + quotedAt);
  const address = isOutwards ? <u32>seenAddresses() : <u32>(seenAddresses() >> 32);
  const portAt = portOffset(isOutwards ? 0 : 2);
  // An ICMP query's identifier belongs to the near end.
  let port = load<u16>(quotedTransport + portAt);
  if (quotedProtocol != PROTOCOL_ICMP) port = <u16>(isOutwards ? seenPorts() : seenPorts() >> 16);
  replaceQuoted(p, quotedAt, portAt, address, port);
  if (load<u32>(p.ip + at) == before) replaceAddress(p, at, address);
}

/** The quoted packet's addresses, destination first: those of what would answer it. */
function turned(ip: usize): u64 {
  return <u64>load<u32>(ip, IPV4_DESTINATION) | ((<u64>load<u32>(ip, IPV4_SOURCE)) << 32);
}

/** The same of its ports. @param way of the answer: of a query, the identifier is the port of the end that asked */
function turnedPorts(way: usize): u32 {
  if (quotedProtocol != PROTOCOL_ICMP) return rotr<u32>(load<u32>(quotedTransport), 16);
  const identifier = <u32>load<u16>(quotedTransport, ICMP_IDENTIFIER);
  return way == OUTWARDS ? identifier : identifier << 16;
}

function portOffset(ofPort: usize): usize {
  return quotedProtocol == PROTOCOL_ICMP ? ICMP_IDENTIFIER : ofPort;
}

function replaceQuoted(p: Packet, addressAt: usize, portAt: usize, address: u32, port: u16): void {
  const difference = setQuoted(
    quoted,
    quotedTransport,
    quotedEnd,
    quotedProtocol,
    addressAt,
    portAt,
    address,
    port,
  );
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) applyChange(p.transport + ICMP_CHECKSUM, difference);
}

/** ICMP has no pseudo-header: only the IPv4 header's checksum has the address. */
function replaceAddress(p: Packet, addressAt: usize, address: u32): void {
  const ip = p.ip;
  applyChange(ip + IPV4_CHECKSUM, change(load<u32>(ip + addressAt), address));
  store<u32>(ip + addressAt, address);
}

/** Queries have an identifier (RFC 792; RFC 950 for address masks): echo, timestamp, information, address mask. */
export function isRequest(type: u8): bool {
  return type == ICMP_ECHO || type == 13 || type == 15 || type == 17;
}
export function isReply(type: u8): bool {
  return type == ICMP_ECHO_REPLY || type == 14 || type == 16 || type == 18;
}
