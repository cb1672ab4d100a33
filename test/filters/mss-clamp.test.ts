// mss-clamp against a slow reference: the option is found by a plain walk, the checksum is summed anew.
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { checksum } from "../reference/checksum.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let module: FilterModule;
beforeAll(async () => {
  module = await filterModule("mss-clamp");
});

/** Options as senders write them, and as nobody should: the walk must end all the same. */
const option = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 0, max: 0xffff }).map((size) => [2, 4, size >> 8, size & 255]) },
  { weight: 2, arbitrary: fc.constantFrom([1], [4, 2], [3, 3, 7], [8, 10, 1, 2, 3, 4, 5, 6, 7, 8]) },
  {
    weight: 1,
    arbitrary: fc.constantFrom([0], [2], [2, 0], [2, 1, 5, 180], [2, 3, 5], [2, 5, 5, 180, 1], [5, 40]),
  },
);
const options = fc.array(option, { maxLength: 6 }).map((parts) => {
  const bytes = parts.flat().slice(0, 40);
  while (bytes.length % 4 !== 0) bytes.push(0);
  return bytes;
});

/** What a receiver should see: every whole MSS option before the end of options, lowered. */
function lowered(bytes: Uint8Array, from: number, end: number, most: number): void {
  for (let at = from; at < end && bytes[at] !== 0; ) {
    if (bytes[at] === 1) {
      at++;
      continue;
    }
    const length = at + 1 < end ? bytes[at + 1] : 0;
    if (length < 2 || at + length > end) return;
    if (bytes[at] === 2 && length === 4) {
      const size = Math.min(bytes[at + 2] * 256 + bytes[at + 3], most);
      bytes[at + 2] = size >> 8;
      bytes[at + 3] = size & 255;
    }
    at += length;
  }
}

test("the option is lowered, the checksum is right, and nothing else changes", () => {
  fc.assert(
    fc.property(
      options,
      fc.integer({ min: 1, max: 0xffff }),
      fc.boolean(),
      fc.constantFrom<string[]>(["syn"], ["syn", "ack"], ["ack"], ["syn", "fin", "rst"]),
      fc.integer({ min: 0, max: 9 }),
      (optionBytes, size, isIpv4, flags, payload) => {
        const hex = Buffer.from(optionBytes).toString("hex");
        const ip = isIpv4
          ? { ipv4: { from: "10.0.0.1", to: "192.0.2.9" } }
          : { ipv6: { from: "2001:db8::1", to: "2001:db8::2" } };
        const sent = buildPacket({ ...ip, tcp: { flags, options: hex }, payload: { bytes: payload } }).bytes;
        const expected = sent.slice();
        const tcp = isIpv4 ? 20 : 40;
        if (flags.includes("syn")) lowered(expected, tcp + 20, tcp + 20 + optionBytes.length, size);
        sumTcp(expected, tcp, isIpv4);
        const bench = new FilterBench(module, { size });
        const left = bench.send(sent);
        expect(left.output).toBe("next");
        expect(Buffer.from(left.bytes).toString("hex")).toBe(Buffer.from(expected).toString("hex"));
        const counted = Object.values(bench.counters).reduce((a, b) => a + b, 0);
        expect(counted).toBe(flags.includes("syn") ? 1 : 0);
      },
    ),
    { numRuns: 1500 },
  );
});

function sumTcp(bytes: Uint8Array, tcp: number, isIpv4: boolean): void {
  const length = bytes.length - tcp;
  const addresses = isIpv4 ? bytes.slice(12, 20) : bytes.slice(8, 40);
  bytes[tcp + 16] = 0;
  bytes[tcp + 17] = 0;
  const sum = checksum([...addresses, 0, 6, length >> 8, length & 255, ...bytes.slice(tcp)]);
  bytes[tcp + 16] = sum >> 8;
  bytes[tcp + 17] = sum & 255;
}
