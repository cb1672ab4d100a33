// acl against a plain loop over the rules, on random rules and packets drawn from few values, so that they often meet.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { formatAddress, parseAddress } from "../../src/params/addresses.ts";
import { type AclPacket, type AclRule, decide } from "../reference/acl.ts";
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
    action: fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom("accept", "drop", "elsewhere", "refuse") },
      { weight: 1, arbitrary: fc.constantFrom("mark 0", "mark 7", "mark 4294967295") },
    ),
    proto: some(PROTOCOLS),
    from: some(PREFIXES),
    to: some(PREFIXES),
    "from-port": some(RANGES),
    "to-port": some(RANGES),
    "icmp-type": some([0, 3, 8, 128, 135, 255]),
    "icmp-code": some([0, 1, 4]),
    "tcp-flags": some(FLAG_WORDS),
    fragments: some(["whole", "first", "later"]),
    "not-proto": some(PROTOCOLS),
    "not-from": some(PREFIXES),
    "not-to": some(PREFIXES),
    "not-from-port": some(RANGES),
    "not-to-port": some(RANGES),
    "tcp-flags-set": some(FLAGS),
    "tcp-flags-clear": some(FLAGS),
    dscp: some([0, 8, 46, 63]),
    "not-dscp": some([0, 8, 46, 63]),
    length: some(["0-39", "40", "41-100", "28-65535"]),
    "not-length": some(["0-39", "40", "41-100", "28-65535"]),
    mark: some([0, 7, 6]),
    "mark-mask": fc.constantFrom(1, 0xfffffffe),
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
    dscp: fc.constantFrom(0, 8, 46, 63),
  })
  .map(({ family, addresses, protocol, fragment, ports, icmp, flags, dscp }) => {
    const of = family === 4 ? ADDRESSES4 : ADDRESSES6;
    const hasHeader = fragment !== "later";
    const one = {
      length: 0,
      dscp,
      family,
      from: of[addresses[0]],
      to: of[addresses[1]],
      protocol,
      fragment,
      ...(hasHeader && (protocol === 6 || protocol === 17) ? { ports } : {}),
      ...(hasHeader && protocol === 6 ? { flags } : {}),
      ...(hasHeader && protocol === (family === 4 ? 1 : 58) ? { icmp } : {}),
    };
    return { ...one, length: bytesOf(one).length };
  });

