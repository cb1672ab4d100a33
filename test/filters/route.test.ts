// route against going through all prefixes one by one, and its file of prefixes.
import { mkdirSync, writeFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { fullPipelineSchema } from "../../src/config/schema.ts";
import { buildPacket } from "../../src/filters/notation.ts";
import { TemporaryFolder } from "../support/pktflow.ts";
import { FilterBench, type FilterModule, filterModule } from "./bench.ts";

let route: FilterModule;
beforeAll(async () => {
  route = await filterModule("route");
});

const OUTPUTS = ["west", "east", "south", "accept", "drop"];
interface Route {
  bits: bigint;
  length: number;
  via: string;
}
type Version = 4 | 6;
const WIDTH = { 4: 32, 6: 128 } as const;

function text(version: Version, bits: bigint): string {
  const hex = bits.toString(16).padStart(WIDTH[version] / 4, "0");
  if (version === 4)
    return hex
      .match(/../g)!
      .map((byte) => Number.parseInt(byte, 16))
      .join(".");
  return hex.match(/..../g)!.join(":");
}

function masked(version: Version, bits: bigint, length: number): bigint {
  const rest = BigInt(WIDTH[version] - length);
  return (bits >> rest) << rest;
}

/** The slow reference: every route is looked at; the longest one that holds the address, the last of its like. */
function linear(version: Version, routes: Route[], address: bigint): string {
  let best: Route | undefined;
  for (const one of routes) {
    const holds = masked(version, address, one.length) === one.bits;
    if (holds && (best === undefined || one.length >= best.length)) best = one;
  }
  return best?.via ?? "elsewhere";
}

/** Addresses near each other, so that prefixes lie in each other and many nodes have children. */
function address(version: Version): fc.Arbitrary<bigint> {
  const width = WIDTH[version];
  const anchors = [
    0n,
    (1n << BigInt(width)) - 1n,
    0x0a0b0c0dn << BigInt(width - 32),
    0x20010db8n << BigInt(width - 32),
  ];
  return fc
    .tuple(
      fc.constantFrom(...anchors),
      fc.nat(width),
      fc.bigInt({ min: 0n, max: (1n << BigInt(width)) - 1n }),
    )
    .map(([anchor, kept, noise]) => {
      const rest = BigInt(width - kept);
      return ((anchor >> rest) << rest) | (noise & ((1n << rest) - 1n));
    });
}

function routes(version: Version, most: number): fc.Arbitrary<Route[]> {
  const one = fc.tuple(address(version), fc.nat(WIDTH[version]), fc.constantFrom(...OUTPUTS));
  return fc.array(
    one.map(([at, length, via]) => ({ bits: masked(version, at, length), length, via })),
    { maxLength: most },
  );
}

function packet(version: Version, to: bigint): Uint8Array {
  const ip = version === 4 ? { ipv4: { from: "192.0.2.1" } } : { ipv6: { from: "::1" } };
  const layer = Object.values(ip)[0] as Record<string, string>;
  layer["to"] = text(version, to);
  return buildPacket({ ...ip, udp: {} }).bytes;
}

type Tables = Record<Version, Route[]>;

/** @param versions tables, each of which the filter takes over from the one before */
function check(versions: Tables[], addresses: Record<Version, bigint[]>): void {
  const params = (tables: Tables) => {
    const routes = ([4, 6] as const).flatMap((version) =>
      tables[version].map(({ bits, length, via }) => ({ to: `${text(version, bits)}/${length}`, via })),
    );
    return { routes, default: "elsewhere" };
  };
  // A reload names no output that was not there before.
  const all = OUTPUTS.map((via) => ({ to: "0.0.0.0/0", via }));
  const bench = new FilterBench(route, { routes: all, default: "elsewhere" });
  for (const tables of versions) {
    bench.reload(params(tables));
    for (const version of [4, 6] as const) askAll(bench, version, tables[version], addresses[version]);
  }
}

function askAll(bench: FilterBench, version: Version, table: Route[], addresses: bigint[]): void {
  const last = (1n << BigInt(WIDTH[version])) - 1n;
  // Beside those drawn, both ends of every prefix and what lies just beyond.
  const edges = table.flatMap(({ bits, length }) => {
    const end = bits + (1n << BigInt(WIDTH[version] - length));
    return [bits, end - 1n, end > last ? last : end, bits === 0n ? 0n : bits - 1n];
  });
  for (const to of [...addresses, ...edges]) {
    const expected = linear(version, table, to);
    const named = expected === "accept" ? "next" : expected;
    expect(bench.send(packet(version, to)).output, text(version, to)).toBe(named);
  }
}

describe("the output is that of the longest prefix, after any reload", () => {
  test.each([
    ["a few routes", 30, 60],
    ["so many that the direct tables are large", 600, 5],
  ])(
    "%s",
    (_, most, numRuns) => {
      fc.assert(
        fc.property(
          fc.array(fc.record({ 4: routes(4, most), 6: routes(6, most) }), { minLength: 1, maxLength: 3 }),
          fc.array(address(4), { maxLength: 20 }),
          fc.array(address(6), { maxLength: 20 }),
          (versions, to4, to6) => check(versions, { 4: to4, 6: to6 }),
        ),
        { numRuns },
      );
    },
    60_000,
  );

  test("thousands of routes of all lengths", () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const drawn = (version: Version, count: number, base: bigint): Route[] =>
      Array.from({ length: count }, () => {
        const length = version === 4 ? 8 + random(25) : 20 + random(109);
        let bits = 0n;
        for (let i = 0; i < WIDTH[version]; i += 16) bits = (bits << 16n) | BigInt(random(65536));
        return { bits: masked(version, bits | base, length), length, via: OUTPUTS[random(5)] };
      });
    check([{ 4: drawn(4, 1500, 0n), 6: drawn(6, 1500, 0x20010000n << 96n) }], { 4: [], 6: [] });
  });
});

