/** Fragments put together by the words of RFC 791, 3.2 and RFC 8200, 4.5, slowly: what fragmentation is held against. */
import { checksum, onesComplementSum } from "./checksum.ts";

const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];

/** The datagrams that packets on layer 3 are, each whole; throws where a header or a fragment is not as it must be. */
export function datagrams(packets: Uint8Array[]): Uint8Array[] {
  const whole: Uint8Array[] = [];
  const parts = new Map<string, Uint8Array[]>();
  for (const packet of packets) {
    const key = packet[0] >> 4 === 4 ? key4(packet) : key6(packet);
    if (key === undefined) {
      whole.push(packet);
      continue;
    }
    const found = [...(parts.get(key) ?? []), packet];
    parts.set(key, found);
    const datagram = key.startsWith("4") ? together4(found) : together6(found);
    if (!datagram) continue;
    parts.delete(key);
    whole.push(datagram);
  }
  if (parts.size > 0) throw new Error(`${parts.size} datagrams are not whole`);
  return whole;
}

/** undefined: it is no fragment */
function key4(packet: Uint8Array): string | undefined {
  const header = (packet[0] & 15) * 4;
  if (word(packet, 2) !== packet.length) throw new Error("total length");
  if (onesComplementSum(packet.subarray(0, header)) !== 0xffff) throw new Error("header checksum");
  const fragment = word(packet, 6);
  if ((fragment & 0x3fff) === 0) return undefined;
  return `4 ${packet.subarray(12, 20)} ${packet[9]} ${word(packet, 4)}`;
}

function key6(packet: Uint8Array): string | undefined {
  if (word(packet, 4) !== packet.length - 40) throw new Error("payload length");
  return packet[6] === 44 ? `6 ${packet.subarray(8, 40)} ${packet.subarray(44, 48)}` : undefined;
}

function together(parts: { at: number; more: boolean; data: Uint8Array }[]): Uint8Array | undefined {
  const sorted = [...parts].sort((a, b) => a.at - b.at);
  let next = 0;
  for (const { at, more, data } of sorted) {
    if (at !== next) return undefined;
    if (more && (data.length === 0 || data.length % 8 !== 0)) throw new Error("a fragment's length");
    next += data.length;
  }
  if (sorted[sorted.length - 1].more) return undefined;
  return Uint8Array.from(sorted.flatMap(({ data }) => [...data]));
}

function together4(packets: Uint8Array[]): Uint8Array | undefined {
  const of = (packet: Uint8Array) => (packet[0] & 15) * 4;
  const data = together(
    packets.map((packet) => ({
      at: (word(packet, 6) & 0x1fff) * 8,
      more: (packet[6] & 0x20) !== 0,
      data: packet.subarray(of(packet)),
    })),
  );
  if (!data) return undefined;
  const first = packets.find((packet) => (word(packet, 6) & 0x1fff) === 0)!;
  const header = first.slice(0, of(first));
  header.set([(header.length + data.length) >> 8, (header.length + data.length) & 255], 2);
  header[6] &= ~0x20;
  header.set([0, 0], 10);
  const sum = checksum([...header]);
  header.set([sum >> 8, sum & 255], 10);
  return Uint8Array.from([...header, ...data]);
}

function together6(packets: Uint8Array[]): Uint8Array | undefined {
  const data = together(
    packets.map((packet) => ({
      at: word(packet, 42) & 0xfff8,
      more: (packet[43] & 1) !== 0,
      data: packet.subarray(48),
    })),
  );
  if (!data) return undefined;
  const header = packets[0].slice(0, 40);
  header[6] = packets[0][40];
  header.set([data.length >> 8, data.length & 255], 4);
  return Uint8Array.from([...header, ...data]);
}
