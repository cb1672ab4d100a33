/**
 * Lists of parameters that stand in files of their own: `routes: { file: table.txt }`, or `{ file: table.txt }` among a
 * list's elements. A line is an element; of a record, its fields in the manifest's order, with blanks between. What comes
 * after a # is a comment, and empty lines are passed over. Paths are relative to the pipeline's file.
 */
import { dirname, isAbsolute, join } from "node:path";
import type { ParamSpec } from "../params/types.ts";
import { ConfigError, type Diagnostics } from "./diagnostics.ts";
import { typed } from "./lines.ts";
import { readText } from "./manifest.ts";
import { Source, type Span } from "./source.ts";
import { describe, type Entry, type MapNode, type Node, type ScalarNode } from "./tree.ts";

const KEY = "file";

/** The map with every list that names files replaced by what they hold; what cannot be read is reported. */
export function expandFiles(
  map: MapNode,
  specs: ParamSpec[],
  { pipelineFile, onlyFiles }: { pipelineFile: string; onlyFiles?: boolean },
  diagnostics: Diagnostics,
): MapNode {
  const open = (path: string): Source => {
    const file = isAbsolute(path) ? path : join(dirname(pipelineFile), path);
    return new Source(file, readText(file, onlyFiles));
  };
  const entries = map.entries.map((found): Entry => {
    const spec = specs.find(({ name }) => name === found.key);
    if (spec?.type.kind !== "list") return found;
    const { of } = spec.type;
    // A record that has such a field of its own means that.
    if (of.kind === "record" && of.fields.some(({ name }) => name === KEY)) return found;
    const fields = of.kind === "record" ? of.fields.map(({ name }) => name) : undefined;
    const read = (node: Node) => readLines(node, fields, open, diagnostics);
    if (isFile(found.value))
      return { ...found, value: { kind: "list", items: read(found.value), span: found.value.span } };
    if (found.value.kind !== "list" || !found.value.items.some(isFile)) return found;
    const items: Node[] = [];
    for (const item of found.value.items) {
      if (!isFile(item)) items.push(item);
      else for (const node of read(item)) items.push(node);
    }
    return { ...found, value: { ...found.value, items } };
  });
  return { ...map, entries };
}

function isFile(node: Node): boolean {
  return node.kind === "map" && node.entries.length === 1 && node.entries[0].key === KEY;
}

function readLines(
  node: Node,
  fields: string[] | undefined,
  open: (path: string) => Source,
  diagnostics: Diagnostics,
): Node[] {
  const { value } = (node as MapNode).entries[0];
  if (value.kind !== "scalar" || typeof value.value !== "string") {
    diagnostics.error(value.span, "wrong-type", `file wants the path of a file, has ${describe(value)}`);
    return [];
  }
  let source: Source;
  try {
    source = open(value.value);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const { message } of error.diagnostics) diagnostics.error(value.span, "cannot-read", message);
    return [];
  }
  const nodes: Node[] = [];
  const { text } = source;
  for (let at = 0; at < text.length; ) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const [start, stop] = trimmed(text, at, end);
    if (stop > start) nodes.push(fields ? new Line(source, start, stop, fields) : word(source, start, stop));
    at = end + 1;
  }
  return nodes;
}

/** A line without its comment and the blanks around it. */
function trimmed(text: string, start: number, end: number): [number, number] {
  for (let at = start; at < end; at++) {
    // As in YAML, a # begins a comment at the start or behind a blank.
    if (text.charCodeAt(at) === HASH && (at === start || isBlank(text.charCodeAt(at - 1)))) end = at;
  }
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return [start, end];
}

const HASH = 0x23;
function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0d;
}

function word(source: Source, start: number, end: number): ScalarNode {
  return { kind: "scalar", value: typed(source.text.slice(start, end)), span: { source, start, end } };
}

/** A record that is read from its line each time: a million of them kept would be millions of objects. */
class Line implements MapNode {
  readonly kind = "map";
  readonly #source: Source;
  readonly #start: number;
  readonly #end: number;
  readonly #fields: string[];

  constructor(source: Source, start: number, end: number, fields: string[]) {
    this.#source = source;
    this.#start = start;
    this.#end = end;
    this.#fields = fields;
  }

  get span(): Span {
    return { source: this.#source, start: this.#start, end: this.#end };
  }

  get entries(): Entry[] {
    const { text } = this.#source;
    const entries: Entry[] = [];
    for (let at = this.#start; at < this.#end; ) {
      let end = at;
      while (end < this.#end && !isBlank(text.charCodeAt(end))) end++;
      const value = word(this.#source, at, end);
      // One word too many has a key that no record has, and is refused at its place.
      entries.push({ key: this.#fields[entries.length] ?? text.slice(at, end), keySpan: value.span, value });
      at = end;
      while (at < this.#end && isBlank(text.charCodeAt(at))) at++;
    }
    return entries;
  }
}
