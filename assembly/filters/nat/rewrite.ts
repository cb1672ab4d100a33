// Puts another endpoint into a packet and brings its checksums along by what changed (RFC 1624): addresses are in the
// IPv4 header's checksum and, through the pseudo-header, in that of TCP and UDP; ports are in the latter only.

import {
  applyChange,
  applyChangePartial,
  applyChangeUdp,
  be16,
  be32,
  change16,
  change32,
  ICMP_CHECKSUM,
  ICMP_IDENTIFIER,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  setBe16,
  setBe32,
  TCP_CHECKSUM,
  UDP_CHECKSUM,
} from "pktflow/assembly";
import { KIND_TCP, KIND_UDP } from "./settings";

export function sourcePort(transport: usize, kind: u32): u16 {
  return be16(transport + (kind <= KIND_UDP ? 0 : ICMP_IDENTIFIER));
}
export function destinationPort(transport: usize, kind: u32): u16 {
  return be16(transport + (kind <= KIND_UDP ? 2 : ICMP_IDENTIFIER));
}

export function setSource(p: Packet, kind: u32, address: u32, port: u16): void {
  setEndpoint(p, kind, IPV4_SOURCE, kind <= KIND_UDP ? 0 : ICMP_IDENTIFIER, address, port);
}

export function setDestination(p: Packet, kind: u32, address: u32, port: u16): void {
  setEndpoint(p, kind, IPV4_DESTINATION, kind <= KIND_UDP ? 2 : ICMP_IDENTIFIER, address, port);
}

function setEndpoint(p: Packet, kind: u32, addressAt: usize, portAt: usize, address: u32, port: u16): void {
  const ip = p.ip;
  const transport = p.transport;
  const ofAddress = change32(be32(ip + addressAt), address);
  const ofPort = change16(be16(transport + portAt), port);
  setBe32(ip + addressAt, address);
  setBe16(transport + portAt, port);
  applyChange(ip + IPV4_CHECKSUM, ofAddress);
  const field = transport + checksumOffset(kind);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
    // Only the pseudo-header is summed so far, and ICMP has none.
    if (kind <= KIND_UDP) applyChangePartial(field, ofAddress);
  } else if (kind == KIND_TCP) {
    applyChange(field, ofAddress + ofPort);
  } else if (kind == KIND_UDP) {
    applyChangeUdp(field, ofAddress + ofPort);
  } else {
    applyChange(field, ofPort);
  }
}

export function checksumOffset(kind: u32): usize {
  return kind == KIND_TCP ? TCP_CHECKSUM : kind == KIND_UDP ? UDP_CHECKSUM : ICMP_CHECKSUM;
}

/**
 * Puts another endpoint into the packet that an ICMP error quotes. Its transport checksum may be cut off.
 * @param ip the quoted IPv4 header; @param transport the quoted transport header, 8 bytes at least; @param end of both
 * @returns the change of all words together, for the checksum of the ICMP error
 */
export function setQuoted(
  ip: usize,
  transport: usize,
  end: usize,
  kind: u32,
  addressAt: usize,
  portAt: usize,
  address: u32,
  port: u16,
): u32 {
  const ofAddress = change32(be32(ip + addressAt), address);
  const ofPort = change16(be16(transport + portAt), port);
  setBe32(ip + addressAt, address);
  setBe16(transport + portAt, port);
  let change = ofAddress + ofPort;
  const headerSum = be16(ip + IPV4_CHECKSUM);
  applyChange(ip + IPV4_CHECKSUM, ofAddress);
  change += change16(headerSum, be16(ip + IPV4_CHECKSUM));
  const field = transport + checksumOffset(kind);
  if (field + 2 > end) return change;
  const before = be16(field);
  if (kind == KIND_TCP) applyChange(field, ofAddress + ofPort);
  else if (kind == KIND_UDP) applyChangeUdp(field, ofAddress + ofPort);
  else applyChange(field, ofPort);
  return change + change16(before, be16(field));
}
