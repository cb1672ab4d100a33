// meter against an exact count of everything: what space-saving promises of each number (Metwally and others, 2005, lemmas 3 to 5
// and theorem 1), on one worker and summed over several.
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { readTable } from "../../src/batches/table.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { decodeRow } from "../../src/params/decode.ts";
import { tableLayout } from "../../src/params/layout.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let meter: FilterModule;
beforeAll(async () => {
  meter = await filterModule("meter");
});

interface Row {
  from?: string;
  to?: string;
  "from-port"?: number;
  "to-port"?: number;
  proto?: string;
  count: number;
  error: number;
  packets: number;
  bytes: number;
}

/** All rows that there are, as the report would show them. */
function rows(bench: FilterBench): { rows: Row[]; others: number } {
  const [{ keys, values }] = meter.manifest.tables!;
  const names = values.map(({ name }) => name);
  const shape = { keyBytes: tableLayout(keys, 0).keyBytes, values: values.length, index: 0 };
  const contexts = bench.workers.map(({ context }) => context);
  const found = readTable(bench.m, contexts, shape, Number.MAX_SAFE_INTEGER);
  return {
    others: found.others,
    rows: found.rows.map((row) => decodeRow(keys, names, row) as unknown as Row),
  };
}

interface Sent {
  host: number;
  far: number;
  port: number;
  size: number;
  isIpv4: boolean;
  proto: "udp" | "tcp";
  worker: number;
}
const sent = fc.record<Sent>({
  // A few have most, many have little.
  host: fc.oneof({ weight: 3, arbitrary: fc.nat(3) }, { weight: 2, arbitrary: fc.nat(60) }),
  far: fc.nat(2),
  port: fc.nat(2),
  size: fc.oneof(fc.constantFrom(0, 1, 1200), fc.nat(1200)),
  isIpv4: fc.boolean(),
  proto: fc.constantFrom("udp" as const, "tcp" as const),
  worker: fc.nat(2),
});

const sourceOf = ({ host, isIpv4 }: Sent) =>
  isIpv4 ? `10.0.${host >> 3}.${host & 7}` : `2001:db8:${(host >> 3) + 1}::${(host & 7) + 1}`;
const targetOf = ({ far, isIpv4 }: Sent) => (isIpv4 ? `192.0.2.${far + 1}` : `3fff::${far + 1}`);
function packet(one: Sent): Uint8Array {
  const ends = { from: sourceOf(one), to: targetOf(one) };
  const transport = { [one.proto]: { "from-port": 1000 + one.port, "to-port": 80 } };
  return buildPacket({ [one.isIpv4 ? "ipv4" : "ipv6"]: ends, ...transport, payload: { bytes: one.size } })
    .bytes;
}

/** Whom it is counted for, in the slow way: text. */
function keyOf(per: string, one: Sent): string {
  const from = one.isIpv4 ? `10.0.${one.host >> 3}.0/24` : `2001:db8:${(one.host >> 3) + 1}::/48`;
  const to = one.isIpv4 ? `192.0.2.0/24` : `3fff::/48`;
  if (per === "from") return from;
  if (per === "to") return to;
  if (per === "pair") return `${from} ${to}`;
  const bits = one.isIpv4 ? 32 : 128;
  return `${sourceOf(one)}/${bits} ${targetOf(one)}/${bits} ${1000 + one.port} 80 ${one.proto}`;
}
const keyOfRow = (row: Row) =>
  [row.from, row.to, row["from-port"], row["to-port"], row.proto]
    .filter((part) => part !== undefined)
    .join(" ");

