// nat against a slow reference: whatever comes in what order, on whichever worker, mappings are those of the RFCs, replies
// find their way back, and all checksums are right.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket, internetChecksum } from "../../src/filters/notation.ts";
import { type Dependence, type Endpoint, type Kind, ReferenceNat } from "../reference/nat.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let nat: FilterModule;
beforeAll(async () => {
  nat = await filterModule("nat");
});

const OUTSIDE = ["198.51.100.2", "198.51.100.3", "198.51.100.77"];
const REMOTE: Endpoint = { address: "192.0.2.9", port: 53 };
const REMOTES: Endpoint[] = [
  REMOTE,
  { address: "192.0.2.9", port: 54 },
  { address: "203.0.113.7", port: 53 },
];

interface Shape {
  kind: Kind;
  payload: number;
  options: string;
  checksum: "right" | "none";
}

/** A packet from one endpoint to another; an ICMP query has the identifier of whichever end is ours. */
function build(
  { kind, payload, options, checksum }: Shape,
  from: Endpoint,
  to: Endpoint,
  reply: boolean,
): Uint8Array {
  const ports = { "from-port": from.port, "to-port": to.port };
  const transport =
    kind === "tcp"
      ? { tcp: { ...ports, flags: ["ack"], options: "0101080a0000000100000002" } }
      : kind === "udp"
        ? { udp: { ...ports, checksum } }
        : { icmp: { type: reply ? 0 : 8, id: reply ? to.port : from.port, seq: 7 } };
  return buildPacket({
    ipv4: { from: from.address, to: to.address, options },
    ...transport,
    payload: { bytes: payload },
  }).bytes;
}

const shape: fc.Arbitrary<Shape> = fc.record({
  kind: fc.constantFrom("tcp" as const, "udp" as const, "icmp" as const),
  payload: fc.integer({ min: 0, max: 40 }),
  options: fc.constantFrom("", "94040000", "0101010101010101"),
  checksum: fc.constantFrom("right" as const, "none" as const),
});
const event = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      type: fc.constant("out" as const),
      shape,
      host: fc.nat(5),
      port: fc.nat(7),
      remote: fc.nat(2),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      type: fc.constant("back" as const),
      shape,
      which: fc.nat(50),
      remote: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      type: fc.constant("in" as const),
      shape,
      address: fc.nat(2),
      port: fc.nat(65535),
      remote: fc.nat(2),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("wait" as const), times: fc.integer({ min: 1, max: 6 }) }),
  },
);
const SOURCE_PORTS = [0, 1, 1023, 4999, 5000, 5001, 5007, 65535];
/** Waits are multiples of this, so that no mapping ends within the unit by which the filter measures time. */
const STEP = 7;

