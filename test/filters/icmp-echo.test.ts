// icmp-echo against a reference that builds each reply anew: what is answered, with which octets, and how often.
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let echo: FilterModule;
beforeAll(async () => {
  echo = await filterModule("icmp-echo");
});

/** Addresses as bits in text, so that a prefix is what they begin with. */
const bitsOf = (bytes: number[]) => bytes.map((byte) => byte.toString(2).padStart(8, "0")).join("");
const text = (bytes: number[]) =>
  bytes.length === 4
    ? bytes.join(".")
    : Array.from({ length: 8 }, (_, i) => (bytes[2 * i] * 256 + bytes[2 * i + 1]).toString(16)).join(":");

const BASE = { 4: [10, 9, 8, 7], 6: [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7] };
type Family = 4 | 6;
/** Near the one that prefixes are made of: one bit of it is another, or none. */
const near = (family: Family) =>
  fc.option(fc.nat(family === 4 ? 31 : 127), { nil: -1 }).map((bit) => {
    const bytes = [...BASE[family]];
    if (bit >= 0) bytes[bit >> 3] ^= 0x80 >> (bit & 7);
    return bytes;
  });
const SOURCES: Record<Family, { bytes: number[]; isOne: boolean }[]> = {
  4: [
    { bytes: [192, 0, 2, 9], isOne: true },
    { bytes: [224, 0, 0, 5], isOne: false },
    { bytes: [255, 255, 255, 255], isOne: false },
    { bytes: [0, 0, 0, 0], isOne: false },
    { bytes: [127, 0, 0, 1], isOne: false },
    { bytes: [223, 255, 255, 255], isOne: true },
  ],
  6: [
    { bytes: [0x20, 1, 0xd, 0xb8, ...new Array(11).fill(0), 9], isOne: true },
    { bytes: [0xff, 2, ...new Array(13).fill(0), 1], isOne: false },
    { bytes: new Array(16).fill(0), isOne: false },
    { bytes: [...new Array(15).fill(0), 1], isOne: false },
    { bytes: [...new Array(15).fill(0), 2], isOne: true },
  ],
};

const request = fc.constantFrom<Family>(4, 6).chain((family) =>
  fc.record({
    family: fc.constant(family),
    to: near(family),
    source: fc.oneof(
      { weight: 5, arbitrary: fc.constant(SOURCES[family][0]) },
      { weight: 2, arbitrary: fc.constantFrom(...SOURCES[family]) },
    ),
    type: fc.oneof(
      { weight: 6, arbitrary: fc.constant(family === 4 ? 8 : 128) },
      { weight: 1, arbitrary: fc.nat(255) },
    ),
    code: fc.constantFrom(0, 0, 0, 3),
    id: fc.constantFrom(0, 1, 0xffff, 0x1234),
    seq: fc.constantFrom(0, 1, 0xffff),
    // Sums of all zeros and of all ones are where updates of a checksum go wrong.
    data: fc.oneof(
      fc.uint8Array({ maxLength: 60 }),
      fc.nat(1400).map((length) => new Uint8Array(length)),
      fc.nat(40).map((length) => new Uint8Array(length).fill(255)),
    ),
    hops: fc.integer({ min: 1, max: 255 }),
    tos: fc.nat(255),
    checksum: fc.constantFrom("right", "right", "right", "right", "wrong"),
    isFragment: fc.oneof(
      { weight: 2, arbitrary: fc.constant(false) },
      { weight: 1, arbitrary: fc.constant(true) },
    ),
    options: fc.constantFrom("", "", "", "01010101"),
    gap: fc.constantFrom(0, 0.0001, 0.1, 10),
  }),
);

