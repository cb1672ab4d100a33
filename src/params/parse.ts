/**
 * From what the pipeline file says to what the program uses: (spec, plain JavaScript value) in, canonical ParamValue out,
 * or every problem there is, each with the path to it, so that whoever has the file can point at the place.
 */
import { readAddress, readInterfaceAddress, readMac, readPrefix } from "./addresses.ts";
import {
  type Bounds,
  readDuration,
  readFloat,
  readInteger,
  readPort,
  readPortRange,
  readRate,
  readSize,
} from "./quantities.ts";
import { type Reading, refuse, show } from "./refusal.ts";
import { closest } from "./suggest.ts";
import type { ParamSpec, ParamType, ParamValue, ParamValues, ScalarType } from "./types.ts";

export interface Problem {
  /** Keys and indices that lead from the parsed value to the place; a scalar that stands for a list has no index. */
  path: (string | number)[];
  /** The key at the path's end is meant, not its value. */
  atKey: boolean;
  code: "unknown-key" | "missing" | "wrong-type" | "out-of-range" | "bad-value";
  /** A sentence with the parameter's name: "queues wants 1 to 256, has 257". */
  message: string;
  suggestion?: string;
}

export type Parsed<T> = { value: T } | { problems: Problem[] };

/** Ids and names of outputs, as everything that can be referred to in a pipeline file. */
export const NAME = /^[a-z][a-z0-9-]*$/;

/**
 * One value by its spec. Null counts as a value (of no type): it is the caller who knows whether a key was there.
 * Null as the spec's default means that the parameter may be absent, and so it is not among the values.
 */
export function parseParam(spec: ParamSpec, value: unknown): Parsed<ParamValue> {
  const reader = new Reader();
  const result = reader.read(spec.type, value, spec, spec.name, []);
  return reader.problems.length > 0 ? { problems: reader.problems } : { value: result as ParamValue };
}

/** A map of parameters by their specs: unknown keys and missing ones are problems, defaults are filled in. */
export function parseParams(specs: ParamSpec[], values: unknown): Parsed<ParamValues> {
  const reader = new Reader();
  const result = reader.readFields(specs, values, undefined, []);
  return reader.problems.length > 0 ? { problems: reader.problems } : { value: result as ParamValues };
}

/** Every name of an output in the values, in order of appearance, without repetition. */
export function namedOutputs(specs: ParamSpec[], values: ParamValues): string[] {
  const found = new Set<string>();
  const visit = (type: ParamType, value: ParamValue | undefined): void => {
    if (value === undefined) return;
    if (type.kind === "output") found.add(value as string);
    if (type.kind === "action" && markOf(value as string) === undefined) found.add(value as string);
    if (type.kind === "list") for (const element of value as ParamValue[]) visit(type.of, element);
    if (type.kind === "record") for (const f of type.fields) visit(f.type, (value as ParamValues)[f.name]);
  };
  for (const spec of specs) visit(spec.type, values[spec.name]);
  return [...found];
}

/** Must it be given? A list that may be empty is empty unless it is. */
export function isRequired({ type, default: standard, min = 0 }: ParamSpec): boolean {
  return standard === undefined && !(type.kind === "list" && min <= 0);
}

type Path = (string | number)[];

class Reader {
  problems: Problem[] = [];

  read(type: ParamType, value: unknown, bounds: Bounds, name: string, path: Path): ParamValue | undefined {
    if (type.kind === "list") return this.readList(type.of, value, bounds, name, path);
    if (type.kind === "record") return this.readFields(type.fields, value, name, path);
    const reading = readScalar(type, value, bounds);
    if ("value" in reading) return reading.value;
    const { code, message, suggestion } = reading.refusal;
    this.#add(path, false, code, `${name} ${message}`, suggestion);
    return undefined;
  }

