// core's dissect against a slow reference, on packets as they should be, on mutated ones, and on noise.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { MALFORMED, PACKET_FLAG } from "../../src/batches/layout.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { dissect as reference } from "../reference/dissect.ts";
import { coreOnMemory, counters, dissectAt, MALFORMED_COUNTERS, MEMORY_BYTES, RX } from "./core.ts";

let bench: Awaited<ReturnType<typeof coreOnMemory>>;
beforeAll(async () => {
  bench = await coreOnMemory();
});

/** At the end of memory: one byte read beyond the packet traps. */
function dissectAtEnd(bytes: Uint8Array, layer: 2 | 3) {
  return dissectAt(bench, bytes, layer, MEMORY_BYTES - bytes.length);
}

function expectAsReference(bytes: Uint8Array, layer: 2 | 3): void {
  const { error, flowHash, ...found } = dissectAtEnd(bytes, layer);
  const { error: expectedError, flow, ...expected } = reference(bytes, layer);
  expect({ error: MALFORMED[error], ...found }).toEqual({ error: expectedError, ...expected });
  // The same bytes between other neighbours: nothing outside the packet counts.
  bench.m.u8.fill(0xa5, 100_000, 100_000 + bytes.length + 256);
  const elsewhere = dissectAt(bench, bytes, layer, 100_128);
  expect(elsewhere).toEqual({ error, flowHash, ...found });
}

const V4 = { from: "10.0.0.1", to: "192.0.2.9" };
const V6 = { from: "2001:db8::1", to: "2001:db8::2" };
const TCP = { "from-port": 5000, "to-port": 443, flags: ["syn"], options: "020405b4" };
const UDP = { "from-port": 5000, "to-port": 53 };
const EVERY_EXTENSION = [
  { "hop-by-hop": {} },
  { routing: { type: 4, "segments-left": 1, data: "00".repeat(20) } },
  { destination: { data: "0104" + "00".repeat(4) } },
  { authentication: { data: "00".repeat(12) } },
];

/** Packets as they should be, layer 3; each also goes into frames. */
const SEEDS: Record<string, Record<string, unknown>> = {
  "UDP over IPv4": { ipv4: V4, udp: UDP, payload: "hello" },
  "TCP over IPv4": { ipv4: V4, tcp: TCP, payload: "hello" },
  "ICMP echo": { ipv4: V4, icmp: { type: 8, id: 77, seq: 1 }, payload: "ping" },
  "ICMP error": {
    ipv4: V4,
    icmp: { type: 3, code: 3, rest: 0 },
    payload: { packet: { ipv4: V4, udp: UDP } },
  },
  "IPv4 options": { ipv4: { ...V4, options: "94040000" }, udp: UDP },
  "IPv4 first fragment": {
    ipv4: { ...V4, flags: ["mf"], id: 7 },
    udp: { ...UDP, length: 1480 },
    payload: { bytes: 24 },
  },
  "IPv4 later fragment": { ipv4: { ...V4, protocol: 17, offset: 64, id: 7 }, payload: { bytes: 24 } },
  "IPv4 multicast": { ipv4: { ...V4, to: "224.0.0.251" }, udp: UDP },
  "IPv4 broadcast": { ipv4: { ...V4, to: "255.255.255.255" }, udp: UDP },
  "GRE, which we do not know": { ipv4: { ...V4, protocol: 47 }, payload: { bytes: 20 } },
  "ICMPv6's number over IPv4": { ipv4: { ...V4, protocol: 58 }, payload: { bytes: 20 } },
  "UDP over IPv6": { ipv6: V6, udp: UDP, payload: "hello" },
  "TCP over IPv6": { ipv6: V6, tcp: TCP, payload: "hello" },
  "ICMPv6 echo": { ipv6: V6, icmpv6: { type: 129, id: 77, seq: 1 } },
  "every extension header": { ipv6: { ...V6, extensions: EVERY_EXTENSION }, tcp: TCP },
  "IPv6 first fragment": {
    ipv6: { ...V6, extensions: [{ fragment: { more: true, id: 9 } }] },
    udp: { ...UDP, length: 1480 },
    payload: { bytes: 24 },
  },
  "IPv6 later fragment": {
    ipv6: { ...V6, extensions: [{ fragment: { offset: 64, id: 9, next: 17 } }] },
    payload: { bytes: 21 },
  },
  "IPv6 atomic fragment": { ipv6: { ...V6, extensions: [{ fragment: { id: 9 } }] }, udp: UDP },
  "eight extension headers": {
    ipv6: { ...V6, extensions: new Array(8).fill({ destination: {} }) },
    udp: UDP,
  },
  "nine extension headers": { ipv6: { ...V6, extensions: new Array(9).fill({ destination: {} }) }, udp: UDP },
  "Hop-by-Hop Options not first": {
    ipv6: { ...V6, extensions: [{ destination: {} }, { "hop-by-hop": {} }] },
    udp: UDP,
  },
  "no next header": { ipv6: V6 },
};