test("every request is answered, let by or dropped as the reference says, octet for octet", () => {
  const seen: Record<string, number> = {};
  fc.assert(
    fc.property(
      fc.array(
        fc
          .constantFrom<Family>(4, 6)
          .chain((family) => fc.nat(family === 4 ? 32 : 128).map((length) => ({ family, length }))),
        {
          minLength: 1,
          maxLength: 4,
        },
      ),
      fc.constantFrom(1, 50, 1_000_000),
      fc.integer({ min: 1, max: 20 }),
      fc.array(request, { minLength: 5, maxLength: 30, size: "max" }),
      (prefixes, rate, burst, requests) => {
        const addresses = prefixes.map(({ family, length }) => {
          const all = bitsOf(BASE[family]);
          const bits = all.slice(0, length).padEnd(all.length, "0");
          const bytes = BASE[family].map((_, i) => Number.parseInt(bits.slice(8 * i, 8 * i + 8), 2));
          return `${text(bytes)}/${length}`;
        });
        const bench = new FilterBench(echo, { addresses, rate: `${rate}pps`, burst });
        let credit = BigInt(burst) * 1_000_000_000n;
        let last = BigInt(bench.now);
        for (const one of requests) {
          bench.advance(one.gap);
          const { family, to, source, type, code, id, seq, data, hops, tos, checksum, options } = one;
          const isEcho = type === (family === 4 ? 8 : 128);
          const isOurs = prefixes.some(
            (prefix) =>
              prefix.family === family &&
              bitsOf(to).slice(0, prefix.length) === bitsOf(BASE[family]).slice(0, prefix.length),
          );
          const isFragment = one.isFragment && data.length % 8 === 0;
          const make = (from: number[], target: number[], kind: number, ttl: number, sum: string) =>
            buildPacket({
              ...(family === 4
                ? {
                    ipv4: {
                      from: text(from),
                      to: text(target),
                      ttl,
                      tos,
                      options,
                      flags: isFragment ? ["mf"] : [],
                    },
                  }
                : {
                    ipv6: {
                      ...{ from: text(from), to: text(target), "hop-limit": ttl, class: tos },
                      extensions: isFragment ? [{ fragment: { more: true, id: 7 } }] : [],
                    },
                  }),
              [family === 4 ? "icmp" : "icmpv6"]: {
                type: kind,
                code,
                rest: id * 65_536 + seq,
                checksum: sum,
              },
              payload: { hex: Buffer.from(data).toString("hex") },
            }).bytes;
          const bytes = make(source.bytes, to, type, hops, checksum);
          let verdict = "reply";
          if (!isEcho || !isOurs) verdict = "next";
          else if (isFragment) verdict = "fragment";
          // What was sent to a group would be answered by all of it.
          else if (!source.isOne || (family === 6 && to[0] === 0xff)) verdict = "from-many";
          else if (checksum === "wrong") verdict = "bad-checksum";
          else {
            // RFC 2697's bucket, in billionths of a packet.
            const now = BigInt(bench.now);
            const full = BigInt(burst) * 1_000_000_000n;
            credit =
              credit + (now - last) * BigInt(rate) > full ? full : credit + (now - last) * BigInt(rate);
            last = now;
            if (credit < 1_000_000_000n) verdict = "rate-limited";
            else credit -= 1_000_000_000n;
          }
          seen[verdict] = (seen[verdict] ?? 0) + 1;
          const before = bench.counters;
          const left = bench.send(bytes);
          const isDrop = verdict !== "reply" && verdict !== "next";
          expect(left.output, JSON.stringify({ verdict, one })).toBe(isDrop ? "drop" : verdict);
          const counted = verdict === "reply" ? "answered" : verdict;
          if (verdict !== "next") expect(bench.counters[counted]).toBe((before[counted] ?? 0) + 1);
          else expect(bench.counters).toEqual(before);
          if (isDrop) continue;
          const expected =
            verdict === "next" ? bytes : make(to, source.bytes, family === 4 ? 0 : 129, 64, "right");
          expect(Buffer.from(left.bytes).toString("hex")).toBe(Buffer.from(expected).toString("hex"));
        }
      },
    ),
    { numRuns: 80, seed: 11 },
  );
  const verdicts = ["reply", "next", "fragment", "from-many", "bad-checksum", "rate-limited"];
  for (const verdict of verdicts) expect(seen[verdict], verdict).toBeGreaterThan(10);
});
