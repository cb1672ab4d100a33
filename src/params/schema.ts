/**
 * JSON Schema (2020-12) of parameters, for editors that complete and check pipeline files. It is made of the same specs
 * as the checker, but knows less: that host bits are zero, say, only the checker can tell.
 */
import { isRequired } from "./parse.ts";
import { formatDuration, formatSize, isShare } from "./quantities.ts";
import type { ParamSpec, ParamType } from "./types.ts";

export type JsonSchema = Record<string, unknown>;

/** Names of the shared definitions that paramSchema() refers to, under "#/$defs/". */
export const definitions: Record<string, JsonSchema> = {
  variable: {
    type: "string",
    pattern: "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}",
    description: "From the environment.",
  },
};

const OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const IPV4 = `${OCTET}(\\.${OCTET}){3}`;
/** Coarse: the checker knows where "::" may stand. */
const IPV6 = "[0-9A-Fa-f]*:[0-9A-Fa-f:]*(:[0-9.]+)?";
const LENGTH = "(/[0-9]{1,3})?";
const PORT = "[0-9]{1,5}";

const SCALARS: Record<Exclude<ParamType["kind"], "enum" | "code" | "list" | "record">, JsonSchema> = {
  bool: { type: "boolean" },
  u8: { type: "integer", minimum: 0, maximum: 255 },
  u16: { type: "integer", minimum: 0, maximum: 65535 },
  u32: { type: "integer", minimum: 0, maximum: 4294967295 },
  u64: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER },
  i32: { type: "integer", minimum: -2147483648, maximum: 2147483647 },
  f64: { type: "number" },
  duration: {
    anyOf: [{ const: 0 }, text("([0-9]+(\\.[0-9]+)?(d|h|m|s|ms|us|µs|ns))+|0", "500us, 10s, 2h4m")],
  },
  size: {
    anyOf: [
      { type: "integer", minimum: 0 },
      text("[0-9]+(\\.[0-9]+)? ?(B|[kKMGT]B|[KMGT]iB)?", "1500, 64KiB, 1MB"),
    ],
  },
  rate: text("[0-9]+(\\.[0-9]+)? ?([kMGT]?bit|[kMG]?pps)", "10Mbit, 100kpps"),
  port: { anyOf: [{ type: "integer", minimum: 0, maximum: 65535 }, text(PORT, "80")] },
  "port-range": {
    anyOf: [{ type: "integer", minimum: 0, maximum: 65535 }, text(`${PORT}( ?- ?${PORT})?`, "80, 8000-8999")],
  },
  ipv4: text(IPV4, "192.0.2.1"),
  ipv6: text(IPV6, "2001:db8::1"),
  ip: text(`${IPV4}|${IPV6}`, "192.0.2.1, 2001:db8::1"),
  prefix: text(`(${IPV4}|${IPV6})${LENGTH}`, "10.0.0.0/8, 2001:db8::/32"),
  "interface-address": text(`(${IPV4}|${IPV6})${LENGTH}`, "10.77.0.1/24, fd00::1/64"),
  mac: text("[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}", "02:00:5e:10:00:01"),
  string: { type: "string" },
  domains: { type: "string", description: "A domain name, or a line of a hosts file." },
  sets: {
    type: "object",
    propertyNames: { pattern: "^[a-z][a-z0-9-]*$" },
    description: "Named sets of prefixes: lists, or { file: PATH }.",
  },
  output: text("[a-z][a-z0-9-]*", "accept, drop, or a name that paths wire"),
  action: text(
    "[a-z][a-z0-9-]*|mark +([0-9]{1,10}|0x[0-9A-Fa-f]{1,8})",
    "accept, drop, a name that paths wire, or mark N",
  ),
};

/**
 * One parameter: its type, its range, its doc and its default, for an editor to show.
 * @param mayBeFile a list may name files that hold its elements: config/list-files.ts
 */
