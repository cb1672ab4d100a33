// ICMP errors (RFC 5508, section 4): an error is about a packet that went through a mapping the other way, which it
// quotes. Both the error's own addresses and the quoted packet are translated, so that whoever gets the error
// recognizes what it sent: traceroute and path MTU discovery live on that. Errors neither refresh nor end a mapping
// (REQ-6).
//
//   from outside:  [to: outside endpoint's address | quotes: from outside endpoint, to somebody]   -> inside
//   from inside:   [from: inside host or router    | quotes: from somebody, to inside endpoint]    -> outside

import {
  applyChange,
  be32,
  change32,
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
  Ipv4,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  setBe32,
  sum,
  sumIpv4Header,
} from "pktflow/assembly";
import { Counters, params } from "./params";
import { destinationPort, setQuoted, sourcePort } from "./rewrite";
import {
  insideKey,
  KIND_ICMP,
  KIND_UDP,
  keyAddress,
  keyPort,
  kindOf,
  mappings,
  outsideIndex,
  poolAddress,
  poolOf,
} from "./settings";

// Where the packet at hand quotes another.
let quoted: usize = 0;
let quotedTransport: usize = 0;
let quotedEnd: usize = 0;
let quotedKind: u32 = 0;

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
  const headerLength = Ipv4.at(quoted).headerLength;
  quotedTransport = quoted + headerLength;
  // RFC 792 promises 64 bits of the transport header.
  if (headerLength < IPV4_HEADER || quotedTransport + 8 > end) return Counters.malformed;
  if (sumIpv4Header(quoted) != 0xffff) return Counters.badChecksum;
  if ((Ipv4.at(quoted).fragment & IPV4_OFFSET_MASK) != 0) return Counters.fragment;
  const kind = kindOf(load<u8>(quoted, IPV4_PROTOCOL));
  if (kind < 0) return Counters.unsupportedProtocol;
  quotedKind = <u32>kind;
  return -1;
}

/** From inside: the quoted packet's destination is the inside endpoint. */
function outwards(p: Packet): bool {
  if (quotedKind == KIND_ICMP && !isReply(load<u8>(quotedTransport))) return false;
  const inside = insideKey(
    quotedKind,
    be32(quoted + IPV4_DESTINATION),
    destinationPort(quotedTransport, quotedKind),
  );
  if (!mappings.findInside(inside, now())) return false;
  const address = poolAddress(mappings.outsidePool);
  replaceQuoted(
    p,
    IPV4_DESTINATION,
    quotedKind <= KIND_UDP ? 2 : ICMP_IDENTIFIER,
    address,
    mappings.outsidePort,
  );
  replaceAddress(p, IPV4_SOURCE, address);
  return true;
}

/** From outside: the quoted packet's source is the outside endpoint. */
function inwards(p: Packet): bool {
  if (quotedKind == KIND_ICMP && !isRequest(load<u8>(quotedTransport))) return false;
  const outside = outsideIndex(be32(quoted + IPV4_SOURCE));
  if (outside < 0) return false;
  const port = sourcePort(quotedTransport, quotedKind);
  if (!mappings.findOutside(poolOf(<u32>outside, quotedKind), port, now())) return false;
  const address = keyAddress(mappings.inside);
  const portAt: usize = quotedKind <= KIND_UDP ? 0 : ICMP_IDENTIFIER;
  replaceQuoted(p, IPV4_SOURCE, portAt, address, keyPort(mappings.inside));
  replaceAddress(p, IPV4_DESTINATION, address);
  return true;
}

function replaceQuoted(p: Packet, addressAt: usize, portAt: usize, address: u32, port: u16): void {
  const change = setQuoted(quoted, quotedTransport, quotedEnd, quotedKind, addressAt, portAt, address, port);
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) applyChange(p.transport + ICMP_CHECKSUM, change);
}

/** ICMP has no pseudo-header: only the IPv4 header's checksum has the address. */
function replaceAddress(p: Packet, addressAt: usize, address: u32): void {
  const ip = p.ip;
  applyChange(ip + IPV4_CHECKSUM, change32(be32(ip + addressAt), address));
  setBe32(ip + addressAt, address);
}

/** Queries have an identifier (RFC 792; RFC 950 for address masks): echo, timestamp, information, address mask. */
export function isRequest(type: u8): bool {
  return type == ICMP_ECHO || type == 13 || type == 15 || type == 17;
}
export function isReply(type: u8): bool {
  return type == ICMP_ECHO_REPLY || type == 14 || type == 16 || type == 18;
}