test("counts are never too small, never too large by more than the error, and nobody large is missing", () => {
  let exact = 0;
  let crowded = 0;
  fc.assert(
    fc.property(
      fc.constantFrom("from", "to", "pair", "flow"),
      fc.constantFrom("bytes" as const, "packets" as const),
      fc.integer({ min: 1, max: 20 }),
      fc.integer({ min: 1, max: 3 }),
      fc.array(sent, { minLength: 1, maxLength: 250, size: "max" }),
      (per, by, entries, workers, packets) => {
        const bench = new FilterBench(meter, { per, by, entries, prefix4: 24, prefix6: 48 }, { workers });
        const truth = new Map<string, { packets: number; bytes: number }>();
        let total = 0;
        for (const one of packets) {
          const bytes = packet(one);
          const left = bench.send(bytes, one.worker % workers);
          if (left.output !== "next" || Buffer.compare(left.bytes, bytes) !== 0)
            throw new Error("it was changed");
          const key = keyOf(per, one);
          const before = truth.get(key) ?? { packets: 0, bytes: 0 };
          truth.set(key, { packets: before.packets + 1, bytes: before.bytes + bytes.length });
          total += by === "bytes" ? bytes.length : 1;
        }
        const found = rows(bench);
        const byKey = new Map(found.rows.map((row) => [keyOfRow(row), row]));
        expect(byKey.size).toBe(found.rows.length);
        for (const [key, row] of byKey) {
          const had = truth.get(key);
          expect(had, key).toBeDefined();
          expect(row.count).toBeGreaterThanOrEqual(had![by]);
          expect(row.count - row.error).toBeLessThanOrEqual(had![by]);
          // What was seen while it had the row is what is not error, and no more than the truth.
          expect(row[by]).toBe(row.count - row.error);
          expect(row.packets).toBeLessThanOrEqual(had!.packets);
          expect(row.bytes).toBeLessThanOrEqual(had!.bytes);
          expect(row.error).toBeLessThanOrEqual(total / entries);
          if (row.error > 0) crowded++;
        }
        expect(found.others).toBeLessThanOrEqual(total / entries);
        for (const [key, had] of truth) {
          if (!byKey.has(key)) expect(had[by]).toBeLessThanOrEqual(found.others);
          if (had[by] > total / entries) expect(byKey.has(key)).toBe(true);
        }
        const counts = found.rows.map(({ count }) => count);
        expect(counts).toEqual([...counts].sort((a, b) => b - a));
        // On one worker all counts make the total: nothing is counted twice, nothing is lost.
        if (workers === 1) expect(counts.reduce((a, b) => a + b, 0)).toBe(total);
        if (truth.size <= entries) {
          exact++;
          expect(byKey.size).toBe(truth.size);
          for (const row of found.rows) expect(row.error).toBe(0);
        }
        const sums = [...truth.values()];
        expect(bench.counters["packets"]).toBe(sums.reduce((sum, had) => sum + had.packets, 0));
        expect(bench.counters["bytes"]).toBe(sums.reduce((sum, had) => sum + had.bytes, 0));
      },
    ),
    { numRuns: 100, seed: 5 },
  );
  expect(exact).toBeGreaterThan(5);
  expect(crowded).toBeGreaterThan(200);
});

test("a few heavy hitters among ten thousand sources are found by a table of a hundred", () => {
  const bench = new FilterBench(meter, { by: "packets", entries: 100 });
  const heavy = [7, 77, 777];
  for (let i = 0; i < 30_000; i++) {
    const host = i % 3 === 0 ? heavy[(i / 3) % 3] : (i * 7919) % 10_000;
    const from = `10.1.${host >> 8}.${host & 255}`;
    bench.send(buildPacket({ ipv4: { from, to: "192.0.2.1" }, udp: {} }).bytes);
  }
  const first = rows(bench).rows.slice(0, 3);
  expect(first.map(({ from }) => from).sort()).toEqual(
    heavy.map((host) => `10.1.${host >> 8}.${host & 255}/32`).sort(),
  );
  for (const { count, error } of first) {
    expect(count).toBeGreaterThanOrEqual(3333);
    expect(error).toBeLessThanOrEqual(300);
  }
  expect(bench.counters["replaced"]).toBeGreaterThan(10_000);
});