describe("a file of prefixes", () => {
  const folder = new TemporaryFolder();
  afterAll(() => folder.remove());

  const pipeline = (routes: string) =>
    parsePipeline(
      [
        "pktflow: 1\ndevices:\n  a: { kind: pcap, read: a.pcap }\n  b: { kind: discard }\n",
        `filters:\n  table: { kind: route, routes: ${routes} }\n`,
        "paths:\n  p: { from: a, through: [{ table: { west: w } }], to: b }\n  w: { to: b }\n",
      ].join(""),
      folder.file("pipeline.yaml"),
    );

  test("is read a line a route, relative to the pipeline, alone or among others", () => {
    mkdirSync(folder.file("tables"));
    writeFileSync(
      folder.file("tables/one.txt"),
      "# prefix output\n10.0.0.0/8 west\n\n\t2001:db8::/32   drop # a comment\r\n",
    );
    const expected = [
      { to: "10.0.0.0/8", via: "west" },
      { to: "2001:db8::/32", via: "drop" },
    ];
    expect(pipeline("{ file: tables/one.txt }").filters[0].params["routes"]).toEqual(expected);
    const mixed = pipeline("[{ to: 192.0.2.0/24, via: accept }, { file: tables/one.txt }]");
    expect(mixed.filters[0].params["routes"]).toEqual([{ to: "192.0.2.0/24", via: "next" }, ...expected]);
    expect(mixed.filters[0].outputs).toEqual(["next", "drop", "west"]);
  });

  test("what is wrong in it is said at its place in it", () => {
    writeFileSync(
      folder.file("bad.txt"),
      "10.0.0.0/8 west\n10.0.0.1/8 west\n10.0.0.0/8 west 7\n192.0.2.0/24\n",
    );
    let said = "";
    try {
      pipeline("{ file: bad.txt }");
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      said = error.message;
    }
    expect(said).toContain("bad.txt:2:1 error");
    expect(said).toContain("bad.txt:3:17 error unknown-key");
    expect(said).toContain("bad.txt:4:1 error missing");
  });

  test("an editor's schema knows it", () => {
    const validate = new Ajv2020({ strict: false }).compile(fullPipelineSchema());
    const document = (routes: unknown) => ({
      ...{ pktflow: 1, devices: { a: { kind: "discard" } }, paths: { p: { to: "a" } } },
      filters: { table: { kind: "route", routes } },
    });
    expect(validate(document({ file: "table.txt" }))).toBe(true);
    expect(validate(document([{ to: "10.0.0.0/8", via: "drop" }, { file: "table.txt" }]))).toBe(true);
    expect(validate(document({ file: 7 }))).toBe(false);
    expect(validate(document({ folder: "tables" }))).toBe(false);
  });

  test("one that is not there is said where it is named", () => {
    expect(() => pipeline("{ file: gone.txt }")).toThrow(
      /pipeline\.yaml:6:\d+ error cannot-read: open .*gone\.txt: ENOENT/,
    );
    expect(() => pipeline("{ file: [gone.txt] }")).toThrow(/file wants the path of a file, has a list/);
  });
});
