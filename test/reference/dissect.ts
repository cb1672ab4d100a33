/** What core's dissect must find, written slowly and obviously from the RFCs. Parses slices; a slice is never overrun. */
import { type MALFORMED, PACKET_FLAG } from "../../src/batches/layout.ts";

export type Malformed = (typeof MALFORMED)[number];

export interface Dissection {
  error: Malformed;
  l3: number;
  l4: number;
  payload: number;
  protocol: number;
  flags: number;
  /** What the flow hash is of: endpoints in one order whichever way the packet goes, and the protocol. */
  flow: string;
}

class Bad extends Error {
  readonly reason: Malformed;
  constructor(reason: Malformed) {
    super(reason);
    this.reason = reason;
  }
}

const be16 = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];

export function dissect(packet: Uint8Array, layer: 2 | 3): Dissection {
  const found: Dissection = { error: "none", l3: 0, l4: 0, payload: 0, protocol: 0, flags: 0, flow: "" };
  try {
    if (layer === 2) frame(packet, found);
    else ip(packet, 0, undefined, found);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    found.error = error.reason;
    found.flags |= PACKET_FLAG.MALFORMED;
  }
  return found;
}

function frame(packet: Uint8Array, found: Dissection): void {
  if (packet.length < 14) throw new Bad("truncated-ethernet");
  let at = 14;
  let type = be16(packet, 12);
  for (let tag = 0; tag < 2 && (type === 0x8100 || type === 0x88a8); tag++) {
    if (packet.length < at + 4) throw new Bad("truncated-ethernet");
    found.flags |= PACKET_FLAG.VLAN;
    type = be16(packet, at + 2);
    at += 4;
  }
  const to = packet.slice(0, 6);
  if (to.every((byte) => byte === 255)) found.flags |= PACKET_FLAG.BROADCAST;
  else if (to[0] % 2 === 1) found.flags |= PACKET_FLAG.MULTICAST;
  if (type === 0x0800 || type === 0x86dd) {
    found.l3 = at;
    ip(packet.slice(at), at, type === 0x0800 ? 4 : 6, found);
    return;
  }
  found.flags |= PACKET_FLAG.NOT_IP;
  found.payload = at;
  found.flow = flow([...packet.slice(6, 12)].join(":"), [...to].join(":"), type);
}

