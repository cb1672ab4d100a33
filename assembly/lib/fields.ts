// Words of a packet's headers set together with every checksum that covers them (RFC 1624): what the setters of the views
// (wire/ipv4.ts and its like) and of Edit are made of. A partial checksum (PACKET_FLAG_CSUM_PARTIAL) holds the pseudo-header's
// sum alone, so that nothing of the transport header is in it.

import { PACKET_FLAG_CSUM_PARTIAL } from "../abi/layout";
import { Packet } from "../abi/packet";
import { be16, be32, be64, setBe16, setBe32, setBe64 } from "../wire/bytes";
import { ICMP_CHECKSUM } from "../wire/icmp";
import { IPV4_CHECKSUM, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP } from "../wire/ipv4";
import { TCP_CHECKSUM } from "../wire/tcp";
import { UDP_CHECKSUM } from "../wire/udp";
import {
  applyChange,
  applyChangePartial,
  applyChangeUdp,
  change16,
  change32,
  change128,
  complement,
  sum,
} from "./checksum";

/** An octet of the IPv4 header, by the change of the word that it is in. */
export function setIpv4Octet(p: Packet, offset: usize, value: u8): void {
  const word = p.ip + (offset & ~1);
  const before = be16(word);
  const after = withOctet(before, offset, value);
  setBe16(word, after);
  applyChange(p.ip + IPV4_CHECKSUM, change16(before, after));
}

/** 16 bits of the IPv4 header at an even offset, in host order. */
export function setIpv4Word(p: Packet, offset: usize, value: u16): void {
  const at = p.ip + offset;
  const before = be16(at);
  setBe16(at, value);
  applyChange(p.ip + IPV4_CHECKSUM, change16(before, value));
}

/** An address of the IPv4 header, which is in the pseudo-header too. */
export function setIpv4Address(p: Packet, offset: usize, address: u32): void {
  const ip = p.ip;
  const change = change32(be32(ip + offset), address);
  setBe32(ip + offset, address);
  applyChange(ip + IPV4_CHECKSUM, change);
  changePseudoHeader(p, change);
}

/** An address of the IPv6 header, in halves in host order. */
export function setIpv6Address(p: Packet, offset: usize, high: u64, low: u64): void {
  const at = p.ip + offset;
  const change = change128(be64(at), be64(at + 8), high, low);
  setBe64(at, high);
  setBe64(at + 8, low);
  changePseudoHeader(p, change);
}

/** An octet of the transport header. */
export function setTransportOctet(p: Packet, offset: usize, value: u8): void {
  const word = p.transport + (offset & ~1);
  const before = be16(word);
  const after = withOctet(before, offset, value);
  setBe16(word, after);
  changeTransport(p, change16(before, after));
}

/** Not stored as an octet and loaded as a word: the processor would wait for the store. */
function withOctet(word: u16, offset: usize, value: u8): u16 {
  return (offset & 1) != 0 ? (word & 0xff00) | <u16>value : (word & 0xff) | ((<u16>value) << 8);
}

/** 16 bits of the transport header at an even offset, in host order. */
export function setTransportWord(p: Packet, offset: usize, value: u16): void {
  const at = p.transport + offset;
  const before = be16(at);
  setBe16(at, value);
  changeTransport(p, change16(before, value));
}

/** 32 bits of the transport header at an even offset, in host order. */
export function setTransportLong(p: Packet, offset: usize, value: u32): void {
  const at = p.transport + offset;
  const before = be32(at);
  setBe32(at, value);
  changeTransport(p, change32(before, value));
}

function changeTransport(p: Packet, change: u32): void {
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) applyTransport(p, change);
}

/** ICMP has no pseudo-header, ICMPv6 has (RFC 4443, 2.3). */
function changePseudoHeader(p: Packet, change: u32): void {
  if (!p.hasTransport || p.protocol == PROTOCOL_ICMP) return;
  if (!p.has(PACKET_FLAG_CSUM_PARTIAL)) {
    applyTransport(p, change);
    return;
  }
  if (p.protocol == PROTOCOL_TCP) applyChangePartial(p.transport + TCP_CHECKSUM, change);
  else if (p.protocol == PROTOCOL_UDP) applyChangePartial(p.transport + UDP_CHECKSUM, change);
}

function applyTransport(p: Packet, change: u32): void {
  const at = p.transport;
  if (p.protocol == PROTOCOL_TCP) applyChange(at + TCP_CHECKSUM, change);
  else if (p.protocol == PROTOCOL_UDP) applyChangeUdp(at + UDP_CHECKSUM, change);
  else if (p.protocol == PROTOCOL_ICMPV6) applyChange(at + ICMP_CHECKSUM, change);
  else if (p.protocol == PROTOCOL_ICMP) {
    applyChange(at + ICMP_CHECKSUM, change);
    // All else may be zeros: their sum is zero in the other of its two forms, which an update cannot tell.
    if (load<u16>(at, ICMP_CHECKSUM) == 0 && !p.isFragment) {
      store<u16>(at, complement(sum(at, <u32>(p.ipEnd - at))), ICMP_CHECKSUM);
    }
  }
}
