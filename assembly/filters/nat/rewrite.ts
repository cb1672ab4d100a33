// Puts another endpoint into a packet and brings its checksums along by what changed (RFC 1624): addresses are in the
// IPv4 header's checksum and, through the pseudo-header, in that of TCP and UDP; ports are in the latter only. What changes
// is the same for every packet of a session, so it is worked out when the session is made.

import {
  applyChange,
  applyChangePartial,
  applyChangeUdp,
  fold,
  ICMP_CHECKSUM,
  ICMP_IDENTIFIER,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  PACKET_FLAG_CSUM_PARTIAL,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  TCP_CHECKSUM,
  UDP_CHECKSUM,
} from "pktflow/assembly";

/** Which way a packet goes: an offset of tuples in a session, too. */
export const OUTWARDS: usize = 0;
export const INWARDS: usize = 16;

/**
 * What putting an outside endpoint in the place of an inside one changes: of the address in the low half, of all that the
 * transport's checksum covers in the high half. Addresses and ports are as in packets.
 */
export function changesOf(protocol: u8, inside: u32, outside: u32, port: u32, outsidePort: u32): u32 {
  const ofAddress = change(inside, outside);
  const ofPort = change(port & 0xffff, outsidePort & 0xffff);
  // ICMP has no pseudo-header.
  const ofBoth = protocol == PROTOCOL_ICMP ? ofPort : fold(<u64>ofAddress + <u64>ofPort);
  return ofAddress | (ofBoth << 16);
}

/**
 * The same of a packet whose both ends change.
 * @param all, allPorts of one from inside; @param into, intoPorts of one from outside: its ends are the other way round
 */
export function changesOfBoth(protocol: u8, all: u64, allPorts: u32, into: u64, intoPorts: u32): u32 {
  const own = changesOf(protocol, <u32>all, <u32>(into >> 32), allPorts, intoPorts >> 16);
  const address = change(<u32>(all >> 32), <u32>into);
  // The one identifier of an ICMP query is the port of the end that asks.
  const ports = change(allPorts >> 16, intoPorts & 0xffff);
  const both: u32 = protocol == PROTOCOL_ICMP ? 0 : fold(<u64>address + <u64>ports);
  return fold(<u64>(own & 0xffff) + <u64>address) | (fold(<u64>(own >> 16) + <u64>both) << 16);
}

/** ~from + to (RFC 1624), of one word or two: the upper one's ~0 for a word is no change. As they lie in packets. */
export function change(from: u32, to: u32): u32 {
  return fold(<u64>(from ^ 0xffffffff) + <u64>to);
}

export class Rewrite {
  /**
   * Translates a TCP or UDP packet.
   * @param way OUTWARDS changes the source, INWARDS the destination
   * @param address and port that it gets, as they lie in it; @param difference the session's, on the way in its complement
   */
  static ports(
    p: Packet,
    ip: usize,
    transport: usize,
    protocol: u8,
    way: usize,
    address: u32,
    port: u16,
    difference: u32,
  ): void {
    store<u32>(ip + (way >> 2), address, IPV4_SOURCE);
    store<u16>(transport + (way >> 3), port);
    store<u16>(ip, Rewrite.changed(load<u16>(ip, IPV4_CHECKSUM), difference & 0xffff), IPV4_CHECKSUM);
    Rewrite.transport(p, transport, protocol, difference & 0xffff, difference >> 16);
  }

  /** Brings the checksum of TCP or UDP along. @param ofAddress what the addresses change, @param ofBoth and the ports */
  @inline static transport(p: Packet, transport: usize, protocol: u8, ofAddress: u32, ofBoth: u32): void {
    if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
      // Only the pseudo-header is summed so far, and it has no ports.
      applyChangePartial(transport + checksumOffset(protocol), ofAddress);
    } else if (protocol == PROTOCOL_UDP) {
      Rewrite.udp(transport, ofBoth);
    } else {
      store<u16>(transport, Rewrite.changed(load<u16>(transport, TCP_CHECKSUM), ofBoth), TCP_CHECKSUM);
    }
  }

  /** UDP's: 0 means that there is none, and stays, and a computed 0 is sent as 0xffff (RFC 768). */
  @inline static udp(transport: usize, ofBoth: u32): void {
    const old = load<u16>(transport, UDP_CHECKSUM);
    const sum = Rewrite.changed(old, ofBoth);
    if (old != 0) store<u16>(transport, sum == 0 ? 0xffff : sum, UDP_CHECKSUM);
  }

  /** Equation 3 of RFC 1624: one fold is enough for two words, and a multiplication is one. */
  @inline static changed(checksum: u16, difference: u32): u16 {
    return <u16>~((((<u32>checksum ^ 0xffff) + difference) * 0x10001) >> 16);
  }
}