export function paramSchema(spec: ParamSpec, mayBeFile = false): JsonSchema {
  const schema = typeSchema(spec.type, spec, mayBeFile);
  const notes = [spec.doc, rangeNote(spec)].filter((note) => note !== "").join(" ");
  return {
    ...(notes === "" ? {} : { description: notes }),
    ...(spec.default === undefined || spec.default === null ? {} : { default: spec.default }),
    ...schema,
  };
}

/** The properties of a map of parameters. `required` has what has no default. */
export function paramsSchema(
  specs: ParamSpec[],
  mayBeFile = false,
): {
  properties: Record<string, JsonSchema>;
  required: string[];
} {
  return {
    properties: Object.fromEntries(specs.map((spec) => [spec.name, paramSchema(spec, mayBeFile)])),
    required: specs.filter(isRequired).map((spec) => spec.name),
  };
}

/** A set in place of a prefix. */
const SET_NAME = text("[a-z][a-z0-9-]*", "the name of a set");
/** A file with the elements of a list. */
const FILE: JsonSchema = {
  type: "object",
  properties: { file: { type: "string", description: "An element a line; relative to this file." } },
  required: ["file"],
  additionalProperties: false,
};

function typeSchema(
  type: ParamType,
  bounds: { min?: number; max?: number; sets?: string },
  mayBeFile = false,
): JsonSchema {
  switch (type.kind) {
    case "list": {
      const kinds = [typeSchema(type.of, {})];
      if (bounds.sets !== undefined) kinds.push(SET_NAME);
      if (mayBeFile) kinds.push(FILE);
      const items = kinds.length === 1 ? kinds[0] : { anyOf: kinds };
      const list = {
        type: "array",
        items,
        ...(bounds.min === undefined ? {} : { minItems: bounds.min }),
        ...(bounds.max === undefined ? {} : { maxItems: bounds.max }),
      };
      return (bounds.min ?? 0) > 1 ? list : { anyOf: [list, items] };
    }
    case "record":
      return { type: "object", ...paramsSchema(type.fields), additionalProperties: false };
    case "enum":
      return orVariable({ enum: type.values });
    case "code":
      return orVariable({ anyOf: [{ enum: Object.keys(type.codes) }, bounded(SCALARS.u8, bounds)] });
    case "u8":
    case "u16":
    case "u32":
    case "u64":
    case "i32":
      return orVariable(bounded(SCALARS[type.kind], bounds));
    case "f64":
      if (isShare(bounds)) {
        const percentage = text("\\d+(\\.\\d+)? ?%", "A percentage: 5%, 0.1%");
        return { anyOf: [bounded(SCALARS.f64, bounds), percentage, { $ref: "#/$defs/variable" }] };
      }
      return orVariable(bounded(SCALARS[type.kind], bounds));
    case "string":
    case "domains":
    case "sets":
      return SCALARS[type.kind];
    default:
      return orVariable(SCALARS[type.kind]);
  }
}

function bounded(schema: JsonSchema, { min, max }: { min?: number; max?: number }): JsonSchema {
  const least = schema["minimum"] as number | undefined;
  const most = schema["maximum"] as number | undefined;
  return {
    ...schema,
    ...(min === undefined ? {} : { minimum: Math.max(min, least ?? min) }),
    ...(max === undefined ? {} : { maximum: Math.min(max, most ?? max) }),
  };
}

/** ${NAME} may stand for any scalar. */
function orVariable(schema: JsonSchema): JsonSchema {
  return { anyOf: [schema, { $ref: "#/$defs/variable" }] };
}

function text(pattern: string, examples: string): JsonSchema {
  return { type: "string", pattern: `^(${pattern})$`, description: examples };
}

/** Bounds that a schema of text cannot express. */
function rangeNote({ type, min, max }: ParamSpec): string {
  if (type.kind !== "duration" && type.kind !== "size") return "";
  const format = type.kind === "duration" ? formatDuration : formatSize;
  if (min !== undefined && max !== undefined) return `(${format(min)} to ${format(max)})`;
  if (min !== undefined) return `(at least ${format(min)})`;
  return max === undefined ? "" : `(at most ${format(max)})`;
}