function ip(packet: Uint8Array, offset: number, must: 4 | 6 | undefined, found: Dissection): void {
  if (must === undefined && packet.length === 0) throw new Bad("bad-version");
  const version = must ?? packet[0] >> 4;
  if (version !== 4 && version !== 6) throw new Bad("bad-version");
  if (packet.length < (version === 4 ? 20 : 40))
    throw new Bad(version === 4 ? "truncated-ipv4" : "truncated-ipv6");
  if (packet[0] >> 4 !== version) throw new Bad("bad-version");
  let from: string;
  let to: string;
  let ports = ["0", "0"];
  let protocol = 0;
  const finish = () => {
    found.flow = flow(`${from} ${ports[0]}`, `${to} ${ports[1]}`, protocol);
  };

  if (version === 4) {
    const headerLength = (packet[0] & 15) * 4;
    if (headerLength < 20) throw new Bad("bad-ipv4-header-length");
    if (headerLength > packet.length) throw new Bad("truncated-ipv4");
    const totalLength = be16(packet, 2);
    if (totalLength < headerLength || totalLength > packet.length) throw new Bad("bad-ipv4-total-length");
    found.flags |= PACKET_FLAG.IPV4;
    if (headerLength > 20) found.flags |= PACKET_FLAG.OPTIONS;
    from = packet.slice(12, 16).join(".");
    to = packet.slice(16, 20).join(".");
    if (to === "255.255.255.255") found.flags |= PACKET_FLAG.BROADCAST;
    else if (packet[16] >= 224 && packet[16] < 240) found.flags |= PACKET_FLAG.MULTICAST;
    protocol = found.protocol = packet[9];
    found.payload = offset + headerLength;
    const body = packet.slice(headerLength, totalLength);
    const start = (be16(packet, 6) % 8192) * 8;
    const more = (packet[6] & 0x20) !== 0;
    try {
      if (start > 0 || more) {
        found.flags |= PACKET_FLAG.FRAGMENT;
        if (start === 0) found.flags |= PACKET_FLAG.FIRST_FRAGMENT;
        fragment(headerLength, start, body.length, more);
      }
      if (start === 0) ports = upper(body, offset + headerLength, 4, found);
    } finally {
      finish();
    }
    return;
  }

  const payloadLength = be16(packet, 4);
  if (40 + payloadLength > packet.length) throw new Bad("bad-ipv6-payload-length");
  found.flags |= PACKET_FLAG.IPV6;
  from = packet.slice(8, 24).join(":");
  to = packet.slice(24, 40).join(":");
  if (packet[24] === 255) found.flags |= PACKET_FLAG.MULTICAST;
  let rest = packet.slice(40, 40 + payloadLength);
  let at = 0;
  let next = packet[6];
  try {
    for (let count = 0; [0, 43, 44, 51, 60].includes(next); count++) {
      if (next === 0 && count > 0) break;
      protocol = found.protocol = next;
      found.payload = offset + 40 + at;
      if (count === 8) throw new Bad("too-many-extension-headers");
      found.flags |= PACKET_FLAG.OPTIONS;
      if (rest.length < 8) throw new Bad("truncated-extension-header");
      const length = next === 44 ? 8 : next === 51 ? (rest[1] + 2) * 4 : (rest[1] + 1) * 8;
      if (rest.length < length) throw new Bad("truncated-extension-header");
      const header = rest.slice(0, length);
      rest = rest.slice(length);
      at += length;
      if (next === 44) {
        const start = be16(header, 2) - (be16(header, 2) % 8);
        const more = header[3] % 2 === 1;
        if (start > 0 || more) {
          found.flags |= PACKET_FLAG.FRAGMENT;
          if (start === 0) found.flags |= PACKET_FLAG.FIRST_FRAGMENT;
          protocol = found.protocol = header[0];
          found.payload = offset + 40 + at;
          fragment(at - length, start, rest.length, more);
          if (start > 0) return;
        }
      }
      next = header[0];
    }
    protocol = found.protocol = next;
    found.payload = offset + 40 + at;
    ports = upper(rest, offset + 40 + at, 6, found);
  } finally {
    finish();
  }
}

function fragment(before: number, start: number, length: number, more: boolean): void {
  if (length === 0) throw new Bad("bad-fragment");
  if (more && length % 8 !== 0) throw new Bad("bad-fragment");
  if (before + start + length > 65535) throw new Bad("bad-fragment");
}

/** The transport header. @returns the ports that count for the flow */
function upper(body: Uint8Array, offset: number, version: 4 | 6, found: Dissection): string[] {
  const isFragment = (found.flags & PACKET_FLAG.FRAGMENT) !== 0;
  const ports = isFragment ? ["0", "0"] : [String(be16(body, 0)), String(be16(body, 2))];
  const set = (headerLength: number) => {
    found.l4 = offset;
    found.payload = offset + headerLength;
  };
  if (found.protocol === 6) {
    if (body.length < 20) throw new Bad("truncated-tcp");
    const headerLength = (body[12] >> 4) * 4;
    if (headerLength < 20 || headerLength > body.length) throw new Bad("bad-tcp-data-offset");
    set(headerLength);
    return ports;
  }
  if (found.protocol === 17) {
    if (body.length < 8) throw new Bad("truncated-udp");
    if (be16(body, 4) < 8) throw new Bad("bad-udp-length");
    if (!isFragment && be16(body, 4) > body.length) throw new Bad("bad-udp-length");
    set(8);
    return ports;
  }
  if (found.protocol === (version === 4 ? 1 : 58)) {
    if (body.length < 8) throw new Bad("truncated-icmp");
    set(8);
    const echoes = version === 4 ? [0, 8] : [128, 129];
    if (!isFragment && echoes.includes(body[0])) return [String(be16(body, 4)), String(be16(body, 4))];
  }
  return ["0", "0"];
}

function flow(a: string, b: string, protocol: number): string {
  return [a, b].sort().join(" | ") + ` | ${protocol}`;
}
