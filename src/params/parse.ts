/**
 * From what the pipeline file says to what the program uses: (spec, plain JavaScript value) in, canonical ParamValue out,
 * or every problem there is, each with the path to it, so that whoever has the file can point at the place.
 */
import { readAddress, readInterfaceAddress, readMac, readPrefix } from "./addresses.ts";
import { readDomains } from "./domains.ts";
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
import { NOBODY, type ReadFile, Sets } from "./sets.ts";
import { choice, closest } from "./suggest.ts";
import type { ParamSpec, ParamType, ParamValue, ParamValues, ScalarType } from "./types.ts";

export interface Problem {
  /** Keys and indices that lead from the parsed value to the place; a scalar that stands for a list has no index. */
  path: (string | number)[];
  /** The key at the path's end is meant, not its value. */
  atKey: boolean;
  code:
    | "unknown-key"
    | "missing"
    | "wrong-type"
    | "out-of-range"
    | "bad-value"
    | "unknown-set"
    | "unused-set";
  /** A sentence with the parameter's name: "queues wants 1 to 256, has 257". */
  message: string;
  suggestion?: string;
  /** Where it is, if it is not in the parsed value but in a file that this names: offsets in its text. */
  place?: { file: string; text: string; start: number; end: number };
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
  const result = reader.read(spec.type, value, spec, spec.name, undefined);
  return reader.problems.length > 0 ? { problems: reader.problems } : { value: result as ParamValue };
}

/**
 * A map of parameters by their specs: unknown keys and missing ones are problems, defaults are filled in.
 * @param readFile for sets that are files
 */
export function parseParams(specs: ParamSpec[], values: unknown, readFile?: ReadFile): Parsed<ParamValues> {
  const reader = new Reader();
  reader.readSets(specs, values, readFile);
  const result = reader.readFields(specs, values, undefined, undefined);
  reader.checkSets();
  return reader.problems.length > 0 ? { problems: reader.problems } : { value: result as ParamValues };
}

/** Every name of an output in the values, in order of appearance, without repetition. */
export function namedOutputs(specs: ParamSpec[], values: ParamValues): string[] {
  const found = new Set<string>();
  const visit = (type: ParamType, value: ParamValue | undefined): void => {
    if (value === undefined || !mayNameOutput(type)) return;
    if (type.kind === "output") found.add(value as string);
    if (type.kind === "action" && markOf(value as string) === undefined) found.add(value as string);
    if (type.kind === "list") for (const element of value as ParamValue[]) visit(type.of, element);
    if (type.kind === "record") for (const f of type.fields) visit(f.type, (value as ParamValues)[f.name]);
  };
  for (const spec of specs) visit(spec.type, values[spec.name]);
  return [...found];
}

const naming = new WeakMap<ParamType, boolean>();

/** Can a value of this type name an output? */
export function mayNameOutput(type: ParamType): boolean {
  let can = naming.get(type);
  if (can === undefined) {
    can =
      type.kind === "list"
        ? mayNameOutput(type.of)
        : type.kind === "record"
          ? type.fields.some((field) => mayNameOutput(field.type))
          : type.kind === "output" || type.kind === "action";
    naming.set(type, can);
  }
  return can;
}

/** Must it be given? A list that may be empty is empty unless it is. */
export function isRequired({ type, default: standard, min = 0 }: ParamSpec): boolean {
  return standard === undefined && !(type.kind === "list" && min <= 0);
}

/** Of all lists that were left out: in a hundred thousand rules, empty lists would be most of their memory. */
const NOTHING: ParamValue[] = [];

/** What is known of a map of parameters before it is read. */
interface Expected {
  names: string[];
  /** Values of the lists that may be left out: copied at once, so that maps do not grow key by key. */
  standard: ParamValues;
}

const expectations = new WeakMap<ParamSpec[], Expected>();

function expected(specs: ParamSpec[]): Expected {
  let found = expectations.get(specs);
  if (found === undefined) {
    const empty = specs.filter((spec) => spec.default === undefined && !isRequired(spec));
    found = {
      names: specs.map((spec) => spec.name),
      standard: Object.fromEntries(empty.map((spec) => [spec.name, NOTHING])),
    };
    expectations.set(specs, found);
  }
  return found;
}

/** Where a value is, and what messages call it: as chains, for they are made into text only where there is a problem. */
type Path = { up: Path; step: string | number } | undefined;
type Name = string | { list: Name; index: number };

function steps(path: Path): (string | number)[] {
  const found: (string | number)[] = [];
  for (let at = path; at; at = at.up) found.push(at.step);
  return found.reverse();
}

function called(name: Name): string {
  return typeof name === "string" ? name : `${called(name.list)}[${name.index}]`;
}

class Reader {
  problems: Problem[] = [];
  /** By the parameter that has them. */
  #sets = new Map<string, { sets: Sets; value: ParamValues }>();

  /** Before anything that may name them. */
  readSets(specs: ParamSpec[], values: unknown, readFile: ReadFile | undefined): void {
    for (const { name, type, default: standard } of specs) {
      if (type.kind !== "sets" || values === null || typeof values !== "object") continue;
      const sets = new Sets(name);
      const given = Object.hasOwn(values, name)
        ? (values as Record<string, unknown>)[name]
        : (standard ?? {});
      const value = sets.read(given, readFile, (path, code, message, more) => {
        this.problems.push({ path: [name, ...path], atKey: false, code, message, ...more });
      });
      this.#sets.set(name, { sets, value });
    }
  }

