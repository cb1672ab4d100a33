/** What a super-packet is on the wire, made the slow way: every packet from its parts, every sum from zero. */
import { checksum } from "./checksum.ts";

export interface SuperPacket {
  bytes: Uint8Array;
  /** Offsets of the IP and transport headers and of the data; the packet ends with the data. */
  l3: number;
  l4: number;
  data: number;
  protocol: 6 | 17;
  /** Bytes of data in each segment but the last. */
  size: number;
}

const FIN_PSH = 0x09;
const CWR = 0x80;

/** Its packets, with complete checksums. */
export function segmentsOf(p: SuperPacket): Uint8Array[] {
  const all = p.bytes.subarray(p.data);
  const count = Math.max(1, Math.ceil(all.length / p.size));
  return Array.from({ length: count }, (_, i) => {
    const data = all.subarray(i * p.size, (i + 1) * p.size);
    const packet = new Uint8Array(p.data + data.length);
    packet.set(p.bytes.subarray(0, p.data));
    packet.set(data, p.data);
    const view = new DataView(packet.buffer);
    if (p.protocol === 6) {
      view.setUint32(p.l4 + 4, (view.getUint32(p.l4 + 4) + i * p.size) >>> 0);
      if (i > 0) packet[p.l4 + 13] &= ~CWR;
      if (i < count - 1) packet[p.l4 + 13] &= ~FIN_PSH;
    }
    if (isIpv4(p)) view.setUint16(p.l3 + 4, (view.getUint16(p.l3 + 4) + i) & 0xffff);
    return finished({ ...p, bytes: packet });
  });
}

/** Lengths and checksums made right. */
export function finished(p: SuperPacket): Uint8Array {
  const packet = Uint8Array.from(p.bytes);
  const view = new DataView(packet.buffer);
  const transport = packet.length - p.l4;
  if (isIpv4(p)) {
    view.setUint16(p.l3 + 2, packet.length - p.l3);
    view.setUint16(p.l3 + 10, 0);
    const header = (packet[p.l3] & 15) * 4;
    view.setUint16(p.l3 + 10, checksum(packet.subarray(p.l3, p.l3 + header)));
  } else {
    view.setUint16(p.l3 + 4, packet.length - p.l3 - 40);
  }
  const field = p.l4 + (p.protocol === 6 ? 16 : 6);
  if (p.protocol === 17) view.setUint16(p.l4 + 4, transport);
  view.setUint16(field, 0);
  const covered = new Uint8Array([...pseudoHeader({ ...p, bytes: packet }), ...packet.subarray(p.l4)]);
  const right = checksum(covered);
  view.setUint16(field, p.protocol === 17 && right === 0 ? 0xffff : right);
  return packet;
}

/** The same with the checksum partial: its field has the sum over the pseudo-header, as CHECKSUM_PARTIAL wants it. */
export function withPartialChecksum(p: SuperPacket): Uint8Array {
  const packet = finished(p);
  const field = p.l4 + (p.protocol === 6 ? 16 : 6);
  const sum = ~checksum(pseudoHeader({ ...p, bytes: packet })) & 0xffff;
  new DataView(packet.buffer).setUint16(field, sum);
  return packet;
}

function isIpv4(p: SuperPacket): boolean {
  return p.bytes[p.l3] >> 4 === 4;
}

function pseudoHeader(p: SuperPacket): Uint8Array {
  const addresses = isIpv4(p)
    ? p.bytes.subarray(p.l3 + 12, p.l3 + 20)
    : p.bytes.subarray(p.l3 + 8, p.l3 + 40);
  const length = p.bytes.length - p.l4;
  return new Uint8Array([
    ...addresses,
    length >>> 24,
    (length >>> 16) & 255,
    (length >>> 8) & 255,
    length & 255,
    0,
    0,
    0,
    p.protocol,
  ]);
}
