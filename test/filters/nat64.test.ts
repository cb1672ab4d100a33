// nat64 against RFC 7915 by its words (test/reference/translate.ts): whatever a host sends and gets back, whole or in fragments, in
// whichever prefix, is what the reference makes of it; and so are ICMP errors about it, and the packets that they quote.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { parseAddress } from "../../src/params/addresses.ts";
import { checksum } from "../reference/checksum.ts";
import { datagrams } from "../reference/fragments.ts";
import {
  type Ends,
  embed,
  errorMessage,
  errorToIpv4,
  errorToIpv6,
  type IcmpError,
  toIpv4,
  toIpv6,
} from "../reference/translate.ts";
import { ANY_PORT, Folder, hasTool, pcapFile, tshark } from "../support/pcap.ts";
import { LACKS_SCAPY, scapySees } from "../support/scapy.ts";
import { VirtualWorker } from "../support/virtual-worker.ts";

const PREFIXES = [
  "2001:db8::/32",
  "2001:db8:100::/40",
  "2001:db8:122::/48",
  "2001:db8:122:300::/56",
  "2001:db8:122:344::/64",
  "64:ff9b::/96",
];
const OUTSIDE = "198.51.100.2";
const MTUS = { ipv4: 1500, ipv6: 1500 };
const LOWEST = 1280;

const bytesOf = (address: string) => Uint8Array.from(parseAddress(address)!.bytes);
const word = (bytes: Uint8Array, at: number) => bytes[at] * 256 + bytes[at + 1];
const text6 = (bytes: Uint8Array) =>
  Array.from({ length: 8 }, (_, i) => word(bytes, 2 * i).toString(16)).join(":");

/** A translator, and what leaves it. */
class Translator {
  readonly prefix: Uint8Array;
  readonly bits: number;
  private readonly worker: VirtualWorker;
  private constructor(worker: VirtualWorker, prefix: string) {
    this.worker = worker;
    const [address, length] = prefix.split("/");
    this.prefix = bytesOf(address);
    this.bits = Number(length);
  }
  static async make(prefix: string): Promise<Translator> {
    const worker = await VirtualWorker.make(`pktflow: 1
devices: { in: { kind: tun }, out: { kind: tun } }
filters: { n: { kind: nat64, outside: ${OUTSIDE}, prefix: "${prefix}", non-global: translate, fragment-timeout: 1s } }
paths: { there: { from: in, through: [n], to: out }, back: { from: out, through: [n], to: in } }
`);
    return new Translator(worker, prefix);
  }
  /** The address of an IPv4 host inside. */
  address(ipv4: string): Uint8Array {
    return embed(this.prefix, this.bits, bytesOf(ipv4));
  }
  send(device: "in" | "out", ...packets: Uint8Array[]): Uint8Array[] {
    const before = this.worker.left.length;
    expect(this.worker.send(device, packets)).toBe(true);
    return this.worker.left.slice(before).map(({ bytes }) => bytes);
  }
  /** Identifications may come again. */
  forgetFragments(): void {
    this.worker.advance(1.3e9);
  }
  check(): void {
    expect(this.worker.balance().missing).toBe(0);
    expect(this.worker.report().filters["n"].held).toBe(0);
    const { now, all } = this.worker.free;
    expect(now).toBe(all);
  }
}

const translators = new Map<string, Translator>();
beforeAll(async () => {
  for (const prefix of PREFIXES) translators.set(prefix, await Translator.make(prefix));
});
afterAll(() => {
  for (const translator of translators.values()) translator.check();
});

const size = fc.oneof(fc.nat(60), fc.integer({ min: 1190, max: 1290 }), fc.integer({ min: 1380, max: 1420 }));
const flow = fc.record({
  kind: fc.constantFrom("tcp" as const, "udp" as const, "icmp" as const),
  host: fc.integer({ min: 1, max: 9 }),
  port: fc.integer({ min: 1, max: 65_535 }),
  remote: fc.constantFrom("192.0.2.33", "203.0.113.255", "8.8.8.8", "1.0.0.1"),
  remotePort: fc.integer({ min: 1, max: 65_535 }),
  payload: size,
  back: size,
  trafficClass: fc.nat(255),
  hops: fc.integer({ min: 2, max: 255 }),
  id: fc.nat(0xffff),
  flowLabel: fc.nat(0xfffff),
  options: fc.constantFrom("", "94040000", "0101010101010101"),
  extensions: fc.constantFrom<object[]>(
    [],
    [{ "hop-by-hop": {} }, { destination: {} }],
    [{ routing: { type: 4, "segments-left": 0 } }],
    [{ fragment: { id: 99 } }],
  ),
  df: fc.boolean(),
  checksum: fc.constantFrom("right" as const, "none" as const),
  /** Bytes a fragment, of what comes back, the first one with the whole header (RFC 1858); 0: whole. */
  cut: fc.constantFrom(0, 0, 40, 512, 1232),
});
type Flow = typeof flow extends fc.Arbitrary<infer T> ? T : never;