  checkSets(): void {
    for (const [parameter, { sets }] of this.#sets) {
      for (const name of sets.unused) {
        const message = `set ${JSON.stringify(name)} is used by nothing`;
        this.problems.push({ path: [parameter, name], atKey: true, code: "unused-set", message });
      }
    }
  }

  read(type: ParamType, value: unknown, bounds: Bounds, name: Name, path: Path): ParamValue | undefined {
    if (type.kind === "list") return this.readList(type.of, value, bounds, name, path);
    if (type.kind === "record") return this.readFields(type.fields, value, name, path);
    if (type.kind === "sets") return this.#sets.get(String(name))?.value;
    const reading = readScalar(type, value, bounds);
    if ("value" in reading) return reading.value;
    const { code, message, suggestion } = reading.refusal;
    this.#add(path, false, code, `${called(name)} ${message}`, suggestion);
    return undefined;
  }

  readFields(
    specs: ParamSpec[],
    value: unknown,
    name: Name | undefined,
    path: Path,
  ): ParamValues | undefined {
    if (value === null || typeof value !== "object" || Array.isArray(value)) {
      this.#add(
        path,
        false,
        "wrong-type",
        `${name === undefined ? "this" : called(name)} wants a map, has ${show(value)}`,
      );
      return undefined;
    }
    const given = value as Record<string, unknown>;
    const { names: known, standard } = expected(specs);
    for (const key of Object.keys(given)) {
      if (known.includes(key)) continue;
      const unset = known.filter((other) => !Object.hasOwn(given, other));
      const meant = closest(key, unset);
      const message = `unknown key ${JSON.stringify(key)}${within(name)}${meant === undefined ? choice(unset) : ""}`;
      this.#add({ up: path, step: key }, true, "unknown-key", message, meant);
    }
    const isElement = name !== undefined;
    const values: ParamValues = isElement ? {} : { ...standard };
    for (const spec of specs) {
      const present = Object.hasOwn(given, spec.name);
      if (!present && Object.hasOwn(standard, spec.name)) continue;
      const source = present ? given[spec.name] : spec.default;
      if (!present && spec.default === null) continue;
      if (!present && source === undefined) {
        this.#add(path, false, "missing", `${spec.name} is missing${within(name)}`);
        continue;
      }
      const result = this.read(
        spec.type,
        source,
        spec,
        spec.name,
        present ? { up: path, step: spec.name } : path,
      );
      if (result !== undefined) values[spec.name] = result;
    }
    return values;
  }

  readList(of: ParamType, value: unknown, bounds: Bounds, name: Name, path: Path): ParamValue[] {
    const alone = !Array.isArray(value);
    const elements: unknown[] = alone ? [value] : value;
    const { min = 0, max = Number.POSITIVE_INFINITY } = bounds;
    if (elements.length < min || elements.length > max) {
      const wants = max === Number.POSITIVE_INFINITY ? `at least ${min}` : `${min} to ${max}`;
      this.#add(
        path,
        false,
        "out-of-range",
        `${called(name)} wants ${wants} elements, has ${elements.length}`,
      );
    }
    const sets = bounds.sets === undefined ? undefined : this.#sets.get(bounds.sets)?.sets;
    if (sets !== undefined && elements.length === 1 && Sets.isName(elements[0])) {
      // The set's own array, so that many rules with a large set are encoded with one.
      const set = sets.get(elements[0]);
      if (set !== undefined) return set.length > 0 ? set : [NOBODY];
    }
    const result: ParamValue[] = [];
    for (let i = 0; i < elements.length; i++) {
      const place = alone ? path : { up: path, step: i };
      if (sets !== undefined && Sets.isName(elements[i])) {
        const set = sets.get(elements[i] as string);
        if (set !== undefined) for (const prefix of set) result.push(prefix);
        else this.#unknownSet(elements[i] as string, sets, name, place);
        continue;
      }
      const read = this.read(of, elements[i], {}, alone ? name : { list: name, index: i }, place);
      if (read !== undefined) result.push(read);
    }
    if (sets !== undefined && elements.length > 0 && result.length === 0) result.push(NOBODY);
    return result;
  }

  #unknownSet(set: string, sets: Sets, name: Name, path: Path): void {
    const message = `${called(name)} names the set ${JSON.stringify(set)}, which is not defined`;
    this.#add(path, false, "unknown-set", message, sets.suggest(set));
  }

  #add(path: Path, atKey: boolean, code: Problem["code"], message: string, suggestion?: string): void {
    this.problems.push({
      path: steps(path),
      atKey,
      code,
      message,
      ...(suggestion === undefined ? {} : { suggestion }),
    });
  }
}

function within(name: Name | undefined): string {
  return name === undefined ? "" : ` in ${called(name)}`;
}

type LeafType = Exclude<ParamType, { kind: "list" } | { kind: "record" } | { kind: "sets" }>;

function readScalar(type: LeafType, value: unknown, bounds: Bounds): Reading<ParamValue> {
  if (type.kind === "enum") return readEnum(type.values, value);
  if (type.kind === "code") return readCode(type.codes, value, bounds);
  return SCALARS[type.kind as Exclude<ScalarType, "sets">](value, bounds);
}

const SCALARS: Record<
  Exclude<ScalarType, "sets">,
  (value: unknown, bounds: Bounds) => Reading<ParamValue>
> = {
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
  prefix: (value, bounds) => readPrefix(value, bounds),
  "interface-address": readInterfaceAddress,
  mac: readMac,
  string: readString,
  domains: readDomains,
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
