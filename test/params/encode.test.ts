import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EncodedParams, encodeParams, paramsSize } from "../../src/params/encode.ts";
import { blockLayout, layoutOf } from "../../src/params/layout.ts";
import { parseParams } from "../../src/params/parse.ts";
import type { ParamSpec, ParamType, ParamValue, ParamValues } from "../../src/params/types.ts";
import { decodeParams } from "./decoder.ts";
import { sample, sampleOutputs, sampleValues } from "./sample.ts";

const OUTPUTS = ["next", "drop", "refuse", "mirror"];

/** A type, a value as someone would write it, and what it means. */
interface Case {
  type: ParamType;
  written: unknown;
  value: ParamValue;
}

const scalar = <T>(
  kind: string,
  arbitrary: fc.Arbitrary<T>,
  write: (v: T) => unknown,
  mean: (v: T) => unknown,
) =>
  arbitrary.map(
    (v): Case => ({ type: { kind } as ParamType, written: write(v), value: mean(v) as ParamValue }),
  );
const same = <T>(v: T) => v;
const number = (max: number, min = 0) =>
  fc.maxSafeInteger().map((n) => min + (Math.abs(n) % (max - min + 1)));

const bytes4 = fc.uint8Array({ minLength: 4, maxLength: 4 }).map((bytes) => [...bytes]);
const groups = fc.array(fc.oneof(fc.constant(0), fc.nat(0xffff)), { minLength: 8, maxLength: 8 });
const v4Text = (bytes: number[]) => bytes.join(".");
const v6Text = (words: number[]) =>
  words.map((word) => word.toString(16).toUpperCase().padStart(4, "0")).join(":");