function bytesOf({ family, from, to, protocol, fragment, ports, icmp, flags, dscp }: AclPacket): Uint8Array {
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
      ipv4: { from, to, tos: dscp << 2, offset, protocol, flags: more ? ["mf"] : [] },
      ...transport,
      payload,
    }).bytes;
  }
  const extensions = fragment === "whole" ? [] : [{ fragment: { offset, more, next: protocol } }];
  const next = fragment === "whole" ? { "next-header": protocol } : {};
  return buildPacket({ ipv6: { from, to, class: dscp << 2, extensions, ...next }, ...transport, payload })
    .bytes;
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
          const bench = new FilterBench(acl, { default: standard, rules: list, reassembly: 0 });
          const counted: Record<string, number> = {};
          for (const one of packets) {
            const bytes = bytesOf(one);
            const { hits, action = standard } = decide(list, one);
            for (const hit of hits) count(counted, `rules.${hit}`);
            if (decide(list, one).action === undefined) count(counted, "unmatched");
            matched += hits.length;
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

const count = (counted: Record<string, number>, name: string) => {
  counted[name] = (counted[name] ?? 0) + 1;
};

describe("with so many rules that they are cut into trees", () => {
  // Few bits of an address vary, in several bytes, so that prefixes of all lengths nest and meet.
  const spread = (n: number) => [10, n & 3, (n >> 2) & 0xf0, (n & 7) * 36];
  const address4 = fc.nat(4095).map((n) => spread(n).join("."));
  const address6 = fc
    .tuple(fc.nat(4095), fc.nat(15))
    .map(([n, m]) =>
      formatAddress({ family: 6, bytes: [0x20, 1, ...spread(n), m, 0, 0, m, 0, 0, 0, 0, n & 255, m] }),
    );
  const prefix = fc.tuple(fc.boolean(), address4, address6, fc.nat(110)).map(([is6, v4, v6, length]) => {
    const whole = parseAddress(is6 ? v6 : v4);
    if (!whole) throw new Error(`no address: ${v6}`);
    const bits = is6 ? length : length >> 2;
    const bytes = whole.bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - 8 * i))));
    return `${formatAddress({ ...whole, bytes })}/${bits}`;
  });
  const range = fc.tuple(fc.nat(99), fc.nat(30)).map(([first, more]) => `${first}-${first + more}`);
  const proto = fc.constantFrom<number[]>([6], [17], [6, 17], [1, 58], [47], [47, 132, 6]);
  const one = <T>(values: fc.Arbitrary<T>) => fc.array(values, { minLength: 1, maxLength: 2 });
  const wide: fc.Arbitrary<AclRule> = fc.record(
    {
      action: fc.constantFrom("accept", "drop", "elsewhere", "mark 7"),
      proto,
      from: one(prefix),
      to: one(prefix),
      "to-port": one(range),
      "from-port": one(range),
      "not-to": one(prefix),
      mark: fc.constant([7]),
    },
    { requiredKeys: ["action", "proto", "to"] },
  );
  const wanderer: fc.Arbitrary<AclPacket> = fc
    .tuple(packet, fc.tuple(address4, address4), fc.tuple(address6, address6), fc.nat(120), fc.nat(120))
    .map(([base, v4, v6, from, to]) => {
      const addresses = base.family === 4 ? v4 : v6;
      const ports: { ports?: [number, number] } = base.ports ? { ports: [from, to] } : {};
      return { ...base, from: addresses[0], to: addresses[1], ...ports };
    });

  function sendBatch(bench: FilterBench, packets: AclPacket[]): string[] {
    const descriptors = packets.map((one) => bench.place(bytesOf(one)));
    const vector = bench.take(4 * packets.length);
    bench.m.u32.set(descriptors, vector >>> 2);
    bench.workers[0].filter.process(vector, packets.length);
    return descriptors.map((descriptor) => bench.result(descriptor).output);
  }

  test.each([
    ["all of one length", 1],
    ["and some that nearly all packets match", 40],
  ])("%s", (_, general) => {
    let matched = 0;
    fc.assert(
      fc.property(
        fc.array(wide, { minLength: 200, maxLength: 800, size: "max" }),
        fc.array(upTo(2), { maxLength: general }),
        fc.array(wanderer, { minLength: 60, maxLength: 120, size: "max" }),
        (many, few, packets) => {
          const list = [...many.slice(0, many.length >> 1), ...few, ...many.slice(many.length >> 1)];
          const bench = new FilterBench(acl, { rules: list, reassembly: 0 });
          const counted: Record<string, number> = {};
          const decided = packets.map((one) => ({ one, ...decide(list, one) }));
          const outputs: string[] = [];
          // Each comes twice: the second time its flow is known.
          for (const { one, hits, action } of [...decided, ...decided]) {
            for (const hit of hits) count(counted, `rules.${hit}`);
            if (action === undefined) count(counted, "unmatched");
            matched += hits.length;
            const output = action === "accept" ? "next" : (action ?? "drop");
            outputs.push(output);
            expect(bench.send(bytesOf(one)).output, JSON.stringify(one)).toBe(output);
          }
          expect(bench.counters).toEqual(counted);
          // The same in batches: first with flows that nobody knows, then with some that are known.
          const batches = new FilterBench(acl, { rules: list, reassembly: 0 }, { extra: 1 << 20 });
          for (const size of [64, 7]) {
            for (let i = 0; i < packets.length; i += size) {
              const batch = packets.slice(i, i + size);
              expect(sendBatch(batches, batch), JSON.stringify(batch)).toEqual(
                outputs.slice(i, i + batch.length),
              );
            }
          }
          expect(batches.counters).toEqual(counted);
        },
      ),
      { numRuns: 20 },
    );
    expect(matched).toBeGreaterThan(200);
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
