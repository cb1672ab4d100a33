// dns-sinkhole against a slow reference, for queries of all kinds; its lists; and what scapy and tshark read in its replies.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { readDomains } from "../../src/params/domains.ts";
import { type SinkholeOptions, sinkhole } from "../reference/dns-sinkhole.ts";
import { hasScapy, hasTool, scapy } from "../support/pcap.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let module: FilterModule;
const folder = new TemporaryFolder();
beforeAll(async () => {
  module = await filterModule("dns-sinkhole");
});
afterAll(() => folder.remove());

const v4 = (bytes: number[]) => bytes.join(".");
const v6 = (bytes: number[]) =>
  Array.from({ length: 8 }, (_, i) => (bytes[2 * i] * 256 + bytes[2 * i + 1]).toString(16)).join(":");

function params({ names, except, answer, ttl }: SinkholeOptions, more: object = {}): object {
  const addresses = answer.map((bytes) => (bytes.length === 4 ? v4(bytes) : v6(bytes)));
  return { names, except, answer: addresses, ttl: `${ttl}s`, ...more };
}

const open = (o: SinkholeOptions) => new FilterBench(module, params(o));

const u16 = (n: number) => [n >> 8, n & 255];
const label = (text: string) => [text.length, ...Buffer.from(text, "latin1")];

interface Query {
  labels: string[];
  type: number;
  space: number;
  flags: number;
  counts: [number, number, number];
  /** Records behind the question, as octets. */
  additional: number[][];
}
const message = ({ labels, type, space, flags, counts, additional }: Query) => [
  ...[...u16(0xbeef), ...u16(flags), ...counts.flatMap(u16), ...u16(additional.length)],
  ...[...labels.flatMap(label), 0, ...u16(type), ...u16(space), ...additional.flat()],
];

// Few words, so that names meet; some are others' beginnings and ends.
const word = fc.constantFrom(
  "a",
  "ads",
  "xads",
  "example",
  "com",
  "co",
  "c",
  "track-1",
  "_dmarc",
  "x".repeat(63),
);
const name = fc.array(word, { minLength: 1, maxLength: 3 }).map((words) => words.join("."));
const octet = fc.nat(255);
const options = fc.record<SinkholeOptions>({
  names: fc.array(name, { minLength: 1, maxLength: 12 }),
  except: fc.oneof(fc.constant<string[]>([]), fc.array(name, { maxLength: 3 })),
  answer: fc.array(
    fc.oneof(
      fc.array(octet, { minLength: 4, maxLength: 4 }),
      fc.array(octet, { minLength: 16, maxLength: 16 }).map(([, ...rest]) => [0x20, ...rest]),
    ),
    { maxLength: 4 },
  ),
  ttl: fc.nat(600_000),
});
const mixedCase = (text: string, bits: number) =>
  [...text].map((letter, i) => ((bits >> (i % 31)) & 1 ? letter.toUpperCase() : letter)).join("");
const opt = (version: number, flags: number, data: number[]) => [
  ...[0, ...u16(41), ...u16(4096), 0, version, ...u16(flags), ...u16(data.length), ...data],
];
const record = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom(opt(0, 0, []), opt(0, 0x8000, []), opt(0, 0, [0, 10, 0, 2, 7, 7])),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      opt(1, 0, []),
      [0xc0, 12, ...u16(250), 0, 1, 0, 0, 0, 0, 0, 0],
      [1, 97, ...opt(0, 0, [])],
    ),
  },
);
const query = fc.record<Query>({
  labels: fc
    .tuple(
      fc.array(
        fc.oneof(
          { weight: 8, arbitrary: word },
          // A dot or a NUL within a label is neither a dot between labels nor anything that is listed.
          { weight: 1, arbitrary: fc.constantFrom("ads.example", "a\0", "\xff", "co.", "ads\0example") },
        ),
        { maxLength: 6 },
      ),
      fc.integer(),
    )
    .map(([labels, bits]) => labels.map((one) => mixedCase(one, bits))),
  type: fc.constantFrom(1, 28, 255, 16, 65, 5),
  space: fc.oneof(
    { weight: 8, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.constantFrom(3, 255) },
  ),
  flags: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom(0x0100, 0, 0x0120, 0x0110) },
    { weight: 1, arbitrary: fc.constantFrom(0x8180, 0x2800, 0x7fff) },
  ),
  counts: fc.oneof(
    { weight: 12, arbitrary: fc.constant<[number, number, number]>([1, 0, 0]) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<[number, number, number][]>([2, 0, 0], [0, 0, 0], [1, 1, 0], [1, 0, 1]),
    },
  ),
  additional: fc.oneof(
    { weight: 3, arbitrary: fc.constant<number[][]>([]) },
    { weight: 2, arbitrary: fc.array(record, { maxLength: 2 }) },
  ),
});
/** What is done to the octets at last: mostly nothing; else cut, or one of them changed. */
const harm = fc.oneof(
  { weight: 6, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.record({ cut: fc.nat(40) }) },
  { weight: 1, arbitrary: fc.record({ at: fc.nat(60), octet }) },
);

