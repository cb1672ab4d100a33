/**
 * Packets as cases.yaml writes them, to bytes. Lengths and checksums come out right unless the notation says otherwise.
 * The code is slow and obvious on purpose: filters are held against it. assembly/README.md has the notation for readers.
 */
import { parseAddress } from "../params/addresses.ts";
import { FilterError } from "./error.ts";

export interface BuiltPacket {
  bytes: Uint8Array;
  /** Where variables ($name) stand: offset and width in bytes. */
  places: Place[];
  /** Offsets of what a partial checksum covers and of its field; undefined: the checksum is complete. */
  partial: { start: number; field: number } | undefined;
}
export interface Place {
  name: string;
  offset: number;
  width: number;
}

type Fields = Record<string, unknown>;
/** Values of $name; one that is not known yet is written as zero. */
export type Variables = ReadonlyMap<string, number>;

const LAYERS = ["ethernet", "vlan", "ipv4", "ipv6", "tcp", "udp", "icmp", "icmpv6", "payload"];
const WHOLE = ["hex", "truncate", "pad", "corrupt"];
const PROTOCOLS = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;
type Transport = keyof typeof PROTOCOLS;
const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
/** For experiments (RFC 3692): what follows an IP header with no transport layer given. */
const EXPERIMENTAL = 253;
const NO_NEXT_HEADER = 59;
const EXTENSIONS: Record<string, number> = {
  "hop-by-hop": 0,
  routing: 43,
  fragment: 44,
  authentication: 51,
  destination: 60,
};

/** @throws FilterError that says what in the notation is wrong */
export function buildPacket(notation: unknown, variables: Variables = new Map()): BuiltPacket {
  const fields = fieldsOf(notation, "a packet", [...LAYERS, ...WHOLE]);
  const packet =
    fields["hex"] === undefined ? layers(fields, variables) : new Bytes(variables).hex(fields["hex"], "hex");
  for (const [offset, mask] of Object.entries(fieldsOf(fields["corrupt"] ?? {}, "corrupt"))) {
    const at = Number(offset);
    if (!(at in packet.bytes)) throw new FilterError(`corrupt: the packet has no byte ${offset}`);
    packet.bytes[at] ^= numberOf(mask, 1, "corrupt");
  }
  for (let left = numberOf(fields["pad"] ?? 0, 2, "pad"); left > 0; left--) packet.bytes.push(0);
  const length =
    fields["truncate"] === undefined ? packet.bytes.length : numberOf(fields["truncate"], 4, "truncate");
  return {
    bytes: Uint8Array.from(packet.bytes.slice(0, length)),
    places: packet.places,
    partial: packet.partial,
  };
}

/** Bytes in the making, in network order. */
class Bytes {
  readonly variables: Variables;
  bytes: number[] = [];
  places: Place[] = [];
  partial: BuiltPacket["partial"];

  constructor(variables: Variables) {
    this.variables = variables;
  }

  put(value: number, width: number): this {
    for (let i = width - 1; i >= 0; i--) this.bytes.push(Math.floor(value / 256 ** i) % 256);
    return this;
  }

  /** A field of the notation, which may be a variable. */
  field(fields: Fields, key: string, width: number, standard = 0): this {
    const given = fields[key] ?? standard;
    if (typeof given === "string" && given.startsWith("$")) {
      this.places.push({ name: given.slice(1), offset: this.bytes.length, width });
      return this.put(this.variables.get(given.slice(1)) ?? 0, width);
    }
    return this.put(numberOf(given, width, key), width);
  }

  hex(value: unknown, what: string): this {
    const digits = String(value ?? "").replaceAll(/\s/g, "");
    if (!/^([0-9a-fA-F]{2})*$/.test(digits)) throw new FilterError(`${what} wants pairs of hex digits`);
    for (let i = 0; i < digits.length; i += 2) this.bytes.push(Number.parseInt(digits.slice(i, i + 2), 16));
    return this;
  }

  raw(bytes: Iterable<number>): this {
    this.bytes.push(...bytes);
    return this;
  }

  append(other: Bytes): this {
    const shift = this.bytes.length;
    this.places.push(...other.places.map((place) => ({ ...place, offset: place.offset + shift })));
    if (other.partial) {
      this.partial = { start: other.partial.start + shift, field: other.partial.field + shift };
    }
    this.bytes.push(...other.bytes);
    return this;
  }

  /** Overwrites a field of `width` bytes. */
  set(offset: number, value: number, width = 2): void {
    const written = new Bytes(this.variables).put(value, width).bytes;
    this.bytes.splice(offset, width, ...written);
  }
}

