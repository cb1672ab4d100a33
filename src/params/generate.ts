/**
 * The AssemblyScript through which a filter reads its parameters: the text of the "./params" that its index.ts imports.
 *
 *   params.minTtl                        a number, or the address of bytes (ipv6, mac)
 *   params.rules.length, .at(i)          lists; records are classes with a getter a field
 *   params.rules.at(i).toPort.at(j).first
 *   Mode.strict  Outputs.refuse  Counters.badTcp     constants
 *
 * Every class is an address in disguise (changetype), every getter an inlined load: nothing is allocated, and the module
 * gets no data segment.
 */
import {
  ACTION,
  IP,
  layoutOf,
  PORT_RANGE,
  PREFIX,
  RATE,
  RATE_UNITS,
  REFERENCE,
  recordLayout,
  tableLayout,
} from "./layout.ts";
import type { ParamSpec, ParamType } from "./types.ts";

/** What is needed of a filter's Manifest. */
export interface Generated {
  kind: string;
  params: ParamSpec[];
  outputs: { name: string; doc: string }[];
  /** Those with `each` last. */
  counters: { name: string; doc: string; each?: string }[];
  logs?: { name: string; text: string }[];
  tables?: { name: string; doc: string; keys: ParamSpec[]; values: { name: string; doc: string }[] }[];
}

export function generateParams(manifest: Generated): string {
  const { kind, params, outputs, counters, logs = [], tables = [] } = manifest;
  const classes = new Classes(tables.map(({ name }) => rowClass(name)));
  const read = recordLayout(params).fields.filter(({ spec }) => spec.type.kind !== "sets");
  const getters = read.map(({ spec, offset }) =>
    getter(spec, "static ", `paramsAddress()`, offset, classes.nameFor(spec.type, spec.name)),
  );
  const numbered = [
    { name: "next", doc: "Go on along the path." },
    { name: "drop", doc: "Counted and gone." },
    ...outputs,
  ];
  return [
    `// Generated from the filter.yaml of ${JSON.stringify(kind)}: how it reads its parameters. Do not edit.\n`,
    ...(params.length > 0 ? ['import { paramsAddress } from "pktflow/assembly";\n'] : []),
    classBlock("params", "", getters),
    ...classes.texts,
    classBlock(
      "Outputs",
      "Outputs that always exist; those named by parameters come after them.",
      numbered.map(({ name, doc }, i) => constant(name, "u8", i, doc)),
    ),
    classBlock("Counters", "Indices for counter().", counterMembers(counters)),
    ...(logs.length === 0
      ? []
      : [
          classBlock(
            "Logs",
            "Messages for log().",
            logs.map(({ name, text }, i) => constant(name, "u32", i, text)),
          ),
        ]),
    ...(tables.length === 0 ? [] : tableBlocks(tables)),
  ].join("\n");
}

/** Which table is which, and where in a row its columns lie. */
function tableBlocks(tables: NonNullable<Generated["tables"]>): string[] {
  const numbers = tables.map(({ name, doc }, i) => constant(name, "u32", i, doc));
  const rows = tables.map(({ name, keys, values }) => {
    const { keyBytes, rowBytes } = tableLayout(keys, values.length);
    return classBlock(rowClass(name), `Where the columns of a row of "${name}" lie.`, [
      ...recordLayout(keys).fields.map(({ spec, offset }) => constant(spec.name, "usize", offset, spec.doc)),
      ...values.map((value, i) => constant(value.name, "usize", keyBytes + 8 * i, value.doc)),
      constant("key-bytes", "u32", keyBytes, "Bytes of the key, zeros behind it included."),
      constant("row-bytes", "u32", rowBytes, "Bytes of a row: see Table."),
    ]);
  });
  return [classBlock("Tables", "Indices for Table.open().", numbers), ...rows];
}

function rowClass(table: string): string {
  return `${pascalCase(table)}Row`;
}

/** The classes that a manifest needs, each written once. */
class Classes {
  readonly texts: string[] = [];
  /** Class name by what it looks like; names taken by others. */
  readonly #bySignature = new Map<string, string>();
  readonly #taken = new Set(["params", "Outputs", "Counters", "Logs", "Tables"]);

  constructor(taken: string[]) {
    for (const name of taken) this.#taken.add(name);
  }