interface Ends {
  from: string;
  to: string;
}
const ENDS: Record<"ipv4" | "ipv6", Ends> = {
  ipv4: { from: "10.0.0.9", to: "9.9.9.9" },
  ipv6: { from: "2001:db8::9", to: "2620:fe::fe" },
};
const datagram = (
  version: "ipv4" | "ipv6",
  { from, to }: Ends,
  ports: [number, number],
  data: number[],
  rest = {},
) =>
  buildPacket({
    [version]: { from, to, ...rest },
    udp: { "from-port": ports[0], "to-port": ports[1] },
    payload: { hex: Buffer.from(data).toString("hex") },
  }).bytes;

test("each query is answered with the reference's octets, or goes where the reference says, after any reload too", () => {
  const seen: Record<string, number> = {};
  const queries = fc.array(fc.tuple(query, harm, fc.constantFrom("ipv4" as const, "ipv6" as const)), {
    minLength: 5,
    maxLength: 20,
    size: "max",
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(options, queries), { minLength: 1, maxLength: 3 }), (versions) => {
      const bench = new FilterBench(module, params(versions[0][0], { unreadable: "odd" }));
      versions.forEach(([o, asked], version) => {
        if (version > 0) bench.reload(params(o, { unreadable: "odd" }));
        for (const [one, damage, ip] of asked) {
          let data = message(one);
          if (damage && "cut" in damage) data = data.slice(0, damage.cut);
          else if (damage) data[damage.at % data.length] = damage.octet;
          const ends = ENDS[ip];
          const bytes = datagram(ip, ends, [4242, 53], data);
          const verdict = sinkhole(data, o);
          const left = bench.send(bytes);
          seen[verdict.what] = (seen[verdict.what] ?? 0) + 1;
          const output = { pass: "next", unreadable: "odd", reply: "reply" }[verdict.what];
          expect(left.output, JSON.stringify({ o, data })).toBe(output);
          const back = { from: ends.to, to: ends.from, [ip === "ipv4" ? "ttl" : "hop-limit"]: 64 };
          const expected =
            verdict.what === "reply" ? datagram(ip, ends, [53, 4242], verdict.message, back) : bytes;
          expect(Buffer.from(left.bytes).toString("hex")).toBe(Buffer.from(expected).toString("hex"));
          const { left: described, fresh } = bench.descriptorFields();
          expect(described).toEqual(fresh);
        }
      });
    }),
    { numRuns: 150, seed: 8 },
  );
  for (const what of ["pass", "unreadable", "reply"]) expect(seen[what], what).toBeGreaterThan(250);
});

describe("lists", () => {
  test.each([
    ["ads.example", "ads.example"],
    ["ADS.Example.", "ads.example"],
    ["*.ads.example", "ads.example"],
    [".ads.example", "ads.example"],
    ["com", "com"],
    ["_dmarc.x-y.example", "_dmarc.x-y.example"],
    ["0.0.0.0 ads.example", "ads.example"],
    ["127.0.0.1\tads.example  TRACK.example", "ads.example track.example"],
    ["::1 ads.example", "ads.example"],
    ["127.0.0.1 localhost localhost.localdomain local", "localhost.localdomain"],
    ["fe80::1%lo0 localhost", ""],
    ["0.0.0.0 0.0.0.0", ""],
    ["bücher.example", "xn--bcher-kva.example"],
  ])("%s", (line, names) => {
    expect(readDomains(line)).toEqual({ value: names });
  });
  test.each([
    "",
    "a..b",
    "two words",
    "1.2.3.4",
    `${"x".repeat(64)}.example`,
    "a b.example",
    "||ads.example^",
    5,
    null,
  ])("%s is refused", (line) => {
    expect(readDomains(line)).toHaveProperty("refusal.message");
  });

  test("a hundred thousand names: each is found, below it too, and nothing beside it", () => {
    const names = Array.from(
      { length: 100_000 },
      (_, i) => `n${(i * 7919) % 1_000_003}.${"abc"[i % 3]}${i % 101}.example`,
    );
    const o = { names, except: [], answer: [[192, 0, 2, 7]], ttl: 60 };
    const bench = open(o);
    const ask = (text: string) => {
      const data = message({
        labels: text.split("."),
        type: 1,
        space: 1,
        flags: 0x100,
        counts: [1, 0, 0],
        additional: [],
      });
      return bench.send(datagram("ipv4", ENDS.ipv4, [4242, 53], data)).output;
    };
    const listed = new Set(names);
    for (let i = 0; i < names.length; i += 37) {
      expect(ask(names[i])).toBe("reply");
      expect(ask(`x.y.${names[i]}`)).toBe("reply");
      for (const near of [
        `x${names[i]}`,
        names[i].replace(/^n/, "m"),
        names[i].slice(names[i].indexOf(".") + 1),
      ])
        expect(ask(near)).toBe(listed.has(near) ? "reply" : "next");
    }
  });
});

