// acl against a plain loop over the rules, on random rules and packets drawn from few values, so that they often meet.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { type AclPacket, type AclRule, firstMatch } from "../reference/acl.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let acl: FilterModule;
beforeAll(async () => {
  acl = await filterModule("acl");
});

const ADDRESSES4 = [
  "10.0.0.1",
  "10.0.0.2",
  "10.0.128.1",
  "10.1.0.1",
  "192.0.2.1",
  "0.0.0.0",
  "255.255.255.255",
];
const ADDRESSES6 = [
  "2001:db8::1",
  "2001:db8::2",
  "2001:db8:0:1::1",
  "2001:db8:8000::",
  "fe80::1",
  "::",
  "::ffff:10.0.0.1",
];
const PREFIXES = [
  ...["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/17", "10.0.128.0/17", "10.0.0.1/32", "10.0.0.0/31", "128.0.0.0/1"],
  ...[
    "::/0",
    "2001:db8::/32",
    "2001:db8::/63",
    "2001:db8::/64",
    "2001:db8::/65",
    "2001:db8::1/128",
    "8000::/1",
  ],
];
const PORTS = [0, 1, 22, 79, 80, 81, 443, 65534, 65535];
const RANGES = ["0", "1-22", "80", "79-81", "443-65534", "65535", "0-65535"];
const FLAG_WORDS = ["syn", "syn-ack", "established", "fin", "rst", "none"];
const FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
const PROTOCOLS = [1, 6, 17, 47, 58, 132];

const some = <T>(values: T[]) => fc.uniqueArray(fc.constantFrom(...values), { minLength: 1, maxLength: 3 });
const rule: fc.Arbitrary<AclRule> = fc.record(
  {
    action: fc.constantFrom("accept", "drop", "elsewhere", "refuse"),
    proto: some(PROTOCOLS),
    from: some(PREFIXES),
    to: some(PREFIXES),
    "from-port": some(RANGES),
    "to-port": some(RANGES),
    "icmp-type": some([0, 3, 8, 128, 135, 255]),
    "icmp-code": some([0, 1, 4]),
    "tcp-flags": some(FLAG_WORDS),
    fragments: some(["whole", "first", "later"]),
  },
  { requiredKeys: ["action"] },
);
/** Rules as they are written: with few criteria, for with all of them none could match. */
const upTo = (criteria: number) =>
  rule.chain((full) => {
    const said = Object.keys(full).filter((key) => key !== "action");
    return fc.subarray(said, { maxLength: Math.min(criteria, said.length) }).map((keys) => {
      const kept: Record<string, unknown> = { action: full.action };
      for (const key of keys) kept[key] = full[key as keyof AclRule];
      return kept as unknown as AclRule;
    });
  });

const packet: fc.Arbitrary<AclPacket> = fc
  .record({
    family: fc.constantFrom(4 as const, 6 as const),
    addresses: fc.tuple(fc.nat(6), fc.nat(6)),
    protocol: fc.constantFrom(...PROTOCOLS),
    fragment: fc.oneof(
      { weight: 4, arbitrary: fc.constant("whole" as const) },
      { weight: 1, arbitrary: fc.constantFrom("first" as const, "later" as const) },
    ),
    ports: fc.tuple(fc.constantFrom(...PORTS), fc.constantFrom(...PORTS)),
    icmp: fc.tuple(fc.constantFrom(0, 3, 8, 128, 135, 255), fc.constantFrom(0, 1, 4)),
    flags: fc.subarray(FLAGS),
  })
  .map(({ family, addresses, protocol, fragment, ports, icmp, flags }) => {
    const of = family === 4 ? ADDRESSES4 : ADDRESSES6;
    const hasHeader = fragment !== "later";
    return {
      family,
      from: of[addresses[0]],
      to: of[addresses[1]],
      protocol,
      fragment,
      ...(hasHeader && (protocol === 6 || protocol === 17) ? { ports } : {}),
      ...(hasHeader && protocol === 6 ? { flags } : {}),
      ...(hasHeader && protocol === (family === 4 ? 1 : 58) ? { icmp } : {}),
    };
  });

