// route with a file of a million prefixes, against going through all of them.
import { writeFileSync } from "node:fs";
import { afterAll, expect, test } from "vitest";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { Chance } from "../fuzz/chance.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { FilterBench, filterModule } from "./bench.ts";

const folder = new TemporaryFolder();
afterAll(() => folder.remove());

const NAMES = ["west", "east", "south", "drop"];
const LENGTHS4 = [8, 12, 16, 18, 20, 21, 22, 23, 24, 24, 24, 32];
const LENGTHS6 = [20, 28, 29, 32, 36, 40, 44, 48, 48, 64];
const ALL = 2 ** 32;
const chance = new Chance(11);

/** The first bits of 32; less than one: none. */
const head = (word: number, bits: number) => (bits <= 0 ? 0 : (word & (-1 << Math.max(0, 32 - bits))) >>> 0);
const inside = (word: number, bits: number) => (word | (chance.below(ALL) & ~head(ALL - 1, bits))) >>> 0;
const groups = (word: number) => `${(word >>> 16).toString(16)}:${(word & 0xffff).toString(16)}`;

/** Addresses as their first 64 bits; of IPv4, `high` alone. */
class Table {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
  readonly bits: Uint8Array;
  readonly via: Uint8Array;
  readonly isIpv4: boolean;
  readonly count: number;

  constructor(isIpv4: boolean, count: number) {
    this.isIpv4 = isIpv4;
    this.count = count;
    this.bits = Uint8Array.from({ length: count }, () => chance.of(isIpv4 ? LENGTHS4 : LENGTHS6));
    this.via = Uint8Array.from({ length: count }, () => chance.below(NAMES.length));
    this.high = Uint32Array.from(this.bits, (bits) => head(this.anyHigh(), bits));
    this.low = Uint32Array.from(this.bits, (bits) => (isIpv4 ? 0 : head(chance.below(ALL), bits - 32)));
  }
  /** In IPv4 below 224.0.0.0, in IPv6 in the blocks that registries give out. */
  anyHigh(): number {
    return this.isIpv4
      ? chance.below(0xe0000000)
      : 0x20000000 + chance.below(4) * 0x1000000 + chance.below(2 ** 20);
  }
  text(high: number, low: number): string {
    if (!this.isIpv4) return `${groups(high)}:${groups(low)}::`;
    return `${high >>> 24}.${(high >>> 16) & 255}.${(high >>> 8) & 255}.${high & 255}`;
  }
  lines(): string[] {
    return Array.from(
      this.bits,
      (bits, i) => `${this.text(this.high[i], this.low[i])}/${bits} ${NAMES[this.via[i]]}\n`,
    );
  }
  /** The longest one that holds the address, the last of its like. */
  linear(high: number, low: number): string {
    let best = -1;
    for (let i = 0; i < this.count; i++) {
      const bits = this.bits[i];
      if (best >= 0 && bits < this.bits[best]) continue;
      if (head(high, bits) === this.high[i] && head(low, bits - 32) === this.low[i]) best = i;
    }
    return best < 0 ? "elsewhere" : NAMES[this.via[best]];
  }
}

test("a file of a million prefixes", async () => {
  const tables = [new Table(true, 750_000), new Table(false, 250_000)];
  writeFileSync(folder.file("million.txt"), tables.flatMap((table) => table.lines()).join(""));
  const [filter] = parsePipeline(
    `pktflow: 1
devices: { a: { kind: pcap, read: a.pcap }, b: { kind: discard } }
filters: { table: { kind: route, default: elsewhere, routes: { file: million.txt } } }
paths:
  p: { from: a, through: [{ table: { west: w, east: w, south: w, elsewhere: w } }], to: b }
  w: { to: b }
`,
    folder.file("pipeline.yaml"),
  ).filters;
  expect(filter.params["routes"]).toHaveLength(1_000_000);
  const bench = new FilterBench(await filterModule("route"), filter.params, { isParsed: true });
  const seen = new Set<string>();
  for (const table of tables) {
    for (let n = 0; n < 60; n++) {
      // In one of the prefixes; in the neighborhood of them; anywhere.
      const one = chance.below(table.count);
      let [high, low] = [chance.below(ALL), chance.below(ALL)];
      if (n % 10 === 1) high = table.anyHigh();
      if (n % 10 > 1) {
        high = inside(table.high[one], table.bits[one]);
        low = inside(table.low[one], table.bits[one] - 32);
      }
      if (table.isIpv4) low = 0;
      const to = table.text(high, low);
      const ip = table.isIpv4 ? { ipv4: { from: "192.0.2.1", to } } : { ipv6: { from: "::1", to } };
      const { output } = bench.send(buildPacket({ ...ip, udp: {} }).bytes);
      expect(output, to).toBe(table.linear(high, low));
      seen.add(output);
    }
  }
  expect([...seen].sort()).toEqual([...NAMES, "elsewhere"].sort());
}, 60_000);