  readFields(
    specs: ParamSpec[],
    value: unknown,
    name: string | undefined,
    path: Path,
  ): ParamValues | undefined {
    const where = name === undefined ? "" : ` in ${name}`;
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      this.#add(path, false, "wrong-type", `${name ?? "this"} wants a map, has ${show(value)}`);
      return undefined;
    }
    const given = value as Record<string, unknown>;
    const known = specs.map((spec) => spec.name);
    for (const key of Object.keys(given)) {
      if (known.includes(key)) continue;
      const unset = known.filter((other) => !Object.hasOwn(given, other));
      const message = `unknown key ${JSON.stringify(key)}${where}`;
      this.#add([...path, key], true, "unknown-key", message, closest(key, unset));
    }
    const values: ParamValues = {};
    for (const spec of specs) {
      const present = Object.hasOwn(given, spec.name);
      const source = present ? given[spec.name] : (spec.default ?? (isRequired(spec) ? undefined : []));
      if (!present && spec.default === null) continue;
      if (!present && source === undefined) {
        this.#add(path, false, "missing", `${spec.name} is missing${where}`);
        continue;
      }
      const result = this.read(spec.type, source, spec, spec.name, present ? [...path, spec.name] : path);
      if (result !== undefined) values[spec.name] = result;
    }
    return values;
  }

  readList(of: ParamType, value: unknown, bounds: Bounds, name: string, path: Path): ParamValue[] {
    const alone = !Array.isArray(value);
    const elements: unknown[] = alone ? [value] : value;
    const { min = 0, max = Number.POSITIVE_INFINITY } = bounds;
    if (elements.length < min || elements.length > max) {
      const wants = max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`;
      this.#add(path, false, "out-of-range", `${name} wants ${wants} elements, has ${elements.length}`);
    }
    const result: ParamValue[] = [];
    elements.forEach((element, i) => {
      const read = this.read(of, element, {}, alone ? name : `${name}[${i}]`, alone ? path : [...path, i]);
      if (read !== undefined) result.push(read);
    });
    return result;
  }

  #add(path: Path, atKey: boolean, code: Problem["code"], message: string, suggestion?: string): void {
    this.problems.push({ path, atKey, code, message, ...(suggestion === undefined ? {} : { suggestion }) });
  }
}

type LeafType = Exclude<ParamType, { kind: "list" } | { kind: "record" }>;

function readScalar(type: LeafType, value: unknown, bounds: Bounds): Reading<ParamValue> {
  if (type.kind === "enum") return readEnum(type.values, value);
  if (type.kind === "code") return readCode(type.codes, value, bounds);
  return SCALARS[type.kind](value, bounds);
}

const SCALARS: Record<ScalarType, (value: unknown, bounds: Bounds) => Reading<ParamValue>> = {
  bool: readBool,
  u8: (value, bounds) => readInteger("u8", value, bounds),
  u16: (value, bounds) => readInteger("u16", value, bounds),
  u32: (value, bounds) => readInteger("u32", value, bounds),
  u64: (value, bounds) => readInteger("u64", value, bounds),
  i32: (value, bounds) => readInteger("i32", value, bounds),
  f64: readFloat,
  duration: readDuration,
  size: readSize,
  rate: readRate as (value: unknown, bounds: Bounds) => Reading<ParamValue>,
  port: readPort,
  "port-range": readPortRange as (value: unknown, bounds: Bounds) => Reading<ParamValue>,
  ipv4: (value) => readAddress(value, 4),
  ipv6: (value) => readAddress(value, 6),
  ip: (value) => readAddress(value, "any"),
  prefix: readPrefix,
  "interface-address": readInterfaceAddress,
  mac: readMac,
  string: readString,
  output: readOutput,
  action: readAction,
};

function readBool(value: unknown): Reading<boolean> {
  if (typeof value === "boolean") return { value };
  const meant = /^(true|yes|on)$/i.test(String(value))
    ? "true"
    : /^(false|no|off)$/i.test(String(value))
      ? "false"
      : undefined;
  return refuse("wrong-type", "true or false", value, meant);
}

function readString(value: unknown): Reading<string> {
  if (typeof value !== "string") {
    const scalar = typeof value === "number" || typeof value === "boolean";
    return refuse("wrong-type", scalar ? "text (put it in quotes)" : "text", value);
  }
  // A NUL would end the string early for the kernel, so two different values would mean the same.
  if (value.includes("\0")) return refuse("bad-value", "text without NUL characters", value);
  return { value };
}

function readEnum(words: string[], value: unknown): Reading<string> {
  if (typeof value === "string" && words.includes(value)) return { value };
  const suggestion = typeof value === "string" ? closest(value, words) : undefined;
  return refuse(typeof value === "string" ? "bad-value" : "wrong-type", oneOf(words), value, suggestion);
}

function readCode(codes: Record<string, number>, value: unknown, bounds: Bounds): Reading<number> {
  if (typeof value === "string" && Object.hasOwn(codes, value)) return { value: codes[value] };
  if (typeof value === "number") return readInteger("u8", value, bounds);
  const words = Object.keys(codes);
  const suggestion = typeof value === "string" ? closest(value, words) : undefined;
  const wants = `${words.join(", ")} or a number`;
  return refuse(typeof value === "string" ? "bad-value" : "wrong-type", wants, value, suggestion);
}

/** `accept` is what packet filters call going on: another word for `next`. */
function readOutput(value: unknown): Reading<string> {
  const wants = "an output (accept, drop, or a name that the path wires)";
  if (typeof value !== "string") return refuse("wrong-type", wants, value);
  if (!NAME.test(value)) return refuse("bad-value", wants, value);
  return { value: value === "accept" ? "next" : value };
}

/** The mark that an action sets; undefined: it is an output. */
export function markOf(action: string): number | undefined {
  const number = /^mark (\d+)$/.exec(action)?.[1];
  return number === undefined ? undefined : Number(number);
}

/** An output, or `mark N` with N in decimal or 0x... */
function readAction(value: unknown): Reading<string> {
  const wants = "an output (accept, drop, or a name that the path wires) or mark N";
  const [, text] = (typeof value === "string" && /^mark\s+(\d{1,10}|0x[0-9a-fA-F]{1,8})$/.exec(value)) || [];
  if (text !== undefined) {
    const mark = Number(text);
    return mark <= 0xffffffff
      ? { value: `mark ${mark}` }
      : refuse("out-of-range", "a mark of 0 to 4294967295", value);
  }
  const output = readOutput(value);
  return "value" in output ? output : refuse(output.refusal.code, wants, value);
}

function oneOf(words: string[]): string {
  return words.length === 1 ? words[0] : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