const FRAMES: Record<string, Record<string, unknown>> = {
  untagged: { ethernet: {} },
  "802.1Q": { ethernet: {}, vlan: { id: 5 } },
  "802.1ad": { ethernet: {}, vlan: [{ id: 5 }, { id: 6 }] },
  "three tags, one more than we take": { ethernet: {}, vlan: [{ id: 5 }, { id: 6 }, { id: 7 }] },
  "to everyone": { ethernet: { to: "ff:ff:ff:ff:ff:ff" } },
  "to a group": { ethernet: { to: "33:33:00:00:00:01" } },
  padded: { ethernet: {}, pad: 18 },
};

describe("what is well-formed", () => {
  test.each(Object.entries(SEEDS))("layer 3: %s", (_, notation) => {
    expectAsReference(buildPacket(notation).bytes, 3);
  });
  describe.each(Object.entries(FRAMES))("layer 2, %s", (_, frame) => {
    test.each(Object.entries(SEEDS))("%s", (_name, notation) => {
      expectAsReference(buildPacket({ ...notation, ...frame }).bytes, 2);
    });
  });
  test("a frame that is not IP has neither l3 nor l4", () => {
    const arp = buildPacket({ ethernet: { type: 0x0806 }, payload: { bytes: 28 } }).bytes;
    expectAsReference(arp, 2);
    expect(dissectAtEnd(arp, 2)).toMatchObject({ flags: PACKET_FLAG.NOT_IP, l3: 0, l4: 0, payload: 14 });
  });
});

describe("lengths that lie", () => {
  const reasons: [string, string, Record<string, unknown>][] = [
    ["bad-version", "a version of 5", { ipv4: { ...V4, version: 5 } }],
    ["truncated-ipv4", "half an IPv4 header", { ipv4: V4, truncate: 12 }],
    ["truncated-ipv4", "options beyond the packet", { ipv4: { ...V4, "header-length": 60 } }],
    ["bad-ipv4-header-length", "an IHL below 5", { ipv4: { ...V4, "header-length": 16 } }],
    ["bad-ipv4-total-length", "a total length beyond the packet", { ipv4: { ...V4, length: 21 } }],
    ["bad-ipv4-total-length", "a total length below the header's", { ipv4: { ...V4, length: 19 } }],
    ["truncated-ipv6", "half an IPv6 header", { ipv6: V6, truncate: 39 }],
    ["bad-ipv6-payload-length", "a payload length beyond the packet", { ipv6: { ...V6, length: 1 } }],
    [
      "truncated-extension-header",
      "an extension header beyond the payload",
      { ipv6: { ...V6, extensions: [{ destination: { length: 1 } }] } },
    ],
    [
      "truncated-extension-header",
      "a payload length that ends in an extension header",
      { ipv6: { ...V6, length: 4, extensions: [{ destination: {} }] } },
    ],
    ["too-many-extension-headers", "a chain of nine", SEEDS["nine extension headers"]],
    [
      "bad-fragment",
      "more fragments, not in eights",
      { ipv4: { ...V4, flags: ["mf"] }, payload: { bytes: 9 } },
    ],
    ["bad-fragment", "a fragment of nothing", { ipv4: { ...V4, offset: 8 } }],
    ["bad-fragment", "too long by its header", { ipv4: { ...V4, offset: 65512 }, payload: { bytes: 4 } }],
    ["bad-fragment", "the ping of death", { ipv4: { ...V4, offset: 65528 }, payload: { bytes: 8 } }],
    [
      "bad-fragment",
      "the ping of death over IPv6",
      { ipv6: { ...V6, extensions: [{ fragment: { offset: 65528 } }] }, payload: { bytes: 8 } },
    ],
    ["truncated-tcp", "half a TCP header", { ipv4: { ...V4, protocol: 6 }, payload: { bytes: 19 } }],
    ["bad-tcp-data-offset", "a data offset below 5", { ipv4: V4, tcp: { "header-length": 16 } }],
    ["bad-tcp-data-offset", "a data offset beyond the packet", { ipv4: V4, tcp: { "header-length": 24 } }],
    ["truncated-udp", "half a UDP header", { ipv4: { ...V4, protocol: 17 }, payload: { bytes: 7 } }],
    ["bad-udp-length", "a UDP length below 8", { ipv4: V4, udp: { length: 7 } }],
    ["bad-udp-length", "a UDP length beyond the packet", { ipv6: V6, udp: { length: 9 } }],
    ["truncated-icmp", "half an ICMP header", { ipv4: { ...V4, protocol: 1 }, payload: { bytes: 7 } }],
  ];
  test.each(reasons)("%s: %s", (reason, _, notation) => {
    const { bytes } = buildPacket(notation);
    expectAsReference(bytes, 3);
    const { flags, error } = dissectAtEnd(bytes, 3);
    expect(MALFORMED[error]).toBe(reason);
    expect(flags & PACKET_FLAG.MALFORMED).not.toBe(0);
  });
  test("truncated-ethernet: half a header, and half a tag", () => {
    for (const length of [0, 13, 14, 17]) {
      const { bytes } = buildPacket({ ethernet: {}, vlan: {}, ipv4: V4, truncate: length });
      expectAsReference(bytes, 2);
      expect(MALFORMED[dissectAtEnd(bytes, 2).error]).toBe("truncated-ethernet");
    }
  });
  test("an empty packet has no version", () => {
    expectAsReference(new Uint8Array(), 3);
    expect(MALFORMED[dissectAtEnd(new Uint8Array(), 3).error]).toBe("bad-version");
  });
});