/** RFC 5952, section 4: the longest run of at least two zero groups, the first of equals, becomes "::". */
const v6Canonical = (words: number[]) => {
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && words[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const hex = (part: number[]) => part.map((word) => word.toString(16)).join(":");
  return best.at < 0
    ? hex(words)
    : `${hex(words.slice(0, best.at))}::${hex(words.slice(best.at + best.length))}`;
};
const zeroTail = (values: number[], bits: number, each: number) =>
  values.map((value, i) => {
    const kept = Math.min(each, Math.max(0, bits - each * i));
    return Math.floor(value / 2 ** (each - kept)) * 2 ** (each - kept);
  });
const prefix4 = fc.tuple(bytes4, fc.integer({ min: 0, max: 32 }));
const prefix6 = fc.tuple(groups, fc.integer({ min: 0, max: 128 }));

const scalars: fc.Arbitrary<Case>[] = [
  scalar("bool", fc.boolean(), same, same),
  scalar("u8", number(0xff), same, same),
  scalar("u16", number(0xffff), same, same),
  scalar("u32", number(0xffff_ffff), same, same),
  scalar("u64", number(Number.MAX_SAFE_INTEGER), same, same),
  scalar("i32", fc.integer(), same, same),
  scalar("f64", fc.double({ noNaN: true, noDefaultInfinity: true }), same, same),
  scalar("duration", number(Number.MAX_SAFE_INTEGER), (n) => `${n}ns`, same),
  scalar(
    "duration",
    number(1_000_000),
    (n) => `${Math.floor(n / 60)}m${n % 60}s`,
    (n) => n * 1e9,
  ),
  scalar(
    "size",
    number(2 ** 40),
    (n) => `${n}KiB`,
    (n) => n * 1024,
  ),
  scalar(
    "rate",
    number(1e9),
    (n) => `${n}kbit`,
    (n) => ({ value: n * 1000, unit: "bit" }),
  ),
  scalar(
    "rate",
    number(1e9),
    (n) => `${n}Mpps`,
    (n) => ({ value: n * 1e6, unit: "packet" }),
  ),
  scalar("port", number(65535), String, same),
  scalar(
    "port-range",
    fc.tuple(number(65535), number(65535)).map(([a, b]) => [Math.min(a, b), Math.max(a, b)]),
    ([first, last]) => `${first}-${last}`,
    ([first, last]) => ({ first, last }),
  ),
  scalar("ipv4", bytes4, v4Text, v4Text),
  scalar("ipv6", groups, v6Text, v6Canonical),
  scalar("ip", bytes4, v4Text, v4Text),
  scalar("ip", groups, v6Text, v6Canonical),
  scalar(
    "prefix",
    prefix4.map(([bytes, length]): [number[], number] => [zeroTail(bytes, length, 8), length]),
    ([bytes, length]) => `${v4Text(bytes)}/${length}`,
    ([bytes, length]) => `${v4Text(bytes)}/${length}`,
  ),
  scalar(
    "prefix",
    prefix6.map(([words, length]): [number[], number] => [zeroTail(words, length, 16), length]),
    ([words, length]) => `${v6Text(words)}/${length}`,
    ([words, length]) => `${v6Canonical(words)}/${length}`,
  ),
  scalar(
    "interface-address",
    prefix6,
    ([words, length]) => `${v6Text(words)}/${length}`,
    ([words, length]) => `${v6Canonical(words)}/${length}`,
  ),
  scalar(
    "mac",
    fc
      .uint8Array({ minLength: 6, maxLength: 6 })
      .map((bytes) => Buffer.from(bytes).toString("hex").match(/../g)!),
    (pairs) => pairs.join(":").toUpperCase(),
    (pairs) => pairs.join(":"),
  ),
  scalar(
    "string",
    fc.string({ unit: "grapheme" }).map((text) => text.replaceAll("\0", "")),
    same,
    same,
  ),
  scalar("output", fc.constantFrom(...OUTPUTS, "accept"), same, (name) =>
    name === "accept" ? "next" : name,
  ),
  fc
    .constantFrom("a", "b", "c")
    .map((word) => ({ type: { kind: "enum", values: ["a", "b", "c"] }, written: word, value: word })),
  fc
    .nat(255)
    .map((n) => ({ type: { kind: "code", codes: { tcp: 6 } }, written: n === 6 ? "tcp" : n, value: n })),
];

/** A list's elements are of one type: its cases are the same case with other values. */
const listOf = (element: fc.Arbitrary<Case>): fc.Arbitrary<Case> =>
  fc
    .tuple(element, fc.array(element, { maxLength: 4 }))
    .map(([first, more]) => [
      first,
      ...more.filter((c) => JSON.stringify(c.type) === JSON.stringify(first.type)),
    ])
    .map((cases) => ({
      type: { kind: "list", of: cases[0].type },
      written: cases.map((c) => c.written),
      value: cases.map((c) => c.value),
    }));
const specsOf = (cases: Case[]): ParamSpec[] =>
  cases.map(({ type }, i) => ({ name: `p${i}`, type, doc: "" }));
const fieldsOf = <T>(values: T[]) => Object.fromEntries(values.map((v, i) => [`p${i}`, v]));
const recordOf = (field: fc.Arbitrary<Case>): fc.Arbitrary<Case> =>
  fc.array(field, { minLength: 1, maxLength: 5 }).map((cases) => ({
    type: { kind: "record", fields: specsOf(cases) },
    written: fieldsOf(cases.map((c) => c.written)),
    value: fieldsOf(cases.map((c) => c.value)),
  }));
const anyScalar = fc.oneof(...scalars);
const anyCase: fc.Arbitrary<Case> = fc.letrec<{ case: Case }>((tie) => ({
  case: fc.oneof({ maxDepth: 3 }, anyScalar, listOf(tie("case")), recordOf(tie("case")), listOf(anyScalar)),
})).case;

describe("parse, encode, decode", () => {
  it("gives back what the text meant, for parameters of any types", () => {
    fc.assert(
      fc.property(fc.array(anyCase, { maxLength: 6 }), fc.integer({ min: 0, max: 1000 }), (cases, page) => {
        const specs = specsOf(cases);
        const parsed = parseParams(specs, fieldsOf(cases.map((c) => c.written)));
        const expected = fieldsOf(cases.map((c) => c.value)) as ParamValues;
        expect(parsed).toEqual({ value: expected });
        const base = page * 8;
        const bytes = encodeParams(specs, expected, OUTPUTS, base);
        expect(bytes.length).toBe(paramsSize(specs, expected));
        expect(decodeParams(specs, bytes, OUTPUTS, base)).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });

  it("takes whatever it is given without throwing", () => {
    fc.assert(
      fc.property(anyCase, fc.anything(), (wanted, junk) => {
        const parsed = parseParams(specsOf([wanted]), { p0: junk });
        if ("value" in parsed)
          encodeParams(specsOf([wanted]), parsed.value, ["next", ...outputsIn(parsed.value)], 0);
        else expect(parsed.problems.length).toBeGreaterThan(0);
      }),
    );
  });
});

describe("the layout", () => {
  it("aligns every parameter naturally, in the manifest's order", () => {
    const { fields, size } = blockLayout(sample.params);
    const offsets = Object.fromEntries(fields.map((field) => [field.spec.name, field.offset]));
    expect(offsets).toMatchObject({
      on: 0,
      "min-ttl": 1,
      width: 2,
      mode: 4,
      count: 8,
      proto: 12,
      total: 16,
      delta: 24,
      share: 32,
    });
    expect(offsets).toMatchObject({
      timeout: 40,
      buffer: 48,
      limit: 56,
      port: 72,
      ports: 74,
      outside: 80,
      outside6: 84,
    });
    expect(offsets).toMatchObject({
      server: 100,
      inside: 120,
      link: 140,
      hardware: 160,
      label: 168,
      default: 176,
      sizes: 180,
    });
    expect(size % 8).toBe(0);
  });

  it("rounds a record up to its alignment, so that a list of them keeps it", () => {
    const fields: ParamSpec[] = [
      { name: "a", type: { kind: "u64" }, doc: "" },
      { name: "b", type: { kind: "u8" }, doc: "" },
    ];
    expect(layoutOf({ kind: "record", fields })).toMatchObject({ size: 16, align: 8 });
  });

  it("writes a block to the byte", () => {
    const specs: ParamSpec[] = [
      { name: "a", type: { kind: "u8" }, doc: "" },
      { name: "b", type: { kind: "list", of: { kind: "port-range" } }, doc: "" },
      { name: "c", type: { kind: "prefix" }, doc: "" },
      { name: "d", type: { kind: "rate" }, doc: "" },
    ];
    const values = {
      a: 5,
      b: [{ first: 80, last: 0x1234 }],
      c: "10.0.0.0/8",
      d: { value: 3, unit: "packet" as const },
    };
    const hex = Buffer.from(encodeParams(specs, values, [], 0x1000)).toString("hex");
    expect(hex.match(/.{16}/g)).toEqual([
      "0500000030100000", // a; address of b's elements: 0x1030
      "0100000000000000", // how many; c: ::ffff:10.0.0.0
      "000000000000ffff",
      "0a00000068040000", // length 96 + 8, family 4
      "0300000000000000", // d: value
      "0100000000000000", // unit
      "5000341200000000", // the element
    ]);
  });

  it("leaves zero what is absent", () => {
    const specs: ParamSpec[] = [{ name: "a", type: { kind: "prefix" }, doc: "", default: null }];
    expect([...encodeParams(specs, {}, [], 0)]).toEqual(new Array(24).fill(0));
  });

  it("refuses a base that is not aligned and an output that is not there", () => {
    const specs: ParamSpec[] = [{ name: "a", type: { kind: "output" }, doc: "" }];
    expect(() => encodeParams(specs, { a: "next" }, ["next"], 4)).toThrow("parameters cannot lie at 4");
    expect(() => encodeParams(specs, { a: "gone" }, ["next"], 8)).toThrow(
      'no output is called "gone" (next)',
    );
  });

  it("decodes the sample", () => {
    const parsed = parseParams(sample.params, sampleValues);
    if (!("value" in parsed)) throw new Error(JSON.stringify(parsed));
    const bytes = encodeParams(sample.params, parsed.value, sampleOutputs, 4096);
    // A list that an element leaves out is absent to us and empty to the filter.
    const decoded = decodeParams(sample.params, bytes, sampleOutputs, 4096);
    expect(withoutEmpty(decoded)).toEqual(withoutEmpty(parsed.value));
  });
});

function withoutEmpty(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, inner) => (Array.isArray(inner) && inner.length === 0 ? undefined : inner)),
  );
}

function outputsIn(value: ParamValue): string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" ? Object.values(value).flatMap((v) => outputsIn(v as ParamValue)) : [];
}

it("a block that is moved is the block that is encoded there", () => {
  const values = parseParams(sample.params, sampleValues);
  if (!("value" in values)) throw new Error(JSON.stringify(values));
  const moved = new EncodedParams(sample.params, values.value, sampleOutputs, 64);
  for (const base of [4096, 0, 1 << 20]) {
    expect(moved.at(base)).toEqual(encodeParams(sample.params, values.value, sampleOutputs, base));
  }
});
