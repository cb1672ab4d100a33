/** Super-packets of every kind of header, by fast-check, and what a struct virtio_net_hdr says of them. */
import fc from "fast-check";
import { type SuperPacket, withPartialChecksum } from "../reference/segment.ts";
import type { Given } from "./finisher.ts";

export interface Shape {
  family: 4 | 6;
  protocol: 6 | 17;
  /** IPv4 options or an IPv6 destination options header, 8-byte units of no operation. */
  ipOptions: number;
  /** Bytes of TCP options, a multiple of 4. */
  tcpOptions: number;
  tcpFlags: number;
  id: number;
  seq: number;
  /** Ethernet header, and so many VLAN tags; -1: layer 3. */
  tags: number;
  size: number;
  bytes: number;
  seed: number;
}

export const shapes: fc.Arbitrary<Shape> = fc.record({
  family: fc.constantFrom<4 | 6>(4, 6),
  protocol: fc.constantFrom<6 | 17>(6, 17),
  ipOptions: fc.constantFrom(0, 0, 1, 4),
  tcpOptions: fc.constantFrom(0, 12, 40),
  tcpFlags: fc.integer({ min: 0, max: 255 }),
  id: fc.constantFrom(0, 7, 0xfffe, 0xffff),
  seq: fc.constantFrom(0, 0xfffffff0, 123456),
  tags: fc.constantFrom(-1, -1, 0, 1, 2),
  size: fc.oneof(
    fc.integer({ min: 1, max: 64 }),
    fc.integer({ min: 65, max: 1460 }),
    fc.constantFrom(9000, 30001),
  ),
  bytes: fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 3000, max: 65300 })),
  seed: fc.nat(),
});

/** The packet, its checksum partial. */
export function build(shape: Shape): SuperPacket {
  const { family, protocol, tags } = shape;
  const link = tags < 0 ? [] : ethernet(tags, family);
  const ip = family === 4 ? ipv4(shape) : ipv6(shape);
  const transport = protocol === 6 ? tcp(shape) : [0x13, 0x88, 0, 53, 0, 0, 0, 0];
  const headers = [...link, ...ip, ...transport];
  const bytes = new Uint8Array(headers.length + shape.bytes);
  bytes.set(headers);
  let x = shape.seed | 1;
  for (let i = headers.length; i < bytes.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    bytes[i] = x >>> 24;
  }
  const packet: SuperPacket = {
    bytes,
    l3: link.length,
    l4: link.length + ip.length,
    data: headers.length,
    protocol,
    size: shape.size,
  };
  return { ...packet, bytes: withPartialChecksum(packet) };
}

/** As a device hands it over: more than one segment, or one. */
export function given(p: SuperPacket): Given {
  const vnet = { flags: 1, csumStart: p.l4, csumOffset: p.protocol === 6 ? 16 : 6 };
  if (p.bytes.length - p.data <= p.size) return { bytes: p.bytes, vnet };
  const gsoType = p.protocol === 17 ? 5 : p.bytes[p.l3] >> 4 === 4 ? 1 : 4;
  // The kernel's hdrLen is a hint: how much of the packet lies in one piece.
  return { bytes: p.bytes, vnet: { ...vnet, gsoType, gsoSize: p.size, hdrLen: 1 } };
}

function ethernet(tags: number, family: 4 | 6): number[] {
  const vlan = tags === 2 ? [0x88, 0xa8, 0, 5, 0x81, 0, 0, 6] : tags === 1 ? [0x81, 0, 0, 6] : [];
  return [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, ...vlan, ...(family === 4 ? [8, 0] : [0x86, 0xdd])];
}

function ipv4({ ipOptions, id, protocol }: Shape): number[] {
  const options = Array.from({ length: ipOptions * 8 }, () => 1);
  const first = 0x45 + ipOptions * 2;
  return [
    first,
    0,
    0,
    0,
    id >> 8,
    id & 255,
    0x40,
    0,
    64,
    protocol,
    0,
    0,
    10,
    1,
    0,
    2,
    10,
    2,
    0,
    2,
    ...options,
  ];
}

function ipv6({ ipOptions, protocol }: Shape): number[] {
  const extension = ipOptions === 0 ? [] : [protocol, ipOptions - 1, 1, ipOptions * 8 - 4];
  const padding = Array.from({ length: Math.max(0, ipOptions * 8 - 4) }, () => 0);
  const address = (net: number) => [0xfd, net, ...Array.from({ length: 13 }, () => 0), 2];
  const next = ipOptions === 0 ? protocol : 60;
  return [0x60, 0, 0, 0, 0, 0, next, 64, ...address(1), ...address(2), ...extension, ...padding];
}

function tcp({ seq, tcpOptions, tcpFlags }: Shape): number[] {
  const sequence = [seq >>> 24, (seq >>> 16) & 255, (seq >>> 8) & 255, seq & 255];
  const options = Array.from({ length: tcpOptions }, () => 1);
  const offset = (5 + tcpOptions / 4) << 4;
  return [0x13, 0x88, 0, 80, ...sequence, 0, 0, 0, 9, offset, tcpFlags, 1, 0, 0, 0, 0, 3, ...options];
}