function transport({ kind, port, remotePort, checksum }: Flow, isReply: boolean, outsidePort = port): object {
  const ports = isReply
    ? { "from-port": remotePort, "to-port": outsidePort }
    : { "from-port": port, "to-port": remotePort };
  if (kind === "tcp") return { tcp: { ...ports, flags: ["ack"], options: "0101080a0000000100000002" } };
  // IPv6 has no UDP without a checksum.
  if (kind === "udp") return { udp: { ...ports, checksum: isReply ? checksum : "right" } };
  return isReply
    ? { icmp: { type: 0, id: outsidePort, seq: 7 } }
    : { icmpv6: { type: 128, id: port, seq: 7 } };
}

function request(flow: Flow, translator: Translator): Uint8Array {
  const { host, remote, trafficClass, hops, flowLabel, extensions } = flow;
  const to = text6(translator.address(remote));
  const ipv6 = {
    from: `fd00::${host}`,
    to,
    class: trafficClass,
    "hop-limit": hops,
    flow: flowLabel,
    extensions,
  };
  return buildPacket({ ipv6, ...transport(flow, false), payload: { bytes: flow.payload } }).bytes;
}

function reply(flow: Flow, outsidePort: number): Uint8Array {
  const { remote, trafficClass, hops, id, options } = flow;
  const flags = flow.df ? "df" : [];
  const ipv4 = { from: remote, to: OUTSIDE, tos: trafficClass, ttl: hops, id, options, flags };
  return buildPacket({ ipv4, ...transport(flow, true, outsidePort), payload: { bytes: flow.back } }).bytes;
}

/** RFC 791, 3.2: pieces of so many bytes, or longer ones where more than 24 would come of that: no more than 32 may wait. */
function fragmented(packet: Uint8Array, wanted: number): Uint8Array[] {
  const header = (packet[0] & 15) * 4;
  const piece = Math.max(wanted, 8 * Math.ceil((packet.length - header) / 8 / 24));
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < packet.length - header; at += piece) {
    const data = packet.slice(header + at, header + at + piece);
    const one = Uint8Array.from([...packet.slice(0, header), ...data]);
    one.set([one.length >> 8, one.length & 255], 2);
    const field = (at >> 3) | (header + at + piece < packet.length ? 0x2000 : 0);
    one.set([field >> 8, field & 255, one[8], one[9], 0, 0], 6);
    const sum = checksum(one.subarray(0, header));
    one.set([sum >> 8, sum & 255], 10);
    pieces.push(one);
  }
  return pieces;
}

const portAt = (packet: Uint8Array, kind: Flow["kind"]) => word(packet, 20 + (kind === "icmp" ? 4 : 0));

/** Sends a host's packet out. @returns it, what it became, and the outside port */
function open(flow: Flow, translator: Translator) {
  const sent = request(flow, translator);
  const [out, ...more] = translator.send("in", sent);
  expect(more).toEqual([]);
  return { sent, out, outsidePort: portAt(out, flow.kind) };
}

const there = (flow: Flow, outsidePort: number): Ends => ({
  from: { address: bytesOf(OUTSIDE), port: outsidePort },
  to: { address: bytesOf(flow.remote) },
});
const back = (flow: Flow, translator: Translator): Ends => ({
  from: { address: translator.address(flow.remote) },
  to: { address: bytesOf(`fd00::${flow.host}`), port: flow.port },
});

