/**
 * RFC 7915 by its words, a packet at a time and slowly: every header is written anew and every checksum computed from nothing.
 * What nat64 does is held against it. Packets are whole datagrams; what is a fragment is put together before (fragments.ts).
 */
import { checksum } from "./checksum.ts";

/** Where a packet comes from or goes to afterwards: an address of the other family, and a port or identifier. */
export interface End {
  address: Uint8Array;
  port?: number;
}
export interface Ends {
  from: End;
  to: End;
}

const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];
const bytes16 = (value: number) => [(value >> 8) & 255, value & 255];
const join = (...parts: (Uint8Array | number[])[]) => Uint8Array.from(parts.flatMap((part) => [...part]));

/** RFC 6052, 2.2. @param prefix 16 bytes; @param length bits */
export function embed(prefix: Uint8Array, length: number, ipv4: Uint8Array): Uint8Array {
  const head = prefix.slice(0, length / 8);
  if (length === 96) return join(head, ipv4);
  // The four octets follow the prefix, but for octet 8, which is zero.
  const packed = [...head, ...ipv4];
  packed.splice(8, 0, 0);
  return Uint8Array.from({ length: 16 }, (_, i) => packed[i] ?? 0);
}

/** Section 5.1 without fragments, 5.2 for echoes, 5.5. @param id which the translator may choose, but for an atomic fragment */
export function toIpv4(packet: Uint8Array, ends: Ends, hops: number, id: number): Uint8Array {
  let next = packet[6];
  let at = 40;
  let fragment = 0;
  // Hop-by-Hop, Destination Options and Routing headers are left out; so is a Fragment header, of one that is whole.
  while ([0, 43, 44, 60].includes(next)) {
    const length = next === 44 ? 8 : 8 * (packet[at + 1] + 1);
    if (next === 44) fragment = at;
    next = packet[at];
    at += length;
  }
  const upper = packet.slice(at, 40 + word(packet, 4));
  const protocol = next === 58 ? 1 : next;
  const total = 20 + upper.length;
  const trafficClass = (word(packet, 0) >> 4) & 255;
  const flags = total <= 1260 || fragment > 0 ? 0 : 0x40;
  const identification = fragment > 0 ? word(packet, fragment + 6) : id;
  const header = Uint8Array.from([
    ...[0x45, trafficClass, ...bytes16(total), ...bytes16(identification), flags, 0],
    ...[packet[7] - hops, protocol, 0, 0, ...ends.from.address, ...ends.to.address],
  ]);
  header.set(bytes16(checksum(header)), 10);
  const pseudo = join(header.slice(12, 20), [0, protocol], bytes16(upper.length));
  return join(header, upperLayer(upper, protocol, ends, protocol === 1 ? [] : pseudo, { 128: 8, 129: 0 }));
}

/** Section 4.1 without fragments, 4.2 for echoes, 4.5. */
export function toIpv6(packet: Uint8Array, ends: Ends, hops: number): Uint8Array {
  const upper = packet.slice((packet[0] & 15) * 4, word(packet, 2));
  const next = packet[9] === 1 ? 58 : packet[9];
  const header = Uint8Array.from([
    ...[
      0x60 | (packet[1] >> 4),
      (packet[1] & 15) << 4,
      0,
      0,
      ...bytes16(upper.length),
      next,
      packet[8] - hops,
    ],
    ...[...ends.from.address, ...ends.to.address],
  ]);
  const pseudo = join(header.slice(8), [0, 0], bytes16(upper.length), [0, 0, 0, next]);
  return join(header, upperLayer(upper, next, ends, pseudo, { 8: 128, 0: 129 }));
}

/** Ports, or type and identifier of an echo, and the checksum of what is then there. */
function upperLayer(
  before: Uint8Array,
  protocol: number,
  { from, to }: Ends,
  pseudo: Uint8Array | number[],
  types: Record<number, number>,
): Uint8Array {
  const upper = Uint8Array.from(before);
  if (protocol === 1 || protocol === 58) {
    upper[0] = types[upper[0]];
    upper.set(bytes16((from.port ?? to.port)!), 4);
    upper.set([0, 0], 2);
    upper.set(bytes16(checksum(join(pseudo, upper))), 2);
    return upper;
  }
  if (from.port !== undefined) upper.set(bytes16(from.port), 0);
  if (to.port !== undefined) upper.set(bytes16(to.port), 2);
  const at = protocol === 6 ? 16 : 6;
  upper.set([0, 0], at);
  const right = checksum(join(pseudo, upper));
  upper.set(bytes16(protocol === 17 && right === 0 ? 0xffff : right), at);
  return upper;
}

/** A row of the tables of 4.2 and 5.2: type, code and the bytes 4 to 7, or undefined: dropped. */
export type IcmpError = [type: number, code: number, rest: number];

export interface Mtus {
  ipv4: number;
  ipv6: number;
}

/** Section 4.2. The quoted packet is no fragment. */
export function errorToIpv6(
  [type, code, rest]: IcmpError,
  mtus: Mtus,
  quotedLength: number,
): IcmpError | undefined {
  if (type === 3) {
    const codes: Record<number, IcmpError> = { 2: [4, 1, 6], 3: [1, 4, 0] };
    for (const unreachable of [0, 1, 5, 6, 7, 8, 11, 12]) codes[unreachable] = [1, 0, 0];
    for (const prohibited of [9, 10, 13, 15]) codes[prohibited] = [1, 1, 0];
    if (code !== 4) return codes[code];
    const plateaus = [65535, 32000, 17914, 8166, 4352, 2002, 1492];
    const mtu = rest & 0xffff || plateaus.find((plateau) => plateau < quotedLength) || 1280;
    return [2, 0, Math.max(1280, Math.min(mtu + 20, mtus.ipv6, mtus.ipv4 + 20))];
  }
  if (type === 11) return [3, code, 0];
  if (type !== 12 || (code !== 0 && code !== 2)) return undefined;
  const pointers = [
    0,
    1,
    4,
    4,
    undefined,
    undefined,
    undefined,
    undefined,
    7,
    6,
    undefined,
    undefined,
    8,
    8,
    8,
    8,
    24,
    24,
    24,
    24,
  ];
  const pointer = pointers[rest >>> 24];
  return pointer === undefined ? undefined : [4, 0, pointer];
}

/** Section 5.2. */
export function errorToIpv4([type, code, rest]: IcmpError, mtus: Mtus): IcmpError | undefined {
  if (type === 1) {
    const codes = [1, 10, 1, 1, 3];
    return codes[code] === undefined ? undefined : [3, codes[code], 0];
  }
  if (type === 2) return [3, 4, Math.min(rest - 20, mtus.ipv4, mtus.ipv6 - 20)];
  if (type === 3) return [11, code, 0];
  if (type !== 4) return undefined;
  if (code === 1) return [3, 2, 0];
  if (code !== 0) return undefined;
  const pointers: (number | undefined)[] = [0, 1, undefined, undefined, 2, 2, 9, 8];
  for (let i = 8; i < 40; i++) pointers[i] = i < 24 ? 12 : 16;
  const pointer = pointers[rest];
  return pointer === undefined ? undefined : [12, 0, pointer * 2 ** 24];
}

/** An ICMP or ICMPv6 message of an error that quotes something, with its checksum. */
export function errorMessage(
  [type, code, rest]: IcmpError,
  quoted: Uint8Array,
  pseudo: Uint8Array,
): Uint8Array {
  const message = join([type, code, 0, 0, ...bytes16(rest >>> 16), ...bytes16(rest & 0xffff)], quoted);
  message.set(bytes16(checksum(join(pseudo, message))), 2);
  return message;
}