  /** The AssemblyScript type of a value of this type; `name` is the parameter's, to call a record or an enum by. */
  nameFor(type: ParamType, name: string): string {
    switch (type.kind) {
      case "bool":
        return "bool";
      case "u8":
      case "code":
      case "output":
        return "u8";
      case "enum":
        this.#define(`enum ${type.values.join()}`, pascalCase(name), (own) =>
          classBlock(
            own,
            `Words of "${name}".`,
            type.values.map((word, i) => constant(word, "u8", i)),
          ),
        );
        return "u8";
      case "u16":
      case "port":
        return "u16";
      case "u32":
      case "ipv4":
        return "u32";
      case "i32":
        return "i32";
      case "u64":
      case "duration":
      case "size":
        return "u64";
      case "f64":
        return "f64";
      case "ipv6":
      case "mac":
        return "usize";
      case "sets":
        throw new RangeError("sets are not encoded");
      case "string":
      case "domains":
        return this.#define("string", "Text", (own) =>
          unmanaged(own, "UTF-8 bytes.", [
            view("address", "usize", "<usize>load<u32>", REFERENCE.ADDRESS),
            view("length", "u32", "load<u32>", REFERENCE.COUNT),
          ]),
        );
      case "port-range":
        return this.#define("port-range", "PortRange", (own) =>
          unmanaged(own, "Both ends included.", [
            view("first", "u16", "load<u16>", PORT_RANGE.FIRST),
            view("last", "u16", "load<u16>", PORT_RANGE.LAST),
            `@inline has(port: u16): bool { return port >= this.first && port <= this.last; }`,
          ]),
        );
      case "rate":
        this.#define("rate unit", "RateUnit", (own) =>
          classBlock(
            own,
            "What a Rate counts.",
            RATE_UNITS.map((unit, i) => constant(unit, "u8", i)),
          ),
        );
        return this.#define("rate", "Rate", (own) =>
          unmanaged(own, "Bits or packets a second.", [
            view("value", "u64", "load<u64>", RATE.VALUE),
            view("unit", "u8", "load<u8>", RATE.UNIT),
          ]),
        );
      case "ip":
        return this.#define("ip", "Ip", (own) =>
          unmanaged(own, "16 bytes at `address`, an IPv4 address as ::ffff:a.b.c.d.", [
            at("address", IP.ADDRESS),
            view("family", "u8", "load<u8>", IP.FAMILY, "4 or 6; 0: not given."),
          ]),
        );
      case "prefix":
      case "interface-address":
        return this.#define("prefix", "Prefix", (own) =>
          unmanaged(own, "16 bytes at `address`, an IPv4 address as ::ffff:a.b.c.d.", [
            at("address", PREFIX.ADDRESS),
            view(
              "length",
              "u8",
              "load<u8>",
              PREFIX.LENGTH,
              "0 to 128; of an IPv4 prefix, 96 more than written.",
            ),
            view("family", "u8", "load<u8>", PREFIX.FAMILY, "4 or 6; 0: not given."),
          ]),
        );
      case "action":
        return this.#define("action", "Action", (own) =>
          unmanaged(own, "An output, or a mark to be set.", [
            view("output", "u8", "load<u8>", ACTION.OUTPUT),
            view("isMark", "bool", "0 != load<u8>", ACTION.IS_MARK),
            view("mark", "u32", "load<u32>", ACTION.MARK),
          ]),
        );
      case "list":
        return this.#list(type.of, name);
      case "record":
        return this.#record(type.fields, name);
    }
  }

  #list(of: ParamType, name: string): string {
    const element = this.nameFor(of, singular(name));
    const signature = `list ${of.kind} ${element}`;
    return this.#define(signature, `${pascalCase(of.kind === "record" ? element : of.kind)}List`, (own) => {
      const { size } = layoutOf(of);
      const address = `<usize>load<u32>(changetype<usize>(this), ${REFERENCE.ADDRESS}) + <usize>i * ${size}`;
      return unmanaged(own, "", [
        view("length", "i32", "load<i32>", REFERENCE.COUNT),
        `/** The index is not checked. */\n  @inline at(i: i32): ${element} { return ${read(of, element, address, 0)}; }`,
      ]);
    });
  }

  #record(fields: ParamSpec[], name: string): string {
    const layout = recordLayout(fields);
    return this.#define(`record ${JSON.stringify(fields)}`, pascalCase(name), (own) =>
      unmanaged(
        own,
        "",
        layout.fields.map(({ spec, offset }) =>
          getter(spec, "", "changetype<usize>(this)", offset, this.nameFor(spec.type, spec.name)),
        ),
      ),
    );
  }

  /** The name of the class with this signature; written first if there is none, under a name that is still free. */
  #define(signature: string, wanted: string, write: (name: string) => string): string {
    const existing = this.#bySignature.get(signature);
    if (existing !== undefined) return existing;
    let name = wanted;
    for (let i = 2; this.#taken.has(name); i++) name = wanted + i;
    this.#taken.add(name);
    this.#bySignature.set(signature, name);
    this.texts.push(write(name));
    return name;
  }
}

