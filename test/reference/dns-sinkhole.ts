/** dns-sinkhole in plain words: RFC 1035's messages as lists of octets and names as arrays of labels. */

export interface SinkholeOptions {
  names: string[];
  except: string[];
  /** Addresses as octets, 4 or 16 of them. */
  answer: number[][];
  /** s. */
  ttl: number;
}
export type Verdict = { what: "pass" } | { what: "unreadable" } | { what: "reply"; message: number[] };

const u16 = (n: number) => [(n >> 8) & 255, n & 255];
const u32 = (n: number) => [...u16(Math.floor(n / 65_536)), ...u16(n % 65_536)];

/** Octets of a name's labels, from an offset on; undefined: there is no name. */
function labelsAt(message: number[], at: number): { labels: number[][]; end: number } | undefined {
  const labels: number[][] = [];
  let octets = 1;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    if (length === 0) return { labels, end: at + 1 };
    octets += length + 1;
    if (octets > 255 || at + 1 + length > message.length) return undefined;
    labels.push(message.slice(at + 1, at + 1 + length));
    at += 1 + length;
  }
}

/** Where a name ends that may be compressed; -1: there is none. */
function nameEnd(message: number[], at: number): number {
  for (;;) {
    const length = message[at];
    if (length === undefined) return -1;
    if (length === 0) return at + 1;
    if (length >= 192) return at + 2 <= message.length ? at + 2 : -1;
    if (length > 63) return -1;
    at += 1 + length;
  }
}

const lower = (label: number[]) => label.map((octet) => (octet >= 65 && octet <= 90 ? octet + 32 : octet));
const same = (a: number[], b: number[]) => a.length === b.length && a.every((octet, i) => octet === b[i]);

/** How many labels of `labels` stand before the name, which is its end; -1: it is not. */
function before(labels: number[][], name: string): number {
  const wanted = name.split(".").map((label) => [...Buffer.from(label)]);
  const more = labels.length - wanted.length;
  if (more < 0 || !wanted.every((label, i) => same(label, lower(labels[more + i])))) return -1;
  return more;
}

/** @param message the UDP datagram's data */
export function sinkhole(message: number[], { names, except, answer, ttl }: SinkholeOptions): Verdict {
  const word = (at: number) => message[at] * 256 + message[at + 1];
  if (message.length < 12) return { what: "unreadable" };
  if ((word(2) & 0xf800) !== 0) return { what: "pass" };
  if (word(4) !== 1 || word(6) !== 0 || word(8) !== 0) return { what: "unreadable" };
  const question = labelsAt(message, 12);
  if (!question || question.end + 4 > message.length) return { what: "unreadable" };
  const { labels, end } = question;
  const [type, space] = [word(end), word(end + 2)];
  let at = end + 4;
  let edns: { dnssec: boolean } | undefined;
  if (word(10) > 8) return { what: "unreadable" };
  for (let i = 0; i < word(10); i++) {
    const isRoot = message[at] === 0;
    at = nameEnd(message, at);
    if (at < 0 || at + 10 > message.length || at + 10 + word(at + 8) > message.length)
      return { what: "unreadable" };
    if (word(at) === 41) {
      if (edns || !isRoot || message[at + 5] !== 0) return { what: "unreadable" };
      edns = { dnssec: message[at + 6] >= 128 };
    }
    at += 10 + word(at + 8);
  }
  if (space !== 1 && space !== 255) return { what: "pass" };
  const all = [
    ...names.map((name) => ({ name, isListed: true })),
    ...except.map((name) => ({ name, isListed: false })),
  ];
  const holding = all.filter(({ name }) => before(labels, name) >= 0);
  const longest = Math.max(...holding.map(({ name }) => name.length));
  const found = holding.filter(({ name }) => name.length === longest);
  if (found.length === 0 || found.some(({ isListed }) => !isListed)) return { what: "pass" };

  const fitting = answer.filter((address) => type === 255 || type === (address.length === 4 ? 1 : 28));
  const records = fitting.flatMap((address) => [
    ...[...u16(0xc00c), ...u16(address.length === 4 ? 1 : 28), ...u16(1), ...u32(ttl)],
    ...[...u16(address.length), ...address],
  ]);
  // The zone begins behind the labels before it.
  const skipped = labels
    .slice(0, before(labels, found[0].name))
    .reduce((sum, label) => sum + label.length + 1, 0);
  const zone = u16(0xc00c + skipped);
  const soa = [
    ...[...zone, ...u16(6), ...u16(1), ...u32(ttl), ...u16(24), ...zone, ...zone],
    ...[1, 3600, 600, 86_400, ttl].flatMap(u32),
  ];
  const opt = edns ? [0, ...u16(41), ...u16(1232), 0, 0, edns.dnssec ? 128 : 0, 0, 0, 0] : [];
  const flags = 0x8480 | (word(2) & 0x0110) | (answer.length === 0 ? 3 : 0);
  const counts = [1, fitting.length, fitting.length === 0 ? 1 : 0, edns ? 1 : 0];
  return {
    what: "reply",
    message: [
      ...[...message.slice(0, 2), ...u16(flags), ...counts.flatMap(u16), ...message.slice(12, end + 4)],
      ...(fitting.length === 0 ? soa : records),
      ...opt,
    ],
  };
}