describe.each(PREFIXES)("in %s", (prefix) => {
  test("what a host sends, and what comes back, is what RFC 7915 says", () => {
    const translator = translators.get(prefix)!;
    fc.assert(
      fc.property(flow, fc.boolean(), (flow, reversed) => {
        const { sent, out, outsidePort } = open(flow, translator);
        expect(out).toEqual(toIpv4(sent, there(flow, outsidePort), 1, word(out, 4)));

        // Of ICMP, no fragments; and without a checksum none of UDP.
        const mayCut = flow.kind !== "icmp" && flow.checksum === "right" && flow.cut > 0;
        const whole = reply(flow, outsidePort);
        const pieces = mayCut ? fragmented(whole, flow.cut) : [whole];
        const answers = translator.send("out", ...(reversed ? [...pieces].reverse() : pieces));
        if (mayCut) translator.forgetFragments();
        expect(datagrams(answers)).toEqual([toIpv6(whole, back(flow, translator), 1)]);
        const longest = Math.max(...answers.map(({ length }) => length));
        const isCut = answers.some((packet) => packet[6] === 44);
        if (pieces.length > 1) expect(isCut).toBe(true);
        else expect(isCut).toBe(!flow.df && whole.length - (whole[0] & 15) * 4 + 40 > LOWEST);
        if (!flow.df || pieces.length > 1) expect(longest).toBeLessThanOrEqual(LOWEST);
        for (const packet of answers) {
          if (packet[6] !== 44) continue;
          expect([packet[44], packet[45], word(packet, 46)]).toEqual([0, 0, flow.id]);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("ICMP errors about it, from both sides, and what they quote", () => {
    const translator = translators.get(prefix)!;
    const router4 = "203.0.113.77";
    const error4 = fc.tuple(
      fc.constantFrom(3, 11, 12),
      fc.nat(16),
      fc.oneof(
        fc.nat(2000),
        fc.nat(20).map((pointer) => pointer * 2 ** 24),
        fc.constant(0),
      ),
    );
    const error6 = fc.tuple(
      fc.constantFrom(1, 2, 3, 4),
      fc.nat(5),
      fc.oneof(fc.integer({ min: 1280, max: 2000 }), fc.nat(45)),
    );
    // Not 17 bytes: half of TCP's checksum stays as it is.
    const quote = fc.oneof(
      fc.integer({ min: 8, max: 16 }),
      fc.integer({ min: 18, max: 40 }),
      fc.constant(2000),
    );
    fc.assert(
      fc.property(flow, error4, error6, quote, (flow, said4, said6, quoted) => {
        fc.pre(flow.extensions.length === 0);
        const { sent, out, outsidePort } = open(flow, translator);
        // From outside: about what went out, cut after so many bytes of the upper layer; errors have no more than 1280 bytes.
        const [type, code, rest] = clean4(said4);
        const cut4 = out.slice(0, 20 + quoted);
        const message4 = errorMessage([type, code, rest], cut4, new Uint8Array());
        const in4 = buildPacket({
          ipv4: { from: router4, to: OUTSIDE, protocol: 1 },
          payload: { hex: hex(message4) },
        }).bytes;
        const wanted6 = errorToIpv6([type, code, rest], MTUS, word(out, 2));
        const came6 = translator.send("out", in4);
        if (wanted6 === undefined) {
          expect(came6).toEqual([]);
        } else {
          // As its host sent it, but for hop limit and what is left out of it on the way.
          const original = Uint8Array.from(sent);
          original.set([0x60 | (sent[0] & 15), sent[1] & 0xf0, 0, 0], 0);
          original[7] = sent[7] - 1;
          const inner = original.slice(0, Math.min(40 + quoted, 1280 - 48));
          const from = text6(translator.address(router4));
          const to = `fd00::${flow.host}`;
          const pseudo = Uint8Array.from([
            ...bytesOf(from),
            ...bytesOf(to),
            0,
            0,
            ...[(inner.length + 8) >> 8, (inner.length + 8) & 255],
            0,
            0,
            0,
            58,
          ]);
          const ipv6 = { from, to, "hop-limit": 63, "next-header": 58 };
          const message = errorMessage(wanted6, inner, pseudo);
          expect(came6).toEqual([buildPacket({ ipv6, payload: { hex: hex(message) } }).bytes]);
        }

        // From inside: about what came in.
        const whole = reply(
          { ...flow, df: true, back: Math.min(flow.back, 1200), checksum: "right", options: "" },
          outsidePort,
        );
        const [arrived] = translator.send("out", whole);
        const cut6 = arrived.slice(0, 40 + quoted);
        const router6 = "fd00:9::1";
        const to6 = text6(translator.address(flow.remote));
        const said = clean6(said6);
        const length = cut6.length + 8;
        const pseudo6 = Uint8Array.from([
          ...bytesOf(router6),
          ...bytesOf(to6),
          0,
          0,
          length >> 8,
          length & 255,
          0,
          0,
          0,
          58,
        ]);
        const in6 = buildPacket({
          ipv6: { from: router6, to: to6, "next-header": 58 },
          payload: { hex: hex(errorMessage(said, cut6, pseudo6)) },
        }).bytes;
        const came4 = translator.send("in", in6);
        const wanted4 = errorToIpv4(said, MTUS);
        if (wanted4 === undefined) {
          expect(came4).toEqual([]);
          return;
        }
        // The identification is lost, DF follows the length.
        const ends: Ends = {
          from: { address: bytesOf(flow.remote) },
          to: { address: bytesOf(OUTSIDE), port: outsidePort },
        };
        const inner4 = toIpv4(arrived, ends, 0, 0).slice(0, 20 + quoted);
        const message = errorMessage(wanted4, inner4, new Uint8Array());
        const ipv4 = {
          from: OUTSIDE,
          to: flow.remote,
          ttl: 63,
          protocol: 1,
          id: word(came4[0], 4),
          flags: 28 + inner4.length > 1260 ? "df" : [],
        };
        expect(came4).toEqual([buildPacket({ ipv4, payload: { hex: hex(message) } }).bytes]);
      }),
      { numRuns: 60 },
    );
  });
});

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
/** Octets that are zero but for what each error has: an MTU, a pointer; never a length of the quote (RFC 4884). */
function clean4([type, code, rest]: IcmpError): IcmpError {
  if (type === 3) return [3, code, code === 4 ? rest & 0xffff : 0];
  return type === 12 ? [12, code % 3, rest & 0xff000000 & 0x1f000000] : [type, code % 2, 0];
}
function clean6([type, code, rest]: IcmpError): IcmpError {
  if (type === 2) return [2, 0, Math.max(1280, rest)];
  return type === 4 ? [4, code % 3, rest % 45] : [type, type === 3 ? code % 2 : code, 0];
}
describe("others' tools", () => {
  /** Of fixed flows: what leaves on both sides, errors too. */
  const translated = () => {
    const translator = translators.get("64:ff9b::/96")!;
    return fc.sample(flow, { numRuns: 120, seed: 7915 }).flatMap((flow) => {
      const { out, outsidePort } = open({ ...flow, extensions: [] }, translator);
      const whole = reply(flow, outsidePort);
      const mayCut = flow.kind !== "icmp" && flow.checksum === "right" && flow.cut > 0;
      const answers = translator.send("out", ...(mayCut ? fragmented(whole, flow.cut) : [whole]));
      translator.forgetFragments();
      // Quoted as a whole where an error has room for it: tshark takes the checksum of what is cut for a wrong one.
      if (out.length > 1200) return [out, ...answers];
      const quoted = errorMessage([3, 3, 0], out, new Uint8Array());
      const error = buildPacket({
        ipv4: { from: "203.0.113.77", to: OUTSIDE, protocol: 1 },
        payload: { hex: hex(quoted) },
      }).bytes;
      return [out, ...answers, ...translator.send("out", error)];
    });
  };

  test.skipIf(LACKS_SCAPY !== undefined)(
    "scapy finds every checksum right, of what errors quote too (needs python3-scapy)",
    () => {
      const whole = translated().filter((packet) => packet[0] >> 4 === 4 || packet[6] !== 44);
      const seen = scapySees(whole);
      expect(seen.length).toBeGreaterThan(200);
      expect(seen.flatMap(({ wrong }) => wrong)).toEqual([]);
    },
  );

  test.skipIf(!hasTool("tshark"))(
    "tshark puts fragments together, and finds nothing malformed and no bad checksum (needs tshark)",
    () => {
      const folder = new Folder();
      try {
        const packets = translated();
        const file = folder.file(
          "nat64.pcap",
          pcapFile(packets.map((bytes, i) => ({ seconds: i, fraction: 0, bytes }))),
        );
        const checks = ["ip", "tcp", "udp"].flatMap((protocol) => ["-o", `${protocol}.check_checksum:TRUE`]);
        const bad = [
          "_ws.malformed",
          "ip.checksum.status",
          "tcp.checksum.status",
          "udp.checksum.status",
          "icmp.checksum.status",
          "icmpv6.checksum.status",
        ];
        const rows = tshark(file, bad, ...ANY_PORT, ...checks);
        expect(rows.length).toBe(packets.length);
        expect(
          rows.filter((row) =>
            row.some((field, i) => (i === 0 ? field !== "" : field.split(",").includes("0"))),
          ),
        ).toEqual([]);
      } finally {
        folder.remove();
      }
    },
  );
});