test("bytes after the IP packet, as Ethernet pads, belong to nothing", () => {
  const udp = { ipv4: V4, udp: UDP, payload: "hi" };
  const padded = buildPacket({ ...udp, pad: 16 }).bytes;
  expectAsReference(padded, 3);
  // A UDP length that reaches into the padding is not within the IP packet.
  const reaching = buildPacket({ ...udp, udp: { ...UDP, length: 12 }, pad: 16 }).bytes;
  expect(MALFORMED[dissectAtEnd(reaching, 3).error]).toBe("bad-udp-length");
});

const seeds = Object.values(SEEDS).map((notation) => buildPacket(notation).bytes);
const frames = Object.values(FRAMES).flatMap((frame) =>
  Object.values(SEEDS).map((notation) => buildPacket({ ...notation, ...frame }).bytes),
);
/** Header fields are near the front: most changes go there, and to values at the edges. */
const change = fc.record({
  at: fc.oneof(fc.nat(63), fc.nat(200)),
  value: fc.oneof(fc.constantFrom(0, 1, 4, 5, 6, 7, 8, 17, 43, 44, 51, 58, 60, 69, 96, 255), fc.nat(255)),
});
function mutated(bytes: Uint8Array[]) {
  return fc
    .record({
      seed: fc.constantFrom(...bytes),
      changes: fc.array(change, { maxLength: 6 }),
      cut: fc.nat(200),
    })
    .map(({ seed, changes, cut }) => {
      const copy = Uint8Array.from(seed);
      for (const { at, value } of changes) if (at < copy.length) copy[at] = value;
      return cut < copy.length && cut % 3 === 0 ? copy.slice(0, cut) : copy;
    });
}

describe("untrusted bytes: never a trap, never a read outside, always what the reference says", () => {
  test("mutated packets, layer 3", () => {
    fc.assert(
      fc.property(mutated(seeds), (bytes) => expectAsReference(bytes, 3)),
      { numRuns: 20_000 },
    );
  });
  test("mutated frames, layer 2", () => {
    fc.assert(
      fc.property(mutated(frames), (bytes) => expectAsReference(bytes, 2)),
      { numRuns: 20_000 },
    );
  });
  test("noise", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), fc.constantFrom(2, 3), (bytes, layer) =>
        expectAsReference(bytes, layer as 2 | 3),
      ),
      { numRuns: 10_000 },
    );
  });
  test("every truncation of every packet", () => {
    for (const bytes of seeds) {
      for (let length = 0; length <= bytes.length; length++) expectAsReference(bytes.slice(0, length), 3);
    }
  });
  test("every length that an IP header may claim", () => {
    for (const bytes of seeds) {
      const isIpv4 = bytes[0] >> 4 === 4;
      const copy = Uint8Array.from(bytes);
      for (let length = 0; length <= bytes.length + 2; length++) {
        copy.set([length >> 8, length & 255], isIpv4 ? 2 : 4);
        expectAsReference(copy, 3);
      }
    }
  });
  test("every length that an extension header may claim", () => {
    for (const kind of ["hop-by-hop", "destination", "routing", "authentication"]) {
      for (let length = 0; length <= 255; length++) {
        for (const bytes of [0, 1, 4, 7, 8, 9, 16]) {
          const extensions = [{ [kind]: { length, data: "00".repeat(14) } }];
          const packet = { ipv6: { ...V6, extensions }, udp: UDP, payload: { bytes } };
          expectAsReference(buildPacket(packet).bytes, 3);
        }
      }
    }
  });
});

