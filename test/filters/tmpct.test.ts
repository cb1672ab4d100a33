// Connections against a slow reference (test/reference/conntrack.ts), on random packets of few endpoints, so that they meet.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { Conntrack, type TrackedPacket } from "../reference/conntrack.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

const ADDRESSES = {
  4: ["10.0.0.1", "10.0.0.2", "192.0.2.1"],
  6: ["2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1"],
};
const INSIDE = ["10.0.0.0/8", "2001:db8:1::/48"];
const FLAGS = [["syn"], ["syn", "ack"], ["ack"], ["fin", "ack"], ["rst"], ["rst", "ack"]];

interface Step {
  family: 4 | 6;
  packet: TrackedPacket;
  /** Seconds that pass before it. */
  wait: number;
  worker: number;
}

const step: fc.Arbitrary<Step> = fc
  .record({
    family: fc.constantFrom(4 as const, 6 as const),
    protocol: fc.constantFrom(
      "udp" as const,
      "tcp" as const,
      "tcp" as const,
      "icmp" as const,
      "gre" as const,
    ),
    from: fc.nat(2),
    to: fc.nat(2),
    ports: fc.tuple(fc.constantFrom(1, 2), fc.constantFrom(1, 2)),
    flags: fc.constantFrom(...FLAGS),
    asks: fc.boolean(),
    wait: fc.constantFrom(0, 0, 0, 1, 3, 8, 20, 35, 70, 130),
    worker: fc.nat(1),
  })
  .filter(({ from, to }) => from !== to)
  .map(({ family, protocol, from, to, ports, flags, asks, wait, worker }) => {
    const has = { udp: ports, tcp: ports, icmp: [ports[0], ports[0]], gre: [0, 0] }[protocol];
    const packet: TrackedPacket = {
      protocol,
      from: { address: ADDRESSES[family][from], port: has[0] },
      to: { address: ADDRESSES[family][to], port: has[1] },
      ...(protocol === "tcp" ? { flags } : {}),
      ...(protocol === "icmp" ? { asks } : {}),
    };
    return { family, packet, wait, worker };
  });

/** Sequence numbers that never change are in every window, but for a reset's, which must be exact. */
function bytesOf({ family, packet: { protocol, from, to, flags, asks } }: Step): Uint8Array {
  const addresses = { from: from.address, to: to.address };
  const ports = { "from-port": from.port, "to-port": to.port };
  const ip = (protocolNumber?: number) =>
    family === 4
      ? { ipv4: { ...addresses, ...(protocolNumber === undefined ? {} : { protocol: protocolNumber }) } }
      : {
          ipv6: { ...addresses, ...(protocolNumber === undefined ? {} : { "next-header": protocolNumber }) },
        };
  if (protocol === "gre") return buildPacket({ ...ip(47), payload: { bytes: 8 } }).bytes;
  if (protocol === "udp") return buildPacket({ ...ip(), udp: ports }).bytes;
  if (protocol === "icmp") {
    const types = family === 4 ? { true: 8, false: 0 } : { true: 128, false: 129 };
    const icmp = { type: types[`${asks ?? true}`], id: from.port };
    return buildPacket({ ...ip(), ...(family === 4 ? { icmp } : { icmpv6: icmp }) }).bytes;
  }
  const opens = flags?.includes("syn");
  const acks = flags?.includes("ack");
  const tcp = { ...ports, flags, seq: opens ? 999 : 1000, ack: acks ? 1000 : 0, window: 60_000 };
  return buildPacket({ ...ip(), tcp }).bytes;
}

const isInside = (address: string) => address.startsWith("10.") || address.startsWith("2001:db8:1:");

describe("the state of a packet is that of the slow reference", () => {
  test.each([
    ["of all protocols", ["udp", "tcp", "icmp", "gre"], 300],
    ["of TCP alone", ["tcp"], 40000],
  ])("%s", (_, protocols, numRuns) => {
    const seen = new Map<string, number>();
    fc.assert(
      fc.property(
        fc.array(
          step.filter(({ packet }) => protocols.includes(packet.protocol)),
          { minLength: 20, maxLength: 60, size: "max" },
        ),
        (steps) => {
          const bench = new FilterBench(
            acl,
            {
              stateful: true,
              invalid: "odd",
              default: "refuse",
              rules: [{ action: "accept", from: INSIDE }],
            },
            { workers: 2 },
          );
          const reference = new Conntrack();
          let now = 0;
          for (const [i, one] of steps.entries()) {
            now += one.wait;
            if (one.wait > 0) bench.advance(one.wait);
            const accepts = isInside(one.packet.from.address);
            const verdict = reference.track(one.packet, now, accepts);
            seen.set(verdict, (seen.get(verdict) ?? 0) + 1);
            const wanted = { established: "next", invalid: "odd", new: accepts ? "next" : "refuse" }[verdict];
            const sent = bench.send(bytesOf(one), one.worker);
            expect(sent.output, `packet ${i} is ${verdict}`).toBe(wanted);
          }
        },
      ),
      { numRuns },
    );
    // Else it would show little.
    for (const verdict of ["new", "established", "invalid"]) expect(seen.get(verdict)).toBeGreaterThan(200);
  });
});

test("noise and mutated packets: no trap, nothing written", () => {
  const bench = new FilterBench(acl, {
    stateful: true,
    connections: 8,
    reassembly: 4,
    rules: [{ action: "accept" }],
  });
  const mutated = fc
    .tuple(step, fc.array(fc.tuple(fc.nat(70), fc.nat(255)), { maxLength: 5 }))
    .map(([one, changes]) => {
      const bytes = bytesOf(one);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes;
    });
  const quoting = fc.tuple(mutated, fc.constantFrom(3, 5, 11, 12)).map(([bytes, type]) => {
    const hex = Buffer.from(bytes).toString("hex");
    return buildPacket({ ipv4: { from: "192.0.2.9", to: "10.0.0.1" }, icmp: { type }, payload: { hex } })
      .bytes;
  });
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 120 }), mutated, quoting), (bytes) => {
      expect(bench.send(bytes).bytes).toEqual(bytes);
    }),
    { numRuns: 4000 },
  );
});