function layers(fields: Fields, variables: Variables): Bytes {
  if (fields["ipv4"] && fields["ipv6"]) throw new FilterError("a packet is ipv4 or ipv6");
  const ip = fields["ipv4"]
    ? ipv4(fields, variables)
    : fields["ipv6"]
      ? ipv6(fields, variables)
      : payload(fields["payload"], variables);
  if (!fields["ethernet"]) return ip;
  const ethernet = fieldsOf(fields["ethernet"], "ethernet", ["from", "to", "type"]);
  const type = fields["ipv4"] ? 0x0800 : fields["ipv6"] ? 0x86dd : 0x88b5;
  const frame = new Bytes(variables)
    .hex(String(ethernet["to"] ?? "02:00:00:00:00:02").replaceAll(":", ""), "ethernet.to")
    .hex(String(ethernet["from"] ?? "02:00:00:00:00:01").replaceAll(":", ""), "ethernet.from");
  const given = fields["vlan"] ?? [];
  const tags = (Array.isArray(given) ? given : [given]).map((tag) =>
    fieldsOf(tag, "vlan", ["id", "priority", "type"]),
  );
  tags.forEach((tag, i) => {
    frame.field(tag, "type", 2, i < tags.length - 1 ? 0x88a8 : 0x8100);
    const priority = numberOf(tag["priority"] ?? 0, 1, "priority");
    frame.put((priority << 13) | numberOf(tag["id"] ?? 1, 2, "id"), 2);
  });
  return frame.field(ethernet, "type", 2, type).append(ip);
}

function ipv4(fields: Fields, variables: Variables): Bytes {
  const ip = fieldsOf(fields["ipv4"], "ipv4", [
    ...["from", "to", "ttl", "id", "tos", "flags", "offset", "options", "protocol"],
    ...["length", "header-length", "version", "checksum"],
  ]);
  const options = new Bytes(variables).hex(ip["options"], "options").bytes;
  while (options.length % 4 !== 0) options.push(0);
  const from = address(ip["from"], 4, "ipv4.from");
  const to = address(ip["to"], 4, "ipv4.to");
  const pseudo = (protocol: number, length: number) => [
    ...from,
    ...to,
    0,
    protocol,
    length >> 8,
    length & 255,
  ];
  const body = transport(fields, variables, pseudo);
  const headerLength = 20 + options.length;
  const flags = wordsOf(ip["flags"], ["mf", "df", "evil"], "ipv4.flags");
  const offset = numberOf(ip["offset"] ?? 0, 2, "offset");
  const saidLength = numberOf(ip["header-length"] ?? headerLength, 1, "header-length");
  const version = numberOf(ip["version"] ?? 4, 1, "version");
  const header = new Bytes(variables)
    .put((version << 4) | (saidLength >> 2), 1)
    .field(ip, "tos", 1)
    .field(ip, "length", 2, headerLength + body.bytes.length)
    .field(ip, "id", 2)
    .put((flags << 13) | (offset >> 3), 2)
    .field(ip, "ttl", 1, 64)
    .field(ip, "protocol", 1, protocolOf(fields) ?? EXPERIMENTAL)
    .put(0, 2)
    .raw(from)
    .raw(to)
    .raw(options);
  header.set(10, checksumBy(ip["checksum"], internetChecksum(header.bytes), 0, "ipv4.checksum"));
  return header.append(body);
}

function ipv6(fields: Fields, variables: Variables): Bytes {
  const ip = fieldsOf(fields["ipv6"], "ipv6", [
    ...["from", "to", "hop-limit", "class", "flow", "length", "next-header", "version", "extensions"],
  ]);
  const from = address(ip["from"], 6, "ipv6.from");
  const to = address(ip["to"], 6, "ipv6.to");
  const pseudo = (protocol: number, length: number) => [
    ...[...from, ...to],
    ...new Bytes(variables).put(length, 4).put(protocol, 4).bytes,
  ];
  const body = transport(fields, variables, pseudo);
  const last = protocolOf(fields) ?? (fields["payload"] === undefined ? NO_NEXT_HEADER : EXPERIMENTAL);
  const extensions = (ip["extensions"] ?? []) as unknown[];
  const kinds = extensions.map((extension) => Object.keys(fieldsOf(extension, "an extension"))[0]);
  const chain = new Bytes(variables);
  kinds.forEach((kind, i) => {
    const next = i + 1 < kinds.length ? EXTENSIONS[kinds[i + 1]] : last;
    chain.append(extensionHeader(kind, (extensions[i] as Fields)[kind], next, variables));
  });
  const version = numberOf(ip["version"] ?? 6, 1, "version");
  const trafficClass = numberOf(ip["class"] ?? 0, 1, "class");
  return new Bytes(variables)
    .put(version * 2 ** 28 + trafficClass * 2 ** 20 + numberOf(ip["flow"] ?? 0, 4, "flow"), 4)
    .field(ip, "length", 2, chain.bytes.length + body.bytes.length)
    .field(ip, "next-header", 1, kinds.length > 0 ? EXTENSIONS[kinds[0]] : last)
    .field(ip, "hop-limit", 1, 64)
    .raw(from)
    .raw(to)
    .append(chain)
    .append(body);
}