function bytesOf({ family, from, to, protocol, fragment, ports, icmp, flags }: AclPacket): Uint8Array {
  const transport = ports
    ? {
        [protocol === 6 ? "tcp" : "udp"]: {
          "from-port": ports[0],
          "to-port": ports[1],
          ...(flags ? { flags } : {}),
        },
      }
    : icmp
      ? { [family === 4 ? "icmp" : "icmpv6"]: { type: icmp[0], code: icmp[1] } }
      : {};
  const offset = fragment === "later" ? 64 : 0;
  const more = fragment === "first";
  // A first fragment's length is a multiple of eight.
  const payload = { bytes: ports && protocol === 6 ? 12 : 16 };
  if (family === 4) {
    return buildPacket({
      ipv4: { from, to, offset, protocol, flags: more ? ["mf"] : [] },
      ...transport,
      payload,
    }).bytes;
  }
  const extensions = fragment === "whole" ? [] : [{ fragment: { offset, more, next: protocol } }];
  const next = fragment === "whole" ? { "next-header": protocol } : {};
  return buildPacket({ ipv6: { from, to, extensions, ...next }, ...transport, payload }).bytes;
}

describe("the answer is that of going through the rules one by one", () => {
  test.each([
    ["rules of two criteria", upTo(2)],
    ["rules of four", upTo(4)],
  ])("%s", (_, rules) => {
    let matched = 0;
    fc.assert(
      fc.property(
        fc.array(rules, { maxLength: 12 }),
        fc.constantFrom("accept", "drop", "elsewhere"),
        fc.array(packet, { minLength: 1, maxLength: 30 }),
        (list, standard, packets) => {
          const bench = new FilterBench(acl, { default: standard, rules: list });
          const counted: Record<string, number> = {};
          for (const one of packets) {
            const bytes = bytesOf(one);
            const index = firstMatch(list, one);
            const action = index < 0 ? standard : list[index].action;
            const name = index < 0 ? "unmatched" : `rules.${index}`;
            counted[name] = (counted[name] ?? 0) + 1;
            if (index >= 0) matched++;
            const sent = bench.send(bytes);
            expect(sent.output, JSON.stringify({ one, list })).toBe(action === "accept" ? "next" : action);
            expect(sent.bytes).toEqual(bytes);
          }
          expect(bench.counters).toEqual(counted);
        },
      ),
      { numRuns: 150 },
    );
    // Else the test would show little.
    expect(matched).toBeGreaterThan(100);
  });
});

test("noise and mutated packets: no trap, nothing written", () => {
  const bench = new FilterBench(acl, {
    default: "accept",
    rules: [
      { action: "drop", "to-port": "80", from: PREFIXES },
      { action: "drop", "icmp-type": 8, "tcp-flags": "syn" },
      { action: "drop", proto: "udp", fragments: "later" },
    ],
  });
  const noise = fc.uint8Array({ maxLength: 120 });
  const mutated = fc
    .tuple(packet, fc.array(fc.tuple(fc.nat(60), fc.nat(255)), { maxLength: 5 }))
    .map(([one, changes]) => {
      const bytes = bytesOf(one);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      return bytes;
    });
  fc.assert(
    fc.property(fc.oneof(noise, mutated), (bytes) => {
      expect(bench.send(bytes).bytes).toEqual(bytes);
    }),
    { numRuns: 3000 },
  );
});

test("one state for all workers: every worker gives the same answer", () => {
  const bench = new FilterBench(acl, { rules: [{ action: "accept", proto: "udp" }] }, { workers: 3 });
  const udp = buildPacket({ ipv4: { from: "10.0.0.1", to: "10.0.0.2" }, udp: {} }).bytes;
  for (const worker of [0, 1, 2]) expect(bench.send(udp, worker).output).toBe("next");
  expect(bench.counters).toEqual({ "rules.0": 3 });
});