describe.skipIf(!hasScapy || !hasTool("tshark"))("others read its replies (needs scapy, tshark)", () => {
  test("scapy's queries; tshark finds nothing malformed and every checksum right", () => {
    const wanted = folder.file("queries.txt");
    scapy(`
from scapy.all import *
queries = []
for ip, other in ((IP(src="10.0.0.9", dst="9.9.9.9"), 0), (IPv6(src="2001:db8::9", dst="2620:fe::fe"), 1)):
    for name in ("ads.example", "x.y.ADS.example"):
        for t in ("A", "AAAA", "TXT", "HTTPS", 255):
            for edns in (None, DNSRROPT(rclass=1232, z=0x8000)):
                q = DNS(id=77, rd=1, qd=DNSQR(qname=name, qtype=t), **({"ar": edns} if edns else {}))
                queries.append(bytes(ip/UDP(sport=5000, dport=53)/q).hex())
open(${JSON.stringify(wanted)}, "w").write("\\n".join(queries))
`);
    const queries = execFileSync("cat", [wanted], { encoding: "utf8" }).split("\n");
    const replies: string[] = [];
    for (const answer of [
      [],
      [
        [192, 0, 2, 7],
        [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 7],
      ],
    ]) {
      const bench = open({ names: ["ads.example"], except: [], answer, ttl: 300 });
      for (const bytes of queries) {
        const left = bench.send(Uint8Array.from(Buffer.from(bytes, "hex")));
        expect(left.output).toBe("reply");
        replies.push(Buffer.from(left.bytes).toString("hex"));
      }
    }
    writeFileSync(folder.file("replies.txt"), replies.join("\n"));
    const pcap = folder.file("replies.pcap");
    const said = scapy(`
from scapy.all import *
import collections
counts = collections.Counter()
packets = []
for line in open(${JSON.stringify(folder.file("replies.txt"))}).read().split("\\n"):
    raw = bytes.fromhex(line)
    p = IP(raw) if raw[0] >> 4 == 4 else IPv6(raw)
    packets.append(Raw(raw))
    d = p[DNS]
    assert (d.id, d.qr, d.aa, d.rd, d.ra, d.tc, p.dport) == (77, 1, 1, 1, 1, 0, 5000), d
    for r in (d.an or []): assert r.ttl == 300 and r.rdata in ("192.0.2.7", "2001:db8::7"), r
    counts[(d.rcode, d.ancount, d.nscount)] += 1
wrpcap(${JSON.stringify(pcap)}, packets, linktype=101)
print(sorted(counts.items()))
`);
    // Without addresses nothing exists; with them A and AAAA have one, ANY both, the other two none.
    expect(said.trim()).toBe("[((0, 0, 1), 16), ((0, 1, 0), 16), ((0, 2, 0), 8), ((3, 0, 1), 40)]");
    const check = ["-o", "udp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"];
    const bad =
      "_ws.malformed || _ws.expert.severity >= warning || udp.checksum.status == Bad || ip.checksum.status == Bad";
    const tshark = (filter: string) =>
      execFileSync("tshark", ["-nr", pcap, ...check, "-Y", filter], {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      });
    expect(tshark(bad)).toBe("");
    expect(tshark("dns.flags.response == 1 && udp.checksum.status == Good").trim().split("\n")).toHaveLength(
      80,
    );
  });
});
