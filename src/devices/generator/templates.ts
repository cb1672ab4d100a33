/**
 * Packets made once for each protocol and size, without addresses, ports and checksums. Those differ by flow, and the
 * Internet checksum is a sum (RFC 1071), so a packet's own is the template's sum plus that of what is filled in.
 * Sums are of 16-bit words as they lie in memory, so checksums need no byte swap.
 */
import type { Family } from "../../params/addresses.ts";
import { type FlowEntry, headerBytes, type Transport } from "./flows.ts";

/** Offset of a transport header's checksum. */
const CHECKSUM_AT = { udp: 6, tcp: 16, icmp: 2 } as const;
const PROTOCOL = { 4: { udp: 17, tcp: 6, icmp: 1 }, 6: { udp: 17, tcp: 6, icmp: 58 } } as const;
const ICMP_ECHO = { 4: 8, 6: 128 } as const;
const TTL = 64;
const DONT_FRAGMENT = 0x40;
const TCP_ACK_PSH = 0x18;

export interface Template {
  family: Family;
  transport: Transport;
  bytes: Uint8Array;
  /** Offset of the transport header. */
  transportAt: number;
  /** Offset of its checksum. */
  checksumAt: number;
  /** Sum of the IPv4 header without addresses and checksum; 0 for IPv6. */
  headerSum: number;
  /** Sum of the transport header, the payload and the pseudo-header, without addresses, ports and checksum. */
  transportSum: number;
}

/** The templates of all entries: one for each IP version, protocol and size. */
export function makeTemplates(entries: FlowEntry[], seed: number): Template[] {
  const templates = new Map<string, Template>();
  for (const { family, transport, sizes } of entries) {
    for (const size of sizes) {
      const key = templateKey(family, transport, size);
      if (!templates.has(key)) templates.set(key, makeTemplate(family, transport, size, seed));
    }
  }
  return [...templates.values()];
}

/** Which template of the list an entry's size takes. */
export function templateIndex(templates: Template[], { family, transport }: FlowEntry, size: number): number {
  const key = templateKey(family, transport, size);
  return templates.findIndex(
    (other) => templateKey(other.family, other.transport, other.bytes.length) === key,
  );
}

/** Bytes of memory for the templates of these entries, each on a cache line. */
export function templateBytes(entries: FlowEntry[]): number {
  const sizes = new Map<string, number>();
  for (const { family, transport, sizes: all } of entries) {
    for (const size of all) sizes.set(templateKey(family, transport, size), size);
  }
  return [...sizes.values()].reduce((sum, size) => sum + alignedBytes(size), 0);
}

export function alignedBytes(size: number): number {
  return Math.ceil(size / 64) * 64;
}

function templateKey(family: Family, transport: Transport, size: number): string {
  return `${family} ${transport} ${size}`;
}

function makeTemplate(family: Family, transport: Transport, size: number, seed: number): Template {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  const protocol = PROTOCOL[family][transport];
  const transportAt = family === 4 ? 20 : 40;
  const length = size - transportAt;
  if (family === 4) {
    bytes[0] = 0x45;
    view.setUint16(2, size);
    // Never fragmented, so the identification may be 0 (RFC 6864, section 4.1).
    bytes[6] = DONT_FRAGMENT;
    bytes[8] = TTL;
    bytes[9] = protocol;
  } else {
    bytes[0] = 0x60;
    view.setUint16(4, length);
    bytes[6] = protocol;
    bytes[7] = TTL;
  }
  const random = xorshift(seed);
  if (transport === "udp") {
    view.setUint16(transportAt + 4, length);
  } else if (transport === "tcp") {
    view.setUint32(transportAt + 4, random());
    view.setUint32(transportAt + 8, random());
    view.setUint16(transportAt + 12, (5 << 12) | TCP_ACK_PSH);
    view.setUint16(transportAt + 14, 0xffff);
  } else {
    bytes[transportAt] = ICMP_ECHO[family];
  }
  for (let at = headerBytes({ family, transport }); at < size; at++) bytes[at] = random() >>> 24;
  // ICMP of IPv4 alone has no pseudo-header. The upper half of its length field is 0: no packet is that long.
  const hasPseudoHeader = family === 6 || transport !== "icmp";
  const pseudo = hasPseudoHeader ? swap16(length) + swap16(protocol) : 0;
  return {
    family,
    transport,
    bytes,
    transportAt,
    checksumAt: transportAt + CHECKSUM_AT[transport],
    headerSum: family === 4 ? sum16(bytes, 0, 20) : 0,
    transportSum: fold(sum16(bytes, transportAt, size) + pseudo),
  };
}

/** Marsaglia's xorshift32. */
function xorshift(seed: number): () => number {
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Sum of the little-endian 16-bit words from `start` to before `end`, an odd last byte padded with 0; folded. */
export function sum16(bytes: ArrayLike<number>, start: number, end: number): number {
  let sum = 0;
  for (let i = start; i < end; i += 2) sum += bytes[i] | (i + 1 < end ? bytes[i + 1] << 8 : 0);
  return fold(sum);
}

/** Adds the carries of a sum below 2^32 back into 16 bits. */
export function fold(sum: number): number {
  const once = (sum & 0xffff) + (sum >>> 16);
  return (once & 0xffff) + (once >>> 16);
}

export function swap16(value: number): number {
  return ((value & 0xff) << 8) | ((value >>> 8) & 0xff);
}
