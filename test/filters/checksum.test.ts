// checksum against RFC 1071 word by word, on packets with right sums and on the same with one bit turned anywhere.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { PACKET_FLAG } from "../../src/batches/layout.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { onesComplementSum } from "../reference/checksum.ts";
import { dissect } from "../reference/dissect.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

const ALL = ["ipv4", "tcp", "udp", "icmp"];
const RIGHT = 0xffff;
const [ICMP, TCP, UDP, ICMPV6] = [1, 6, 17, 58];

let checksum: FilterModule;
beforeAll(async () => {
  checksum = await filterModule("checksum");
});

/** The counter of why it is dropped, undefined: it goes on. */
function verdict(bytes: Uint8Array): string | undefined {
  const { error, l4, protocol, flags } = dissect(bytes, 3);
  if (error !== "none") return "malformed";
  const is4 = (flags & PACKET_FLAG.IPV4) !== 0;
  const headerLength = (bytes[0] & 15) * 4;
  if (is4 && onesComplementSum(bytes.subarray(0, headerLength)) !== RIGHT) return "bad-ipv4";
  if (l4 === 0 || (flags & (PACKET_FLAG.FRAGMENT | PACKET_FLAG.OPTIONS)) !== 0) return undefined;
  const be16 = (at: number) => bytes[at] * 256 + bytes[at + 1];
  const end = is4 ? be16(2) : 40 + be16(4);
  if (protocol === UDP && be16(l4 + 6) === 0) return is4 ? undefined : "bad-udp";
  const covered = protocol === UDP ? be16(l4 + 4) : end - l4;
  const addresses = is4 ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  const pseudo = protocol === ICMP ? [] : [...addresses, 0, protocol, covered >> 8, covered & 255];
  if (onesComplementSum([...pseudo, ...bytes.subarray(l4, l4 + covered)]) === RIGHT) return undefined;
  return { [TCP]: "bad-tcp", [UDP]: "bad-udp", [ICMP]: "bad-icmp", [ICMPV6]: "bad-icmpv6" }[protocol];
}

const port = fc.nat(65535);
const packet = fc
  .record({
    ip: fc.constantFrom(
      { ipv4: { from: "10.0.0.1", to: "192.0.2.9" } },
      { ipv4: { from: "255.254.253.252", to: "224.0.0.251", id: 65535 } },
      { ipv6: { from: "2001:db8::1", to: "2001:db8::ffff" } },
    ),
    transport: fc.oneof(
      fc.record({ udp: fc.record({ "from-port": port, "to-port": port }) }),
      fc.record({ tcp: fc.record({ "from-port": port, "to-port": port, seq: fc.nat() }) }),
      fc.constant("ping" as const),
    ),
    payload: fc.uint8Array({ maxLength: 200 }),
    padding: fc.nat(9),
  })
  .map(({ ip, transport, payload, padding }) => {
    const echo =
      "ipv4" in ip ? { icmp: { type: 8, id: 1, seq: 2 } } : { icmpv6: { type: 128, id: 1, seq: 2 } };
    const { bytes } = buildPacket({
      ...ip,
      ...(transport === "ping" ? echo : transport),
      payload: { hex: Buffer.from(payload).toString("hex") },
    });
    // What comes after the IP packet does not count.
    return new Uint8Array([...bytes, ...new Array(padding).fill(0xee)]);
  });

describe("verify", () => {
  test("lets by what has right sums, and drops what one turned bit has made wrong, by its protocol", () => {
    const bench = new FilterBench(checksum, { verify: ALL });
    let before: Record<string, number> = {};
    const once = (bytes: Uint8Array) => {
      const { output, bytes: left } = bench.send(bytes);
      const counted = bench.counters;
      const why = Object.keys(counted).find((name) => counted[name] !== before[name]);
      before = counted;
      expect([output, why]).toEqual(
        verdict(bytes) === undefined ? ["next", undefined] : ["drop", verdict(bytes)],
      );
      expect(left).toEqual(bytes);
    };
    let wrong = 0;
    fc.assert(
      fc.property(packet, fc.nat(), (bytes, bit) => {
        expect(verdict(bytes)).toBeUndefined();
        once(bytes);
        const turned = bytes.slice();
        turned[(bit >> 3) % bytes.length] ^= 1 << (bit & 7);
        // Beside the point: what an extension header or a fragment makes of it is for the cases.
        if (dissect(turned, 3).flags & (PACKET_FLAG.FRAGMENT | PACKET_FLAG.OPTIONS)) return;
        if (verdict(turned)?.startsWith("bad")) wrong++;
        once(turned);
      }),
      { numRuns: 3000 },
    );
    expect(wrong).toBeGreaterThan(1500);
  });

  test("is the same whichever of its protocols are asked for", () => {
    fc.assert(
      fc.property(packet, fc.nat(), fc.subarray(ALL), (bytes, bit, verify) => {
        const turned = bytes.slice();
        turned[(bit >> 3) % bytes.length] ^= 1 << (bit & 7);
        const why = verdict(turned);
        const asked = why === "malformed" || verify.some((word) => why?.startsWith(`bad-${word}`));
        // A wrong header may hide a wrong rest, which is found when the header is not looked at.
        if (why === "bad-ipv4" && !verify.includes("ipv4")) return;
        const { output } = new FilterBench(checksum, { verify }).send(turned);
        expect(output).toBe(why !== undefined && asked ? "drop" : "next");
      }),
      { numRuns: 300 },
    );
  });
});
