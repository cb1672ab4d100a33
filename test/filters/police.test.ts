// police against the meters of RFC 2697 and RFC 2698 in exact numbers, and its rate over ten seconds of virtual time.
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import { buildPacket } from "../../src/filters/notation.ts";
import { type Colour, ReferenceMeter } from "../reference/meter.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let police: FilterModule;
beforeAll(async () => {
  police = await filterModule("police");
});

const OVERHEAD = 28;
function packet(size: number, host = 1, dscp = 0): Uint8Array {
  const from = `10.0.${host >> 8}.${host & 255}`;
  const ipv4 = { from, to: "192.0.2.1", tos: dscp << 2 };
  return buildPacket({ ipv4, udp: {}, payload: { bytes: size - OVERHEAD } }).bytes;
}

const COLOURS: Colour[] = ["green", "yellow", "red"];
/** What a pipeline says so that each colour leaves by an output of its name. */
const OUTPUTS = { green: "green", yellow: "yellow", red: "red" };
/** AF11, AF12, AF13. */
const DSCP = { green: 10, yellow: 12, red: 14 };

const params = fc.record({
  cir: fc.integer({ min: 1, max: 1_000_000 }),
  cbs: fc.integer({ min: 1, max: 5000 }),
  ebs: fc.integer({ min: 0, max: 5000 }),
  pir: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 2_000_000 })),
  pbs: fc.integer({ min: 1, max: 5000 }),
  unit: fc.oneof(
    { weight: 3, arbitrary: fc.constant("bit" as const) },
    { weight: 2, arbitrary: fc.constant("pps" as const) },
  ),
  aware: fc.boolean(),
});
const arrival = fc.record({
  /** us since the one before; now and then longer than any bucket takes to fill. */
  gap: fc.oneof(
    { weight: 6, arbitrary: fc.nat(20_000) },
    { weight: 1, arbitrary: fc.constantFrom(60e6, 86_400e6 * 365) },
  ),
  size: fc.integer({ min: OVERHEAD, max: 1500 }),
  host: fc.integer({ min: 1, max: 4 }),
  colour: fc.constantFrom(...COLOURS),
  worker: fc.nat(2),
});

test("each packet has the colour of the RFC, on whichever worker it comes, and after any reload", () => {
  const seen: Record<Colour, number> = { green: 0, yellow: 0, red: 0 };
  let changed = 0;
  const versions = fc.array(fc.tuple(params, fc.array(arrival, { minLength: 5, maxLength: 40 })), {
    minLength: 1,
    maxLength: 3,
  });
  fc.assert(
    fc.property(versions, fc.boolean(), (all, perHost) => {
      const said = ([p]: (typeof all)[0]) => {
        const rate = (value: number) => `${value}${p.unit}`;
        return {
          ...{ cir: rate(p.cir), cbs: p.cbs, ebs: p.ebs, pir: rate(p.pir), pbs: p.pbs, ...OUTPUTS },
          ...{ "color-aware": p.aware ? "dscp" : "no", per: perHost ? "from" : "filter" },
        };
      };
      const bench = new FilterBench(police, said(all[0]), { workers: 3 });
      const meters = new Map<number, { kind: string; meter: ReferenceMeter }>();
      all.forEach((one, version) => {
        if (version > 0) bench.reload(said(one));
        const [p, arrivals] = one;
        const inTokens = (bytes: number) => BigInt(p.unit === "bit" ? bytes * 8 : bytes);
        const options = {
          ...{ cir: BigInt(p.cir), cbs: inTokens(p.cbs), ebs: inTokens(p.ebs) },
          ...{ pir: BigInt(p.pir), pbs: inTokens(p.pbs) },
        };
        const kind = `${p.unit}${p.pir > 0}`;
        for (const { gap, size, host, colour, worker } of arrivals) {
          bench.advance(gap / 1e6);
          const which = perHost ? host : 0;
          let known = meters.get(which);
          // Bits are no packets, and tokens of the excess none of the peak rate: buckets begin anew.
          if (known?.kind !== kind) {
            known = { kind, meter: new ReferenceMeter(options, BigInt(bench.now)) };
            meters.set(which, known);
          } else if (version > 0) changed++;
          known.meter.change(options);
          const tokens = p.unit === "bit" ? BigInt(size * 8) : 1n;
          const expected = known.meter.meter(tokens, BigInt(bench.now), p.aware ? colour : "green");
          expect(bench.send(packet(size, host, DSCP[colour]), worker).output).toBe(expected);
          seen[expected]++;
        }
      });
    }),
    { numRuns: 300, seed: 6 },
  );
  for (const colour of COLOURS) expect(seen[colour]).toBeGreaterThan(200);
  expect(changed).toBeGreaterThan(200);
});