function extensionHeader(kind: string, value: unknown, next: number, variables: Variables): Bytes {
  if (!(kind in EXTENSIONS)) throw new FilterError(`there is no extension header ${kind}`);
  const fields = fieldsOf(value ?? {}, kind, [
    "next",
    "length",
    "data",
    "type",
    "segments-left",
    "offset",
    "more",
    "id",
  ]);
  const header = new Bytes(variables).field(fields, "next", 1, next);
  if (kind === "fragment") {
    const offset = numberOf(fields["offset"] ?? 0, 2, "offset");
    return header
      .put(0, 1)
      .put((offset & 0xfff8) | (fields["more"] === true ? 1 : 0), 2)
      .field(fields, "id", 4);
  }
  const data = new Bytes(variables);
  if (kind === "routing") data.field(fields, "type", 1).field(fields, "segments-left", 1);
  if (kind === "authentication") data.put(0, 2).put(1, 4).put(1, 4);
  data.hex(fields["data"], "data");
  // PadN (RFC 8200, 4.2) in options, zeros elsewhere, up to the next 8 bytes.
  const padding = (6 - (data.bytes.length % 8) + 8) % 8;
  const isOptions = kind === "hop-by-hop" || kind === "destination";
  if (isOptions && padding === 1) data.put(0, 1);
  else if (isOptions && padding > 1)
    data
      .put(1, 1)
      .put(padding - 2, 1)
      .raw(new Array(padding - 2).fill(0));
  else data.raw(new Array(padding).fill(0));
  const bytes = 2 + data.bytes.length;
  header.field(fields, "length", 1, kind === "authentication" ? bytes / 4 - 2 : bytes / 8 - 1);
  return header.append(data);
}

/** The transport header and what it carries. `pseudo` gives the pseudo-header's bytes. */
function transport(
  fields: Fields,
  variables: Variables,
  pseudo: (protocol: number, length: number) => number[],
): Bytes {
  const data = payload(fields["payload"], variables);
  const kinds = (Object.keys(PROTOCOLS) as Transport[]).filter((kind) => fields[kind] !== undefined);
  if (kinds.length === 0) return data;
  if (kinds.length > 1) throw new FilterError(`a packet has one of ${kinds.join(", ")}`);
  const kind = kinds[0];
  const { header, checksum, field } = HEADERS[kind](fields[kind], variables, data.bytes.length);
  const body = header.append(data);
  const covered = kind === "icmp" ? [] : pseudo(PROTOCOLS[kind], body.bytes.length);
  const computed = internetChecksum([...covered, ...body.bytes]);
  const sent = kind === "udp" && computed === 0 ? 0xffff : computed;
  const partial = ~internetChecksum(covered) & 0xffff;
  body.set(field, checksumBy(checksum, sent, partial, `${kind}.checksum`));
  if (checksum === "partial") body.partial = { start: 0, field };
  return body;
}

interface Header {
  header: Bytes;
  /** What the notation says of the checksum, and the offset of its field. */
  checksum: unknown;
  field: number;
}

