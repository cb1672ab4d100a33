// The memory's layout is written twice, for TypeScript and for AssemblyScript: the two must be one.
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import * as layout from "../../src/batches/layout.ts";

const text = readFileSync(new URL("../../assembly/abi/layout.ts", import.meta.url), "utf8");

/** export const NAME: type = value; where the value is a number or a shift. */
const assembly = Object.fromEntries(
  [...text.matchAll(/^export const (\w+): \w+ = (\d+)(?: << (\d+))?;$/gm)].map(([, name, value, shift]) => [
    name,
    Number(value) << Number(shift ?? 0),
  ]),
);

const GROUPS = {
  DESCRIPTOR: layout.DESCRIPTOR,
  PACKET_FLAG: layout.PACKET_FLAG,
  BATCH: layout.BATCH,
  CONTEXT: layout.CONTEXT,
  DEVICE_INFO: layout.DEVICE_INFO,
  OFFLOAD: layout.OFFLOAD,
};
const { HEADROOM, VNET_HEADER, BATCH_PACKETS, COALESCE_FLOWS, ABI_VERSION } = layout;
const { OUTPUT_NEXT, OUTPUT_DROP, OUTPUT_HOLD, OUTPUT_NONE, OUTPUT_FINISH } = layout;

/** What assembly/abi/layout.ts has to say, from what src/batches/layout.ts says. */
const expected = {
  ...Object.fromEntries(
    Object.entries(GROUPS).flatMap(([group, fields]) =>
      Object.entries(fields).map(([field, value]) => [`${group}_${field}`, value]),
    ),
  ),
  ...Object.fromEntries(
    layout.MALFORMED.map((reason, i) => [`MALFORMED_${reason.toUpperCase().replaceAll("-", "_")}`, i]),
  ),
  ...{ HEADROOM, VNET_HEADER, BATCH_PACKETS, COALESCE_FLOWS, ABI_VERSION },
  ...{ OUTPUT_NEXT, OUTPUT_DROP, OUTPUT_HOLD, OUTPUT_NONE, OUTPUT_FINISH },
};

test("assembly/abi/layout.ts says nothing that could not be read here", () => {
  const declared = [...text.matchAll(/^export const (\w+)/gm)].map(([, name]) => name);
  expect(Object.keys(assembly)).toEqual(declared);
});

test("both say the same", () => {
  expect(assembly).toEqual(expected);
});

describe("fields do not overlap and fit their structure", () => {
  test.each([
    ["DESCRIPTOR", layout.DESCRIPTOR, 64],
    ["CONTEXT", layout.CONTEXT, 192],
    ["DEVICE_INFO", layout.DEVICE_INFO, 16],
  ])("%s", (_, fields, size) => {
    const offsets = Object.values(fields).slice(0, -1);
    expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b));
    expect(Math.max(...offsets)).toBeLessThan(size);
    expect(fields.SIZE).toBe(size);
  });
});