/** Translates any packet of a session: TCP, UDP, or an ICMP query. */
export function translate(
  p: Packet,
  protocol: u8,
  way: usize,
  addresses: u64,
  ports: u32,
  changes: u32,
): void {
  const ip = p.ip;
  const transport = p.transport;
  const address = endAddress(way, addresses);
  const port = endPort(way, ports);
  const difference = way == OUTWARDS ? changes : ~changes;
  if (protocol != PROTOCOL_ICMP) {
    Rewrite.ports(p, ip, transport, protocol, way, address, port, difference);
    return;
  }
  store<u32>(ip + (way == OUTWARDS ? IPV4_SOURCE : IPV4_DESTINATION), address);
  store<u16>(transport, port, ICMP_IDENTIFIER);
  store<u16>(ip, Rewrite.changed(load<u16>(ip, IPV4_CHECKSUM), difference & 0xffff), IPV4_CHECKSUM);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) return;
  store<u16>(
    transport,
    Rewrite.changed(load<u16>(transport, ICMP_CHECKSUM), difference >> 16),
    ICMP_CHECKSUM,
  );
}

/** The same of a session that changes both ends. */
export function translateBoth(
  p: Packet,
  protocol: u8,
  way: usize,
  addresses: u64,
  ports: u32,
  changes: u32,
): void {
  const ip = p.ip;
  const transport = p.transport;
  const difference = way == OUTWARDS ? changes : ~changes;
  store<u64>(ip, rotl<u64>(addresses, 32), IPV4_SOURCE);
  applyChange(ip + IPV4_CHECKSUM, difference & 0xffff);
  if (protocol == PROTOCOL_ICMP) store<u16>(transport, endPort(way, ports), ICMP_IDENTIFIER);
  else store<u32>(transport, rotl<u32>(ports, 16));
  const field = transport + checksumOffset(protocol);
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
    if (protocol != PROTOCOL_ICMP) applyChangePartial(field, difference & 0xffff);
  } else if (protocol == PROTOCOL_UDP) {
    applyChangeUdp(field, difference >> 16);
  } else {
    applyChange(field, difference >> 16);
  }
}

/** The endpoint that a packet gets: of the other direction's tuple, the end on the other side. */
export function endAddress(way: usize, addresses: u64): u32 {
  return <u32>(way == OUTWARDS ? addresses >> 32 : addresses);
}
export function endPort(way: usize, ports: u32): u16 {
  return <u16>(way == OUTWARDS ? ports >> 16 : ports);
}

export function checksumOffset(protocol: u8): usize {
  return protocol == PROTOCOL_TCP ? TCP_CHECKSUM : protocol == PROTOCOL_UDP ? UDP_CHECKSUM : ICMP_CHECKSUM;
}

/** A packet's two ports as they lie in it; of an ICMP query, its identifier as the port of the end that asked. */
export function portsOf(transport: usize, protocol: u8, way: usize): u32 {
  if (protocol != PROTOCOL_ICMP) return load<u32>(transport);
  const identifier = <u32>load<u16>(transport, ICMP_IDENTIFIER);
  return way == OUTWARDS ? identifier : identifier << 16;
}

/**
 * Puts another endpoint into the packet that an ICMP error quotes. Its transport checksum may be cut off.
 * @param ip the quoted IPv4 header; @param transport the quoted transport header, 8 bytes at least; @param end of both
 * @param address and port as in packets
 * @returns the change of all words together, for the checksum of the ICMP error
 */
export function setQuoted(
  ip: usize,
  transport: usize,
  end: usize,
  protocol: u8,
  addressAt: usize,
  portAt: usize,
  address: u32,
  port: u16,
): u32 {
  const ofAddress = change(load<u32>(ip + addressAt), address);
  const ofPort = change(load<u16>(transport + portAt), port);
  store<u32>(ip + addressAt, address);
  store<u16>(transport + portAt, port);
  const headerSum = load<u16>(ip + IPV4_CHECKSUM);
  applyChange(ip + IPV4_CHECKSUM, ofAddress);
  const all = ofAddress + ofPort + change(headerSum, load<u16>(ip + IPV4_CHECKSUM));
  const field = transport + checksumOffset(protocol);
  if (field + 2 > end) return all;
  const before = load<u16>(field);
  if (protocol == PROTOCOL_TCP) applyChange(field, ofAddress + ofPort);
  else if (protocol == PROTOCOL_UDP) applyChangeUdp(field, ofAddress + ofPort);
  else applyChange(field, ofPort);
  return all + change(before, load<u16>(field));
}
