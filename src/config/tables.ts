/**
 * The `tables` of a filter.yaml: what the filter keeps for the report beside counters.
 *
 *   tables:
 *     top:
 *       doc: Who sends most.
 *       show: top                                  # rows in the report: a number, or the parameter that says it
 *       keys: { from: { type: prefix, doc: ... } } # what tells rows apart
 *       values: { bytes: How many. }               # u64 each, summed over the workers; the first is what orders the rows
 */
import { READABLE } from "../params/decode.ts";
import type { ParamSpec } from "../params/types.ts";
import type { Diagnostics } from "./diagnostics.ts";
import { readSpecs } from "./paramspec.ts";
import { asMap, asText, namedEntries, unknownKeys } from "./shape.ts";
import { describe, type Entry, entry, type MapNode, plain } from "./tree.ts";
import type { TableSpec } from "./types.ts";

/** As many as the context has room for: CONTEXT.TABLES. */
const MOST_TABLES = 4;
const KEYS = ["doc", "show", "keys", "values"];
/** Rows that a report shows unless it is said. */
const SHOWN = 10;

export function readTables(map: MapNode, params: ParamSpec[], diagnostics: Diagnostics): TableSpec[] {
  const found = entry(map, "tables");
  const tables = found && asMap(found.value, "tables", diagnostics);
  if (!tables) return [];
  const read = namedEntries(tables, "table", diagnostics).flatMap(
    (e) => readTable(e, params, diagnostics) ?? [],
  );
  if (read.length > MOST_TABLES) {
    const message = `a filter has ${MOST_TABLES} tables at most, this one has ${read.length}`;
    diagnostics.error(found.keySpan, "out-of-range", message);
  }
  return read;
}

function readTable(
  { key, keySpan, value }: Entry,
  params: ParamSpec[],
  diagnostics: Diagnostics,
): TableSpec | undefined {
  const where = `table ${JSON.stringify(key)}`;
  const map = asMap(value, where, diagnostics);
  if (!map) return undefined;
  unknownKeys(map, KEYS, where, diagnostics);
  const [doc, keys, values] = ["doc", "keys", "values"].map((name) => entry(map, name));
  for (const [name, one] of [
    ["keys", keys],
    ["values", values],
  ] as const) {
    if (!one) diagnostics.error(keySpan, "missing", `${where} wants ${name}`);
  }
  const numbers = values && asMap(values.value, "values", diagnostics);
  const specs = keys ? readKeys(keys, diagnostics) : [];
  for (const one of numbers?.entries ?? []) {
    if (!specs.some((spec) => spec.name === one.key)) continue;
    const message = `${where} has two columns called ${JSON.stringify(one.key)}`;
    diagnostics.error(one.keySpan, "duplicate-name", message);
  }
  return {
    name: key,
    doc: doc ? (asText(doc.value, "doc", "text", diagnostics) ?? "") : "",
    show: readShow(map, params, diagnostics),
    keys: specs,
    values: !numbers
      ? []
      : namedEntries(numbers, "value", diagnostics).map((one) => ({
          name: one.key,
          doc: asText(one.value, one.key, "its doc", diagnostics) ?? "",
        })),
  };
}

function readKeys(keys: Entry, diagnostics: Diagnostics): ParamSpec[] {
  const specs = readSpecs(keys.value, "keys", diagnostics);
  for (const { name, type } of specs) {
    if (READABLE.includes(type.kind)) continue;
    const message = `${name}: a key of a table cannot be a ${type.kind}`;
    diagnostics.error(keys.value.span, "bad-type", message);
  }
  return specs;
}

function readShow(map: MapNode, params: ParamSpec[], diagnostics: Diagnostics): number | string {
  const found = entry(map, "show");
  if (!found) return SHOWN;
  const value = plain(found.value);
  if (typeof value === "number" && Number.isInteger(value) && value > 0) return value;
  const spec = params.find(({ name }) => name === value);
  if (spec !== undefined && (spec.type.kind === "u32" || spec.type.kind === "u16")) return spec.name;
  const wants = "a number of rows, or the name of a parameter of type u16 or u32";
  diagnostics.error(found.value.span, "bad-value", `show wants ${wants}, has ${describe(found.value)}`);
  return SHOWN;
}
