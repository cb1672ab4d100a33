// What encode.ts writes, decode.ts reads: the columns of filters' tables.
import fc from "fast-check";
import { expect, test } from "vitest";
import { decodeRecord, READABLE } from "../../src/params/decode.ts";
import { encodeParams } from "../../src/params/encode.ts";
import { parseParams } from "../../src/params/parse.ts";
import type { ParamSpec, ParamType } from "../../src/params/types.ts";
import { anyScalar } from "./values.ts";

const types: ParamType[] = READABLE.map((kind) =>
  kind === "enum"
    ? { kind, values: ["one", "two", "three"] }
    : kind === "code"
      ? { kind, codes: { tcp: 6, udp: 17 } }
      : ({ kind } as ParamType),
);

test("a record comes back as it was written, without what is all zeros", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom(...types).chain((type) => anyScalar(type).map((value) => ({ type, value }))),
        {
          minLength: 1,
          maxLength: 8,
        },
      ),
      (columns) => {
        const specs: ParamSpec[] = columns.map(({ type }, i) => ({ name: `c${i}`, type, doc: "" }));
        const written = Object.fromEntries(columns.map(({ value }, i) => [`c${i}`, value]));
        const parsed = parseParams(specs, written);
        if ("problems" in parsed) throw new Error(JSON.stringify(parsed.problems));
        const values = parsed.value;
        const read = decodeRecord(specs, encodeParams(specs, values, [], 0));
        for (const { name, type } of specs) {
          if (name in read) {
            const word = type.kind === "code" ? (type.codes[read[name] as string] ?? read[name]) : read[name];
            expect(word).toEqual(values[name]);
          } else expect([0, "0.0.0.0", "::", "00:00:00:00:00:00"]).toContain(values[name]);
        }
      },
    ),
  );
});
