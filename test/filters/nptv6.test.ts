// nptv6: out and back is the same address, sums never change, and no two addresses inside are one outside.
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { onesComplementSum } from "../reference/checksum.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let nptv6: FilterModule;
beforeAll(async () => {
  nptv6 = await filterModule("nptv6");
});

const text = (words: number[]) => words.map((word) => word.toString(16)).join(":");
const word = fc.oneof(
  { weight: 3, arbitrary: fc.nat(0xffff) },
  { weight: 1, arbitrary: fc.constantFrom(0, 0xffff, 1) },
);
const words = (count: number) => fc.array(word, { minLength: count, maxLength: count });

function prefix(of: number[], bits: number): string {
  const masked = of.map(
    (value, i) => value & (0xffff << Math.max(0, Math.min(16, 16 * (i + 1) - bits))) & 0xffff,
  );
  return `${text([...masked, 0, 0, 0, 0])}/${bits}`;
}
/** Ones' complement has two zeros: they are one number. */
const sum = (bytes: Uint8Array) => onesComplementSum(bytes) % 0xffff;

test("what goes out comes back, and no checksum is any other for it", () => {
  fc.assert(
    fc.property(
      words(4),
      words(4),
      fc.integer({ min: 16, max: 64 }),
      words(8),
      fc.boolean(),
      (a, b, bits, rest, tcp) => {
        // Two prefixes, neither in the other, and not the other end's.
        const inside = [0xfd00 | (a[0] & 0xff), a[1], a[2], a[3]];
        const outside = [0x2000 | (b[0] & 0xff), b[1], b[2], b[3]];
        const bench = new FilterBench(nptv6, {
          internal: prefix(inside, bits),
          external: prefix(outside, bits),
        });
        const mask = (i: number) => (0xffff << Math.max(0, Math.min(16, 16 * (i + 1) - bits))) & 0xffff;
        const host = rest.map((value, i) =>
          i < 4 ? (inside[i] & mask(i)) | (value & ~mask(i) & 0xffff) : value,
        );
        // The subnet of all ones is the other zero, and cannot be told from it outside.
        fc.pre(bits > 48 || host[3] !== 0xffff);
        const transport = tcp ? { tcp: { flags: ["ack"] } } : { udp: {} };
        const far = "3fff::9";
        const sent = buildPacket({
          ipv6: { from: text(host), to: far },
          ...transport,
          payload: { bytes: 9 },
        }).bytes;
        const out = bench.send(sent);
        if (out.output === "drop") {
          const identifier = new Set(host.slice(4));
          expect(bits > 48 && identifier.size === 1).toBe(true);
          expect([0, 0xffff]).toContain(host[4]);
          return;
        }
        expect(sum(out.bytes.slice(8, 24))).toBe(sum(sent.slice(8, 24)));
        expect(out.bytes.slice(24)).toEqual(sent.slice(24));
        const mapped = Array.from({ length: 8 }, (_, i) => out.bytes[8 + 2 * i] * 256 + out.bytes[9 + 2 * i]);
        for (let i = 0; i < 4; i++) expect(mapped[i] & mask(i)).toBe(outside[i] & mask(i));
        const back = bench.send(buildPacket({ ipv6: { from: far, to: text(mapped) }, ...transport }).bytes);
        expect(back.output).toBe("next");
        const returned = Array.from(
          { length: 8 },
          (_, i) => back.bytes[24 + 2 * i] * 256 + back.bytes[25 + 2 * i],
        );
        expect(text(returned)).toBe(text(host));
      },
    ),
    { numRuns: 3000 },
  );
});
