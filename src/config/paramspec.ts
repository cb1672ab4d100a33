/**
 * Parameter specs as a filter.yaml writes them:
 *
 *   min-ttl: { type: u8, default: 1, range: [1, 255], doc: ... }
 *   mode:    { type: enum(strict, loose) }
 *   proto:   { type: "code(icmp=1, tcp=6, udp=17)" }
 *   ports:   { type: list(port-range) }
 *   rules:   { type: list, of: { type: record, fields: { action: { type: output }, ... } } }
 */
import { type Parsed, parseParam } from "../params/parse.ts";
import { readDuration, readRate, readSize } from "../params/quantities.ts";
import { closest } from "../params/suggest.ts";
import type { ParamSpec, ParamType, ScalarType } from "../params/types.ts";
import type { Diagnostics } from "./diagnostics.ts";
import { asMap, asText, namedEntries, unknownKeys } from "./shape.ts";
import type { Span } from "./source.ts";
import { type Entry, entry, type MapNode, type Node, plain, spanAt } from "./tree.ts";

const SCALARS: ScalarType[] = [
  "bool",
  "u8",
  "u16",
  "u32",
  "u64",
  "i32",
  "f64",
  "duration",
  "size",
  "rate",
  "port",
  "port-range",
  "ipv4",
  "ipv6",
  "ip",
  "prefix",
  "interface-address",
  "mac",
  "string",
  "domains",
  "output",
  "action",
  "sets",
];
const CONSTRUCTORS = ["enum", "code", "list", "record"];
const KEYS = ["type", "of", "fields", "doc", "default", "range", "family", "sets", "reload"];
/** Values that a filter can tell from "not given": their zeros are not values (family 0, length 0). */
const ABSENTABLE = ["ip", "prefix", "interface-address", "string"];

export function readSpecs(node: Node, where: string, diagnostics: Diagnostics): ParamSpec[] {
  const map = asMap(node, where, diagnostics);
  if (!map) return [];
  return namedEntries(map, "parameter", diagnostics).flatMap((e) => readSpec(e, where, diagnostics) ?? []);
}

function readSpec(
  { key, keySpan, value }: Entry,
  where: string,
  diagnostics: Diagnostics,
): ParamSpec | undefined {
  const map = asMap(
    value,
    `parameter ${JSON.stringify(key)}`,
    diagnostics,
    value.kind === "map" ? undefined : keySpan,
  );
  if (!map) return undefined;
  unknownKeys(map, KEYS, `parameter ${JSON.stringify(key)}`, diagnostics);
  const type = readType(map, keySpan, diagnostics);
  if (!type) return undefined;
  const doc = entry(map, "doc");
  const spec: ParamSpec = {
    name: key,
    type,
    doc: doc ? (asText(doc.value, "doc", "text", diagnostics) ?? "") : "",
    ...readRange(map, type, diagnostics),
    ...readFamily(map, type, diagnostics),
    ...readSetsName(map, type, diagnostics),
    ...readReload(map, where, diagnostics),
  };
  const standard = entry(map, "default");
  if (!standard) return spec;
  spec.default = plain(standard.value);
  if (spec.default === null) {
    if (ABSENTABLE.includes(type.kind)) return spec;
    const message = `a ${type.kind} cannot be absent: its filter could not tell that from zero`;
    diagnostics.error(standard.value.span, "bad-default", message);
    return spec;
  }
  const parsed: Parsed<unknown> = parseParam(spec, spec.default);
  if ("problems" in parsed) {
    for (const { path, atKey, message, suggestion } of parsed.problems) {
      diagnostics.error(
        spanAt(standard.value, path, atKey),
        "bad-default",
        `default: ${message}`,
        suggestion,
      );
    }
  }
  return spec;
}

/** The type of a map with `type` (and `of`, `fields`). */
function readType(map: MapNode, span: Span, diagnostics: Diagnostics): ParamType | undefined {
  const node = entry(map, "type");
  if (!node) {
    diagnostics.error(span, "missing", "type is missing");
    return undefined;
  }
  const text = asText(node.value, "type", "the name of a type", diagnostics);
  if (text === undefined) return undefined;
  const of = entry(map, "of");
  const fields = entry(map, "fields");
  if (of && text !== "list") diagnostics.error(of.keySpan, "unknown-key", `only type: list has "of"`);
  if (fields && text !== "record")
    diagnostics.error(fields.keySpan, "unknown-key", `only type: record has "fields"`);
  if (text === "list" || text === "record") {
    const needed = text === "list" ? of : fields;
    if (!needed) {
      diagnostics.error(
        node.value.span,
        "missing",
        `type: ${text} wants "${text === "list" ? "of" : "fields"}"`,
      );
      return undefined;
    }
    if (text === "record") return { kind: "record", fields: readSpecs(needed.value, "fields", diagnostics) };
    const element = readElement(needed.value, diagnostics);
    return element && { kind: "list", of: element };
  }
  return readTypeText(text, node.value.span, diagnostics);
}

function readElement(node: Node, diagnostics: Diagnostics): ParamType | undefined {
  if (node.kind === "scalar" && typeof node.value === "string") {
    return readTypeText(node.value, node.span, diagnostics);
  }
  const map = asMap(node, "of", diagnostics);
  if (!map) return undefined;
  unknownKeys(map, ["type", "of", "fields", "doc"], "of", diagnostics);
  return readType(map, map.span, diagnostics);
}