function getter(spec: ParamSpec, modifier: string, base: string, offset: number, type: string): string {
  const body = `{ return ${read(spec.type, type, base, offset)}; }`;
  return `${comment(spec.doc)}@inline ${modifier}get ${identifier(spec.name)}(): ${type} ${body}`;
}

/** An expression for the value at base + offset. */
function read(type: ParamType, asType: string, base: string, offset: number): string {
  const place = offset === 0 ? base : `${base} + ${offset}`;
  switch (type.kind) {
    case "ipv6":
    case "mac":
      return place;
    // In host order, as the views of assembly/wire give addresses.
    case "ipv4":
      return `bswap<u32>(load<u32>(${base}, ${offset}))`;
    case "bool":
      return `load<u8>(${base}, ${offset}) != 0`;
    case "string":
    case "domains":
    case "port-range":
    case "rate":
    case "ip":
    case "prefix":
    case "interface-address":
    case "action":
    case "list":
    case "record":
      return `changetype<${asType}>(${place})`;
    default:
      return `load<${asType}>(${base}, ${offset})`;
  }
}

function view(name: string, type: string, load: string, offset: number, doc = ""): string {
  return `${comment(doc)}@inline get ${name}(): ${type} { return ${load}(changetype<usize>(this), ${offset}); }`;
}

function at(name: string, offset: number): string {
  return `@inline get ${name}(): usize { return changetype<usize>(this) + ${offset}; }`;
}

function constant(name: string, type: string, value: number, doc = ""): string {
  return `${comment(doc)}@inline static readonly ${camelCase(name)}: ${type} = ${value};`;
}

/** Runs of counters (`each`) come last; where a second run begins depends on how long the first one is. */
function counterMembers(counters: Generated["counters"]): string[] {
  let lengths = "";
  return counters.map(({ name, doc, each }, i) => {
    if (lengths === "") {
      if (each !== undefined) lengths = ` + params.${identifier(each)}.length`;
      return constant(name, "u32", i, doc);
    }
    const runs = lengths.split(" + ").length - 1;
    const value = `${i - runs}${lengths}`;
    if (each !== undefined) lengths += ` + params.${identifier(each)}.length`;
    return `${comment(doc)}@inline static get ${identifier(name)}(): u32 { return ${value}; }`;
  });
}

function classBlock(name: string, doc: string, members: string[], decorator = ""): string {
  const body = members.map((member) => `  ${member}\n`).join("");
  return `${comment(doc, "")}${decorator}export class ${name} {\n${body}}\n`;
}

function unmanaged(name: string, doc: string, members: string[]): string {
  return classBlock(name, doc, members, "@unmanaged\n");
}

/** A doc comment of one line, whatever the manifest's author wrote. */
function comment(doc: string, indent = "  "): string {
  const line = doc.replaceAll("*/", "* /").replace(/\s+/g, " ").trim();
  return line === "" ? "" : `/** ${line} */\n${indent}`;
}

/** min-ttl -> minTtl: what a constant may be called. */
function camelCase(name: string): string {
  const camel = name.replace(/[^A-Za-z0-9]+(.?)/g, (_, next: string) => next.toUpperCase());
  return /^[0-9]/.test(camel) || camel === "constructor" ? `_${camel}` : camel;
}

/** What a getter may be called: the parser takes none of these words there, so they get an underscore behind them. */
function identifier(name: string): string {
  const camel = camelCase(name);
  return NO_GETTERS.has(camel) ? `${camel}_` : camel;
}

function pascalCase(name: string): string {
  const camel = camelCase(name);
  return camel[0].toUpperCase() + camel.slice(1);
}

/** What one of several is called: rules -> Rule, "addresses" and others that are no plain plurals keep their name. */
function singular(name: string): string {
  return /[^s]s$/.test(name) && name.length > 3 ? name.slice(0, -1) : name;
}

const NO_GETTERS = new Set(
  (
    "async await break case catch class const continue debugger default do else enum export extends false finally " +
    "function if implements import in instanceof interface let new of override package private protected public " +
    "return static super switch this throw true try typeof var void while with yield"
  ).split(" "),
);