describe("the rate is held within 1 % over 10 s of virtual time, whatever comes", () => {
  const SECONDS = 10;
  const RATES = [
    { cir: "100kbit", tokens: 100_000, cbs: 3000, size: 300 },
    { cir: "10Mbit", tokens: 10_000_000, cbs: 15_000, size: 1500 },
    { cir: "37Mbit", tokens: 37_000_000, cbs: 3000, size: 999 },
    { cir: "1000pps", tokens: 1000, cbs: 10, size: 100 },
  ];
  test.each(RATES)("$cir, cbs $cbs, packets of $size bytes", ({ cir, tokens, cbs, size }) => {
    const bench = new FilterBench(police, { cir, cbs });
    const perPacket = cir.endsWith("pps") ? 1 : size * 8;
    const burst = cir.endsWith("pps") ? cbs : cbs * 8;
    const bytes = packet(size);
    // Three times as many as the rate allows, not evenly: every fourth gap is longer than four of the others.
    const count = Math.round((3 * SECONDS * tokens) / perPacket);
    const gap = SECONDS / count;
    let passed = 0;
    for (let i = 0; i < count; i++) {
      bench.advance(i % 4 === 0 ? gap * 2.5 : gap * 0.5);
      if (bench.send(bytes).output === "next") passed++;
    }
    const rate = (passed * perPacket - burst) / SECONDS;
    expect(Math.abs(rate / tokens - 1)).toBeLessThan(0.01);
  });

  test.each([
    [
      "source prefix",
      { per: "from", prefix4: 24 },
      (i: number) => ({ ipv4: { from: `10.0.${i}.${i + 7}`, to: "192.0.2.1" } }),
    ],
    [
      "IPv6 source prefix",
      { per: "from" },
      (i: number) => ({ ipv6: { from: `2001:db8:0:${i}::9`, to: "2001:db8::1" } }),
    ],
    ["destination", { per: "to" }, (i: number) => ({ ipv4: { from: "10.0.0.1", to: `192.0.2.${i}` } })],
    ["flow", { per: "flow" }, (i: number) => ({ ipv4: { from: "10.0.0.1", to: "192.0.2.1" }, port: i })],
  ])("for each %s on its own", (_, per, ends) => {
    const OF = 3;
    const cbs = 15_000;
    const bench = new FilterBench(police, { cir: "1Mbit", cbs, ...per });
    const packets = Array.from({ length: OF }, (_, i) => {
      const { port = 0, ...ip } = ends(i + 1) as { port?: number };
      return buildPacket({ ...ip, udp: { "from-port": 1000 + port }, payload: { bytes: 900 } }).bytes;
    });
    const passed = new Array(OF).fill(0);
    // Each sends a different multiple of what it may.
    const count = 8000;
    for (let i = 0; i < count; i++) {
      bench.advance(SECONDS / count);
      packets.forEach((bytes, of) => {
        if (i % (of + 1) === 0 && bench.send(bytes).output === "next") passed[of]++;
      });
    }
    packets.forEach((bytes, of) => {
      const rate = (passed[of] * bytes.length * 8 - cbs * 8) / SECONDS;
      expect(Math.abs(rate / 1e6 - 1)).toBeLessThan(0.01);
    });
  });

  test("super-packets longer than the burst get the same rate", () => {
    const bench = new FilterBench(police, { cir: "10Mbit", cbs: 1500 });
    const data = 40_000;
    const bytes = buildPacket({
      ipv4: { from: "10.0.0.1", to: "192.0.2.1" },
      udp: { checksum: "partial" },
      payload: { bytes: data },
    }).bytes;
    const wire = data + 40 * OVERHEAD;
    let passed = 0;
    // Often enough that a bucket as small as this one is hardly ever full in vain.
    for (let i = 0; i < 40_000; i++) {
      bench.advance(SECONDS / 40_000);
      if (bench.sendSuper(bytes, 1000).output === "next") passed++;
    }
    expect(Math.abs((passed * wire * 8) / SECONDS / 10e6 - 1)).toBeLessThan(0.01);
  });
});

test("more hosts than there are places: the rate of each is held, or that of all who share", () => {
  const bench = new FilterBench(police, { cir: "10pps", cbs: 1, per: "from", entries: 64 });
  const HOSTS = 1000;
  const passed = new Map<number, number>();
  const SECONDS = 5;
  for (let round = 0; round < SECONDS * 20; round++) {
    for (let host = 0; host < HOSTS; host++) {
      if (bench.send(packet(100, host)).output === "next") passed.set(host, (passed.get(host) ?? 0) + 1);
    }
    bench.advance(1 / 20);
  }
  const total = [...passed.values()].reduce((a, b) => a + b, 0);
  // 64 places and the bucket in common.
  expect(total).toBeLessThanOrEqual(65 * (10 * SECONDS + 1));
  for (const count of passed.values()) expect(count).toBeLessThanOrEqual(2 * (10 * SECONDS + 1));
  expect(bench.counters["crowded"]).toBeGreaterThan(0);
});