describe("what comes out is what the reference allows", () => {
  const [EI, AD, APD] = [
    "endpoint-independent",
    "address-dependent",
    "address-and-port-dependent",
  ] as const satisfies Dependence[];
  test.each([
    ["ports to spare, one worker", [1024, 65535], 1, 1, EI, AD],
    ["three ports for all, two workers", [5000, 5002], 1, 2, EI, AD],
    ["three outside addresses, three workers", [4999, 5010], 3, 3, EI, AD],
    ["ports on both sides of 1024", [1020, 1027], 1, 1, EI, AD],
    ["anyone may answer", [1024, 65535], 1, 2, EI, EI],
    ["only the very endpoint may answer", [1024, 65535], 1, 2, EI, APD],
    ["a mapping for each remote address, anyone may answer", [5000, 5020], 1, 2, AD, EI],
    ["a mapping for each remote address, only the very endpoint may answer", [5000, 5020], 1, 2, AD, APD],
    ["a mapping for each remote endpoint", [5000, 5020], 1, 2, APD, AD],
  ] as [string, [number, number], number, number, Dependence, Dependence][])(
    "%s",
    (_, ports, outsides, workers, mapping, filtering) => {
      const seen = { made: 0, back: 0, refused: 0, filtered: 0 };
      fc.assert(
        fc.property(
          fc.array(fc.tuple(event, fc.nat(workers - 1)), { minLength: 10, maxLength: 60 }),
          (events) => {
            const outside = OUTSIDE.slice(0, outsides);
            const bench = new FilterBench(
              nat,
              {
                ...{
                  inside: ["10.77.0.0/24", "172.16.5.5"],
                  outside,
                  ports: `${ports[0]}-${ports[1]}`,
                  mappings: 100,
                },
                ...{ sessions: 200, mapping, filtering },
                ...{ "udp-timeout": "31s", "icmp-timeout": "10s", "port-reuse-delay": "0s" },
                ...{ "tcp-transitory-timeout": "45s", "tcp-established-timeout": "45s" },
              },
              { workers },
            );
            const reference = new ReferenceNat({
              ports,
              outside,
              mapping,
              filtering,
              timeout: { udp: 31, icmp: 10, tcp: 45 },
            });
            let now = 0;
            for (const [one, worker] of events) {
              if (one.type === "wait") {
                now += one.times * STEP;
                bench.advance(one.times * STEP);
                reference.expire(now);
                continue;
              }
              const remote = REMOTES[one.remote];
              if (one.type === "out") {
                const inside = {
                  address: one.host === 5 ? "172.16.5.5" : `10.77.0.${one.host}`,
                  port: SOURCE_PORTS[one.port],
                };
                const sent = bench.send(build(one.shape, inside, remote, false), worker);
                const left = sent.output === "next" ? sourceOf(sent.bytes, one.shape.kind) : undefined;
                expect(reference.sent(one.shape.kind, inside, remote, left, now)).toBe(undefined);
                if (left) expect(sent.bytes).toEqual(build(one.shape, left, remote, false));
                else seen.refused++;
                continue;
              }
              const live = reference.live;
              if (one.type === "back" && live.length === 0) continue;
              const target = one.type === "back" ? live[one.which % live.length] : undefined;
              const to = target?.outside ?? {
                address: outside[(one as { address: number }).address % outsides],
                port: (one as { port: number }).port,
              };
              const kind = target?.kind ?? one.shape.kind;
              const before = bench.counters;
              const sent = bench.send(build({ ...one.shape, kind }, remote, to, true), worker);
              const result = reference.received(kind, to, remote);
              if (typeof result === "string") {
                expect(sent.output).toBe("drop");
                expect(bench.counters[result]).toBe((before[result] ?? 0) + 1);
                if (result === "filtered") seen.filtered++;
                continue;
              }
              expect(sent.output).toBe("next");
              seen.back++;
              expect(sent.bytes).toEqual(build({ ...one.shape, kind }, remote, result, true));
            }
            expect(bench.counters["mappings-made"] ?? 0).toBe(reference.made);
            expect(bench.counters["sessions-made"] ?? 0).toBe(reference.sessionsMade);
            seen.made += reference.made;
          },
        ),
        { numRuns: 120 },
      );
      // Else the test would show little.
      expect(seen.made).toBeGreaterThan(500);
      expect(seen.back).toBeGreaterThan(100);
      if (filtering !== EI) expect(seen.filtered).toBeGreaterThan(50);
      if (ports[1] - ports[0] < 3) expect(seen.refused).toBeGreaterThan(20);
    },
  );
});

function sourceOf(bytes: Uint8Array, kind: Kind): Endpoint {
  const transport = (bytes[0] & 15) * 4;
  const at = kind === "icmp" ? transport + 4 : transport;
  return { address: [...bytes.subarray(12, 16)].join("."), port: bytes[at] * 256 + bytes[at + 1] };
}

