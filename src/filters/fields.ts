/** A packet's bytes as named fields, for people who compare two of them. Slow and obvious; every read is bounded. */
import { formatAddress } from "../params/addresses.ts";

export interface PacketField {
  /** `ipv4.ttl`, `tcp.flags`, `payload`: as cases.yaml calls it, where it does. */
  name: string;
  /** Bytes [start, end) of the packet. */
  start: number;
  end: number;
  text: string;
}

const ETHERTYPES: Record<number, string> = { 2048: "ipv4", 2054: "arp", 34525: "ipv6" };
const TAGS = [0x8100, 0x88a8];
const PROTOCOLS: Record<number, string> = { 1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6" };
const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
const IPV4_FLAGS = [
  [0x4000, "df"],
  [0x2000, "mf"],
  [0x8000, "evil"],
] as const;
const FRAGMENT_OFFSET = 0x1fff;

/**
 * The fields of a packet in the order of its bytes; none overlap, and all bytes are covered.
 * @param layer 2: it starts with the Ethernet header; 3: with the IP header
 */
export function packetFields(bytes: Uint8Array, layer: 2 | 3): PacketField[] {
  const reader = new FieldReader(bytes);
  if (layer === 2) ethernet(reader);
  else if (bytes[0] >> 4 === 6) ipv6(reader);
  else if (bytes[0] >> 4 === 4) ipv4(reader);
  reader.rest();
  return reader.fields;
}

/** Takes fields one after the other; once one is not whole, the rest is payload. */
class FieldReader {
  readonly bytes: Uint8Array;
  readonly fields: PacketField[] = [];
  private at = 0;
  private prefix = "";
  private stopped = false;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get offset(): number {
    return this.at;
  }

  header(prefix: string): void {
    this.prefix = `${prefix}.`;
  }

  /** @returns the field's value, 0 when it is not whole */
  number(name: string, width: number, text: (value: number) => string = String): number {
    if (!this.has(width)) return 0;
    let value = 0;
    for (let i = 0; i < width; i++) value = value * 256 + this.bytes[this.at + i];
    this.add(name, width, text(value));
    return value;
  }

  raw(name: string, width: number, text: (bytes: Uint8Array) => string = hexText): void {
    if (width > 0 && this.has(width))
      this.add(name, width, text(this.bytes.subarray(this.at, this.at + width)));
  }

  rest(name = "payload"): void {
    this.prefix = "";
    const left = this.bytes.length - this.at;
    if (left > 0) this.add(name, left, payloadText(this.bytes.subarray(this.at)));
  }

  private has(width: number): boolean {
    this.stopped ||= this.at + width > this.bytes.length;
    return !this.stopped;
  }

  private add(name: string, width: number, text: string): void {
    this.fields.push({ name: this.prefix + name, start: this.at, end: this.at + width, text });
    this.at += width;
  }
}

function ethernet(reader: FieldReader): void {
  reader.header("ethernet");
  reader.raw("to", 6, macText);
  reader.raw("from", 6, macText);
  let type = reader.number("type", 2, ethertypeText);
  while (TAGS.includes(type)) {
    reader.header("vlan");
    reader.number("tag", 2, (tag) => `id ${tag & 0xfff}, priority ${tag >> 13}`);
    type = reader.number("type", 2, ethertypeText);
  }
  if (type === 0x0800) ipv4(reader);
  else if (type === 0x86dd) ipv6(reader);
}

function ipv4(reader: FieldReader): void {
  reader.header("ipv4");
  const first = reader.number("header-length", 1, (value) => String((value & 15) * 4));
  reader.number("tos", 1, hexNumber(2));
  reader.number("length", 2);
  reader.number("id", 2, hexNumber(4));
  const fragment = reader.number("flags, offset", 2, (value) => {
    const flags = IPV4_FLAGS.filter(([bit]) => (value & bit) !== 0).map(([, name]) => name);
    return `${flags.join(" ") || "none"}, ${(value & FRAGMENT_OFFSET) * 8}`;
  });
  reader.number("ttl", 1);
  const protocol = reader.number("protocol", 1, protocolText);
  reader.number("checksum", 2, hexNumber(4));
  reader.raw("from", 4, addressText);
  reader.raw("to", 4, addressText);
  reader.raw("options", (first & 15) * 4 - 20);
  if ((fragment & FRAGMENT_OFFSET) === 0) transport(reader, protocol);
}

function ipv6(reader: FieldReader): void {
  reader.header("ipv6");
  reader.number("class, flow", 4, (value) => `${Math.floor(value / 2 ** 20) & 255}, ${value % 2 ** 20}`);
  reader.number("length", 2);
  const next = reader.number("next-header", 1, protocolText);
  reader.number("hop-limit", 1);
  reader.raw("from", 16, addressText);
  reader.raw("to", 16, addressText);
  transport(reader, next);
}

function transport(reader: FieldReader, protocol: number): void {
  const name = PROTOCOLS[protocol];
  if (name === undefined) return;
  reader.header(name);
  if (name === "tcp") {
    reader.number("from-port", 2);
    reader.number("to-port", 2);
    reader.number("seq", 4);
    reader.number("ack", 4);
    const offset = reader.number("header-length", 1, (value) => String((value >> 4) * 4));
    reader.number("flags", 1, flagsText);
    reader.number("window", 2);
    reader.number("checksum", 2, hexNumber(4));
    reader.number("urgent", 2);
    reader.raw("options", (offset >> 4) * 4 - 20);
  } else if (name === "udp") {
    reader.number("from-port", 2);
    reader.number("to-port", 2);
    reader.number("length", 2);
    reader.number("checksum", 2, hexNumber(4));
  } else {
    reader.number("type", 1);
    reader.number("code", 1);
    reader.number("checksum", 2, hexNumber(4));
    reader.number("rest", 4, hexNumber(8));
  }
}

function hexNumber(digits: number): (value: number) => string {
  return (value) => `0x${value.toString(16).padStart(digits, "0")}`;
}

function hexText(bytes: Uint8Array): string {
  const shown = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return bytes.length > 16 ? `${shown}… (${bytes.length} bytes)` : shown;
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function addressText(bytes: Uint8Array): string {
  return formatAddress({ family: bytes.length === 4 ? 4 : 6, bytes: [...bytes] });
}

function ethertypeText(value: number): string {
  return ETHERTYPES[value] ?? hexNumber(4)(value);
}

function protocolText(value: number): string {
  return PROTOCOLS[value] === undefined ? String(value) : `${value} (${PROTOCOLS[value]})`;
}

function flagsText(value: number): string {
  return TCP_FLAGS.filter((_, bit) => (value & (1 << bit)) !== 0).join(" ") || "none";
}

/** Printable text in quotes, anything else in hex. */
function payloadText(bytes: Uint8Array): string {
  const printable = bytes.length > 0 && bytes.every((byte) => byte >= 32 && byte < 127);
  if (!printable) return hexText(bytes);
  const text = new TextDecoder().decode(bytes.subarray(0, 40));
  return `"${text}${bytes.length > 40 ? `"… (${bytes.length} bytes)` : '"'}`;
}