/** `u8`, `enum(a, b)`, `code(tcp=6)`, `list(port-range)`, nested as they like. */
function readTypeText(text: string, span: Span, diagnostics: Diagnostics): ParamType | undefined {
  const [, word, args] = /^\s*([a-z0-9-]+)\s*(?:\((.*)\))?\s*$/s.exec(text) ?? [];
  const fail = (message: string, suggestion?: string) => {
    diagnostics.error(span, "bad-type", message, suggestion);
    return undefined;
  };
  if (word === undefined) return fail(`${JSON.stringify(text)} is not a type`);
  if ((SCALARS as string[]).includes(word)) {
    return args === undefined ? { kind: word as ScalarType } : fail(`${word} takes nothing in parentheses`);
  }
  if (!CONSTRUCTORS.includes(word)) {
    return fail(`${JSON.stringify(word)} is not a type`, closest(word, [...SCALARS, ...CONSTRUCTORS]));
  }
  if (args === undefined || word === "record") {
    return fail(word === "record" ? "type: record wants fields beside it" : `${word} wants (…) after it`);
  }
  if (word === "list") {
    const of = readTypeText(args, span, diagnostics);
    return of && { kind: "list", of };
  }
  const words = args.split(",").map((part) => part.trim());
  const names = words.map((part) => part.split("=")[0].trim());
  if (names.some((name, i) => !/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name) || names.indexOf(name) !== i)) {
    return fail(`${word} wants different words in its parentheses`);
  }
  if (word === "enum")
    return words.length <= 256 ? { kind: "enum", values: words } : fail("enum has at most 256 words");
  const codes: Record<string, number> = {};
  for (const part of words) {
    const match = /^(.*?)\s*=\s*(\d+)$/.exec(part);
    if (!match || Number(match[2]) > 255)
      return fail(`code wants WORD=NUMBER up to 255, has ${JSON.stringify(part)}`);
    codes[match[1]] = Number(match[2]);
  }
  return { kind: "code", codes };
}

/** `sets: PARAMETER`: names of its sets may stand among the prefixes of this list. */
function readSetsName(map: MapNode, type: ParamType, diagnostics: Diagnostics): { sets?: string } {
  const found = entry(map, "sets");
  if (!found) return {};
  if (type.kind !== "list" || type.of.kind !== "prefix") {
    diagnostics.error(found.keySpan, "unknown-key", "only type: list(prefix) has sets");
    return {};
  }
  const name = asText(found.value, "sets", "the name of a parameter", diagnostics);
  return name === undefined ? {} : { sets: name };
}

/** `reload: true`: it may change while the pipeline runs. */
function readReload(map: MapNode, where: string, diagnostics: Diagnostics): { reload?: true } {
  const found = entry(map, "reload");
  if (!found) return {};
  if (where !== "params") {
    const message = "a whole parameter is reloaded, or not: say it there";
    diagnostics.error(found.keySpan, "unknown-key", message);
    return {};
  }
  const value = plain(found.value);
  if (typeof value !== "boolean")
    diagnostics.error(found.value.span, "bad-value", "reload wants true or false");
  return value === true ? { reload: true } : {};
}

/** `family: 6`: of a prefix, which it must be of. */
function readFamily(map: MapNode, type: ParamType, diagnostics: Diagnostics): { family?: 4 | 6 } {
  const found = entry(map, "family");
  if (!found) return {};
  if (type.kind !== "prefix") {
    diagnostics.error(found.keySpan, "unknown-key", "only type: prefix has a family");
    return {};
  }
  const family = plain(found.value);
  if (family === 4 || family === 6) return { family };
  diagnostics.error(found.value.span, "bad-value", "family wants 4 or 6");
  return {};
}

/** `range: [min, max]`, in the units of the type; null leaves one end open. */
function readRange(map: MapNode, type: ParamType, diagnostics: Diagnostics): { min?: number; max?: number } {
  const found = entry(map, "range");
  if (!found) return {};
  const { span } = found.value;
  if (found.value.kind !== "list" || found.value.items.length !== 2) {
    diagnostics.error(span, "wrong-type", "range wants [least, most]");
    return {};
  }
  const ends = found.value.items.map((node): number | undefined => {
    const value = plain(node);
    if (value === null) return undefined;
    const end = readEnd(type, value);
    if (end === undefined) diagnostics.error(node.span, "bad-value", `not a bound of a ${type.kind}`);
    return end;
  });
  const [min, max] = ends;
  if (min !== undefined && max !== undefined && min > max) {
    diagnostics.error(span, "bad-value", "range wants the least value first");
    return {};
  }
  return { ...(min === undefined ? {} : { min }), ...(max === undefined ? {} : { max }) };
}

function readEnd(type: ParamType, value: unknown): number | undefined {
  if (type.kind === "duration" || type.kind === "size") {
    const reading = type.kind === "duration" ? readDuration(value, {}) : readSize(value, {});
    return "value" in reading ? reading.value : undefined;
  }
  if (type.kind === "rate") {
    const reading = readRate(value, {});
    return "value" in reading ? reading.value.value : undefined;
  }
  const numeric = ["u8", "u16", "u32", "u64", "i32", "f64", "port", "port-range", "code", "list", "prefix"];
  return numeric.includes(type.kind) && typeof value === "number" && Number.isFinite(value)
    ? value
    : undefined;
}