describe("the flow hash", () => {
  const endpoint = fc.record({ host: fc.nat(255), port: fc.integer({ min: 1, max: 65535 }) });
  const v4 = (n: number) => `10.0.0.${n}`;
  const v6 = (n: number) => `2001:db8::${(n + 1).toString(16)}`;
  const kinds = [
    (a: number, b: number, p: number, q: number) => ({
      ipv4: { from: v4(a), to: v4(b) },
      tcp: { "from-port": p, "to-port": q },
    }),
    (a: number, b: number, p: number, q: number) => ({
      ipv6: { from: v6(a), to: v6(b) },
      udp: { "from-port": p, "to-port": q },
    }),
  ];
  test("is the same in both directions, and like the reference's flow", () => {
    const hashes = new Map<string, number>();
    fc.assert(
      fc.property(endpoint, endpoint, fc.constantFrom(...kinds), (a, b, kind) => {
        const there = buildPacket(kind(a.host, b.host, a.port, b.port)).bytes;
        const back = buildPacket(kind(b.host, a.host, b.port, a.port)).bytes;
        const { flowHash } = dissectAtEnd(there, 3);
        expect(dissectAtEnd(back, 3).flowHash).toBe(flowHash);
        hashes.set(reference(there, 3).flow, flowHash);
      }),
      { numRuns: 3000 },
    );
    expect(new Set(hashes.values()).size).toBe(hashes.size);
  });
  test("of an echo and its reply is the same, by the identifier", () => {
    const echo = (type: number, id: number, from: string, to: string) =>
      dissectAtEnd(buildPacket({ ipv4: { from, to }, icmp: { type, id } }).bytes, 3).flowHash;
    expect(echo(8, 5, "10.0.0.1", "10.0.0.2")).toBe(echo(0, 5, "10.0.0.2", "10.0.0.1"));
    expect(echo(8, 5, "10.0.0.1", "10.0.0.2")).not.toBe(echo(8, 6, "10.0.0.1", "10.0.0.2"));
  });
  test("of all fragments of a datagram is the same: ports are not in it", () => {
    const first = buildPacket(SEEDS["IPv4 first fragment"]).bytes;
    const later = buildPacket(SEEDS["IPv4 later fragment"]).bytes;
    expect(dissectAtEnd(first, 3).flowHash).toBe(dissectAtEnd(later, 3).flowHash);
  });
  test("spreads neighbouring flows evenly: low bits and high bits, by chi-squared", () => {
    const low = new Array(64).fill(0);
    const high = new Array(64).fill(0);
    const flows = 64 * 256;
    for (let i = 0; i < flows; i++) {
      const { bytes } = buildPacket(kinds[i % 2](i & 7, 9, 1024 + (i >> 3), 80));
      const { flowHash } = dissectAtEnd(bytes, 3);
      low[flowHash & 63] += 1;
      high[flowHash >>> 26] += 1;
    }
    for (const buckets of [low, high]) {
      const mean = flows / 64;
      const chiSquared = buckets.reduce((sum, n) => sum + (n - mean) ** 2 / mean, 0);
      // 63 degrees of freedom: above 112 once in ten thousand.
      expect(chiSquared).toBeLessThan(112);
    }
  });
});

test("packets, bytes, datagrams and malformed packets are counted", () => {
  bench.m.u8.fill(0, RX, RX + 24);
  bench.m.u8.fill(0, MALFORMED_COUNTERS, MALFORMED_COUNTERS + 8 * MALFORMED.length);
  const good = buildPacket(SEEDS["UDP over IPv4"]).bytes;
  dissectAtEnd(good, 3);
  dissectAtEnd(good.slice(0, 19), 3);
  dissectAtEnd(good.slice(0, 19), 3);
  expect(counters(bench.m, RX, 3)).toEqual([3, good.length + 38, 3]);
  const malformed = counters(bench.m, MALFORMED_COUNTERS, MALFORMED.length);
  expect(malformed[MALFORMED.indexOf("truncated-ipv4")]).toBe(2);
  expect(malformed.reduce((sum, n) => sum + n)).toBe(2);
});