describe("any ICMP error about a mapping comes out with right checksums, however much it quotes", () => {
  const kinds = fc.constantFrom<Kind>("tcp", "udp", "icmp");
  /** Bytes quoted beyond the first eight of the transport header; not 9, which would cut TCP's checksum in half. */
  const quotes = fc.nat(60).filter((bytes) => bytes !== 9);
  test("from outside", () => {
    fc.assert(
      fc.property(shape, kinds, quotes, fc.constantFrom(3, 11, 12), (given, kind, quote, type) => {
        const bench = new FilterBench(nat, { inside: "10.77.0.0/24", outside: OUTSIDE[0] });
        const inside = { address: "10.77.0.5", port: 700 };
        const original = build({ ...given, kind }, inside, REMOTE, false);
        const sent = bench.send(original).bytes;
        const length = Math.min(sent.length, (sent[0] & 15) * 4 + 8 + quote);
        const error = (to: string, quoted: Uint8Array) =>
          buildPacket({
            ipv4: { from: "203.0.113.1", to },
            icmp: { type, rest: 0 },
            payload: { hex: Buffer.from(quoted.subarray(0, length)).toString("hex") },
          }).bytes;
        const got = bench.send(error(OUTSIDE[0], sent));
        expect(got.output).toBe("next");
        // The sender recognizes its own bytes.
        expect(got.bytes).toEqual(error("10.77.0.5", original));
      }),
    );
  });
  test("from inside", () => {
    fc.assert(
      fc.property(shape, kinds, quotes, (given, kind, quote) => {
        const bench = new FilterBench(nat, { inside: "10.77.0.0/24", outside: OUTSIDE[0] });
        const inside = { address: "10.77.0.5", port: 700 };
        const outside = sourceOf(bench.send(build({ ...given, kind }, inside, REMOTE, false)).bytes, kind);
        const original = build({ ...given, kind }, REMOTE, outside, true);
        const arrived = bench.send(original).bytes;
        const length = Math.min(arrived.length, (arrived[0] & 15) * 4 + 8 + quote);
        const error = (from: string, quoted: Uint8Array) =>
          buildPacket({
            ipv4: { from, to: REMOTE.address },
            icmp: { type: 3, code: 3, rest: 0 },
            payload: { hex: Buffer.from(quoted.subarray(0, length)).toString("hex") },
          }).bytes;
        const got = bench.send(error("10.77.0.5", arrived));
        expect(got.output).toBe("next");
        expect(got.bytes).toEqual(error(OUTSIDE[0], original));
      }),
    );
  });
});

test("a wrong checksum stays wrong: the update does not hide what happened on the way", () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 0xfffe }), fc.nat(0xffff), (difference, port) => {
      const bench = new FilterBench(nat, { inside: "10.77.0.0/24", outside: OUTSIDE[0] });
      const notation = {
        ipv4: { from: "10.77.0.5", to: "192.0.2.9" },
        tcp: { "from-port": port },
        payload: "x",
      };
      const bytes = buildPacket(notation).bytes;
      const right = bytes[36] * 256 + bytes[37];
      const wrong = (right + difference) % 0xffff;
      bytes[36] = wrong >> 8;
      bytes[37] = wrong & 255;
      const { bytes: out } = bench.send(bytes);
      const pseudo = [...out.subarray(12, 20), 0, 6, 0, out.length - 20];
      expect(internetChecksum([...pseudo, ...out.subarray(20)])).not.toBe(0);
    }),
  );
});