const HEADERS: Record<Transport, (value: unknown, variables: Variables, dataBytes: number) => Header> = {
  tcp(value, variables) {
    const tcp = fieldsOf(value, "tcp", [
      ...["from-port", "to-port", "seq", "ack", "flags", "window", "urgent", "options"],
      ...["header-length", "checksum"],
    ]);
    const options = new Bytes(variables).hex(tcp["options"], "tcp.options").bytes;
    while (options.length % 4 !== 0) options.push(0);
    const length = numberOf(tcp["header-length"] ?? 20 + options.length, 1, "header-length");
    const header = new Bytes(variables)
      .field(tcp, "from-port", 2, 1024)
      .field(tcp, "to-port", 2, 80)
      .field(tcp, "seq", 4)
      .field(tcp, "ack", 4)
      .put((length >> 2) << 4, 1)
      .put(wordsOf(tcp["flags"], TCP_FLAGS, "tcp.flags"), 1)
      .field(tcp, "window", 2, 65535)
      .put(0, 2)
      .field(tcp, "urgent", 2)
      .raw(options);
    return { header, checksum: tcp["checksum"], field: 16 };
  },
  udp(value, variables, dataBytes) {
    const udp = fieldsOf(value, "udp", ["from-port", "to-port", "length", "checksum"]);
    const header = new Bytes(variables)
      .field(udp, "from-port", 2, 1024)
      .field(udp, "to-port", 2, 53)
      .field(udp, "length", 2, 8 + dataBytes)
      .put(0, 2);
    return { header, checksum: udp["checksum"], field: 6 };
  },
  icmp: (value, variables) => icmpHeader(value, variables, 8),
  icmpv6: (value, variables) => icmpHeader(value, variables, 128),
};

function icmpHeader(value: unknown, variables: Variables, echo: number): Header {
  const icmp = fieldsOf(value, "icmp", ["type", "code", "id", "seq", "rest", "checksum"]);
  const header = new Bytes(variables).field(icmp, "type", 1, echo).field(icmp, "code", 1).put(0, 2);
  if (icmp["rest"] !== undefined) header.field(icmp, "rest", 4);
  else header.field(icmp, "id", 2).field(icmp, "seq", 2);
  return { header, checksum: icmp["checksum"], field: 2 };
}

/** Text; or { hex }; or { bytes: how many, counting up }; or { packet, truncate }, as an ICMP error quotes one. */
function payload(value: unknown, variables: Variables): Bytes {
  const data = new Bytes(variables);
  if (value === undefined) return data;
  if (Array.isArray(value)) {
    for (const part of value) data.append(payload(part, variables));
    return data;
  }
  if (typeof value === "string") return data.raw(new TextEncoder().encode(value));
  const fields = fieldsOf(value, "payload", ["hex", "bytes", "packet"]);
  if (fields["hex"] !== undefined) return data.hex(fields["hex"], "payload.hex");
  if (fields["packet"] !== undefined) {
    const { bytes, places } = buildPacket(fields["packet"], variables);
    data.places = places.filter(({ offset, width }) => offset + width <= bytes.length);
    return data.raw(bytes);
  }
  const count = numberOf(fields["bytes"], 2, "payload.bytes");
  return data.raw(Array.from({ length: count }, (_, i) => i & 255));
}

function protocolOf(fields: Fields): number | undefined {
  const kind = (Object.keys(PROTOCOLS) as Transport[]).find((name) => fields[name] !== undefined);
  return kind && PROTOCOLS[kind];
}

function checksumBy(rule: unknown, right: number, partial: number, what: string): number {
  if (rule === undefined || rule === "right") return right;
  if (rule === "wrong") return right ^ 0x5555;
  if (rule === "none") return 0;
  if (rule === "partial") return partial;
  return numberOf(rule, 2, what);
}

/** RFC 1071, word by word. */
export function internetChecksum(bytes: number[]): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] * 256 + (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return 0xffff - sum;
}

function address(value: unknown, family: 4 | 6, what: string): number[] {
  const parsed = typeof value === "string" ? parseAddress(value) : undefined;
  if (parsed?.family !== family) throw new FilterError(`${what} wants an IPv${family} address`);
  return [...parsed.bytes];
}

/** Bits by the words' places in `names`; a number stands for itself. */
function wordsOf(value: unknown, names: string[], what: string): number {
  if (typeof value === "number") return numberOf(value, 1, what);
  let bits = 0;
  for (const word of Array.isArray(value) ? value : value === undefined ? [] : [value]) {
    const bit = names.indexOf(word);
    if (bit < 0) throw new FilterError(`${what}: there is no ${word}; there are ${names.join(", ")}`);
    bits |= 1 << bit;
  }
  return bits;
}

function numberOf(value: unknown, width: number, what: string): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value >= 256 ** width) {
    throw new FilterError(`${what} wants a whole number of ${width} bytes, has ${JSON.stringify(value)}`);
  }
  return value;
}

/** The value as a map whose keys are all known. */
export function fieldsOf(value: unknown, what: string, known?: string[]): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FilterError(`${what} wants a map, has ${JSON.stringify(value)}`);
  }
  for (const key of Object.keys(value)) {
    if (known && !known.includes(key)) {
      throw new FilterError(`${what} has no ${JSON.stringify(key)}; it has ${known.join(", ")}`);
    }
  }
  return value as Fields;
}