test("noise and mutated packets: no trap, no length changed, nothing behind the packet written", () => {
  const bench = new FilterBench(nat, {
    inside: ["10.77.0.0/24"],
    outside: OUTSIDE,
    mappings: 50,
    sessions: 50,
  });
  const quoted = { ipv4: { from: OUTSIDE[0], to: "192.0.2.9" }, udp: { "from-port": 5000 }, payload: "x" };
  const seeds = [
    { ipv4: { from: "10.77.0.5", to: "192.0.2.9" }, udp: { "from-port": 5000 }, payload: "x" },
    { ipv4: { from: "10.77.0.5", to: "192.0.2.9" }, tcp: { "from-port": 5000, options: "01010101" } },
    { ipv4: { from: "10.77.0.5", to: OUTSIDE[0] }, udp: { "from-port": 5000, "to-port": 5000 } },
    { ipv4: { from: "192.0.2.9", to: OUTSIDE[1] }, icmp: { type: 0, id: 3000 } },
    { ipv4: { from: "192.0.2.9", to: OUTSIDE[0] }, icmp: { type: 3 }, payload: { packet: quoted } },
    {
      ipv4: { from: "10.77.0.5", to: OUTSIDE[0] },
      icmp: { type: 11, checksum: "partial" },
      payload: { packet: quoted },
    },
  ].map((notation) => buildPacket(notation).bytes);
  const mutated = fc
    .record({
      seed: fc.constantFrom(...seeds),
      changes: fc.array(fc.tuple(fc.nat(63), fc.nat(255)), { maxLength: 4 }),
      cut: fc.oneof(fc.constant(0), fc.nat(60)),
    })
    .map(({ seed, changes, cut }) => {
      const bytes = Uint8Array.from(seed);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes.subarray(0, Math.max(0, bytes.length - cut));
    });
  // A partial checksum is not verified, so that mutated quotes get as far as they can.
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 100 }), mutated), fc.boolean(), (bytes, partial) => {
      const sent = bench.send(bytes, 0, partial);
      expect(sent.bytes.length).toBe(bytes.length);
      expect(bench.slotRest(bytes.length).every((byte) => byte === 0xa5)).toBe(true);
      if (sent.output === "drop") return;
      // Only addresses, ports, identifiers and checksums may have changed: length, TTL, protocol have not.
      expect(sent.bytes.subarray(0, 10)).toEqual(bytes.subarray(0, 10));
    }),
    { numRuns: 4000 },
  );
});

describe("fragments of a datagram in one batch, in whatever order", () => {
  function sendAll(bench: FilterBench, packets: Uint8Array[]) {
    const descriptors = packets.map((bytes) => bench.place(bytes));
    const vector = bench.take(4 * packets.length);
    bench.m.u32.set(descriptors, vector >>> 2);
    bench.workers[0].filter.process(vector, packets.length);
    return descriptors.map((descriptor) => bench.result(descriptor));
  }
  const cut = (from: Endpoint, to: Endpoint, id: number): Uint8Array[] => {
    const ipv4 = { from: from.address, to: to.address, id };
    const udp = { "from-port": from.port, "to-port": to.port, length: 80, checksum: "none" };
    const later = (offset: number, more: boolean) => ({
      ipv4: { ...ipv4, protocol: 17, offset, flags: more ? ["mf"] : [] },
      payload: { bytes: 24 },
    });
    return [
      { ipv4: { ...ipv4, flags: ["mf"] }, udp, payload: { bytes: 16 } },
      later(24, true),
      later(48, true),
      later(72, false),
    ].map((notation) => buildPacket(notation).bytes);
  };
  const inside = { address: "10.77.0.5", port: 5000 };
  const order = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 });
  test("from outside all arrive at the inside endpoint, and to the outside all leave from the outside address", () => {
    fc.assert(
      fc.property(order, order, (out, back) => {
        const params = { inside: "10.77.0.0/24", outside: OUTSIDE[0], sessions: 10, mappings: 10 };
        const bench = new FilterBench(nat, params, { extra: 65536 });
        const outside = { address: OUTSIDE[0], port: 5000 };
        for (const [sequence, sent, expected] of [
          [out, cut(inside, REMOTE, 1), cut(outside, REMOTE, 1)],
          [back, cut(REMOTE, outside, 2), cut(REMOTE, inside, 2)],
        ]) {
          const results = sendAll(
            bench,
            sequence.map((i) => sent[i as number] as Uint8Array),
          );
          results.forEach((result, at) => {
            expect(result.output).toBe("next");
            expect(result.bytes).toEqual(expected[sequence[at] as number]);
          });
        }
        expect(bench.counters).toMatchObject({ fragments: 6, "sessions-made": 1 });
      }),
      { numRuns: 50 },
    );
  });
  test("from outside without the first they are dropped, and counted", () => {
    const params = { inside: "10.77.0.0/24", outside: OUTSIDE[0], sessions: 10, mappings: 10 };
    const bench = new FilterBench(nat, params, { extra: 65536 });
    const results = sendAll(bench, cut(REMOTE, { address: OUTSIDE[0], port: 5000 }, 2).slice(1));
    expect(results.map(({ output }) => output)).toEqual(["drop", "drop", "drop"]);
    expect(bench.counters).toEqual({ fragment: 3 });
  });
});
