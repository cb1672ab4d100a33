/**
 * YAML text in, tree of positioned nodes out. The only importer of `yaml`. What the parser objects to, warnings included,
 * becomes diagnostics; anchors, aliases and merge keys (<<) are resolved.
 */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  type Node as YamlNode,
  Scalar as YamlScalar,
} from "yaml";
import { Diagnostics } from "./diagnostics.ts";
import { cutRuns, type Run, runNodes, typed } from "./lines.ts";
import type { Source, Span } from "./source.ts";
import type { Entry, MapNode, Node, Scalar } from "./tree.ts";
import {
  brokenReference,
  type Disguised,
  disguise,
  type Environment,
  hasReference,
  substitute,
} from "./variables.ts";

/** A few aliases of aliases can stand for billions of nodes: this many beside those in the text are enough. */
const MOST_ALIASED = 100_000;
const BROKEN_REFERENCE = `a variable is written \${NAME} or \${NAME:-default}`;

/**
 * Reads one YAML document, or the part of the source that `range` says (a --set option's value).
 * Returns undefined when the text is empty or so broken that its structure cannot be trusted.
 */
export function readDocument(
  source: Source,
  environment: Environment,
  diagnostics: Diagnostics,
  range: { start: number; end: number } = { start: 0, end: source.text.length },
): Node | undefined {
  // The byte order mark is not part of YAML's content, but offsets count it.
  const mark = source.text.charCodeAt(range.start) === 0xfeff ? 1 : 0;
  const start = range.start + mark;
  const disguised = disguise(source.text.slice(start, range.end));
  const cut = cutRuns(disguised.text);
  if (cut.runs.size > 0) {
    const document = parse(cut.text);
    if (document.errors.length + document.warnings.length === 0 && document.contents) {
      const attempt = new Diagnostics();
      const converter = new Converter(source, start, document, disguised, environment, attempt, cut.runs);
      const root = converter.convert(document.contents);
      if (attempt.empty && !converter.tooLarge && converter.runsLeft === 0) return root;
    }
  }
  const document = parse(disguised.text);
  let structural = false;
  let lost = false;
  for (const { code, message, pos } of [...document.errors, ...document.warnings]) {
    // Once the parser has lost the structure, it objects to every token that is left.
    if (code === "UNEXPECTED_TOKEN" && lost) continue;
    lost ||= code === "UNEXPECTED_TOKEN";
    structural ||= code !== "DUPLICATE_KEY";
    const [from, to] = pos;
    const key = code === "DUPLICATE_KEY" ? /^[^\s:,]*/.exec(disguised.text.slice(from))![0] : "";
    const span = { source, start: start + from, end: start + Math.max(to, from + 1, from + key.length) };
    const what = key === "" ? disguised.reveal(message) : `${JSON.stringify(key)} is there twice`;
    diagnostics.error(span, code.toLowerCase().replaceAll("_", "-"), what);
  }
  if (structural || !document.contents) return undefined;
  const converter = new Converter(source, start, document, disguised, environment, diagnostics, new Map());
  const root = converter.convert(document.contents);
  return converter.tooLarge ? undefined : root;
}

function parse(text: string) {
  return parseDocument(text, { prettyErrors: false, lineCounter: new LineCounter(), version: "1.2" });
}

class Converter {
  #source: Source;
  #start: number;
  #document: Document;
  #disguised: Disguised;
  #environment: Environment;
  #diagnostics: Diagnostics;
  /** What lines.ts took out and no list has got back yet. */
  #runs: Map<number, Run>;
  /** Finished nodes with the number of nodes that they stand for. */
  #done = new Map<YamlNode, { node: Node; weight: number }>();
  #open = new Set<YamlNode>();
  #weight = 0;
  #tooMany = false;

  constructor(
    source: Source,
    start: number,
    document: Document,
    disguised: Disguised,
    environment: Environment,
    diagnostics: Diagnostics,
    runs: Map<number, Run>,
  ) {
    this.#runs = new Map(runs);
    this.#source = source;
    this.#start = start;
    this.#document = document;
    this.#disguised = disguised;
    this.#environment = environment;
    this.#diagnostics = diagnostics;
  }

  convert(node: YamlNode | null): Node {
    if (!node) return this.#nothing(this.#span(0, 0));
    if (isAlias(node)) return this.#alias(node);
    const finished = this.#done.get(node);
    if (finished) {
      this.#count(node, finished.weight);
      return finished.node;
    }
    const before = this.#weight;
    this.#count(node, 1);
    this.#open.add(node);
    const converted = this.#fresh(node);
    this.#open.delete(node);
    this.#done.set(node, { node: converted, weight: this.#weight - before });
    return converted;
  }

  #fresh(node: YamlNode): Node {
    const span = this.#spanOf(node);
    if (isMap(node)) return this.#map(node.items as Pair<YamlNode, YamlNode | null>[], span);
    if (isSeq(node)) {
      return { kind: "list", items: (node.items as YamlNode[]).flatMap((item) => this.#items(item)), span };
    }
    if (isScalar(node)) return { kind: "scalar", value: this.#scalar(node, span), span };
    throw new TypeError(`yaml gave a node that is none of map, list, scalar and alias at ${span.start}`);
  }

  /** An element of a list, or the run of elements that it stands for. */
  #items(item: YamlNode): Node | Node[] {
    const run = isScalar(item) && item.source === "0" ? this.#runs.get(item.range?.[0] ?? -1) : undefined;
    if (!run) return this.convert(item);
    this.#runs.delete(run.starts[0]);
    this.#weight += run.starts.length;
    return runNodes(run, this.#source, this.#start);
  }

  get runsLeft(): number {
    return this.#runs.size;
  }

  #alias(alias: Alias): Node {
    const target = alias.resolve(this.#document);
    if (!target || this.#open.has(target)) {
      const message = target ? "an alias inside of what it stands for" : `no anchor named ${alias.source}`;
      this.#diagnostics.error(this.#spanOf(alias), "bad-alias", message);
      return this.#nothing(this.#spanOf(alias));
    }
    return this.convert(target);
  }

  #map(pairs: Pair<YamlNode, YamlNode | null>[], span: Span): MapNode {
    const entries: Entry[] = [];
    const merged: Entry[] = [];
    for (const { key, value } of pairs) {
      const keySpan = this.#spanOf(key);
      if (isScalar(key) && key.source === "<<" && key.type === YamlScalar.PLAIN) {
        merged.push(...this.#merge(this.convert(value), keySpan));
        continue;
      }
      const name = isScalar(key) ? this.#disguised.reveal(key.source ?? String(key.value ?? "")) : undefined;
      if (name === undefined) {
        this.#diagnostics.error(keySpan, "wrong-type", "a key must be a plain word");
        continue;
      }
      const node = value ? this.convert(value) : this.#nothing(keySpan);
      // yaml has reported the second of two equal keys; the first one stands.
      if (!entries.some((other) => other.key === name)) entries.push({ key: name, keySpan, value: node });
    }
    for (const entry of merged) {
      if (!entries.some((other) => other.key === entry.key)) entries.push(entry);
    }
    return { kind: "map", entries, span };
  }

  /** YAML 1.1's merge key: a map, or a list of maps of which the earlier ones win. */
  #merge(node: Node, span: Span): Entry[] {
    const maps = node.kind === "list" ? node.items : [node];
    return maps.flatMap((map) => {
      if (map.kind === "map") return map.entries;
      this.#diagnostics.error(span, "wrong-type", "<< wants an alias of a map, or a list of them");
      return [];
    });
  }

  #scalar(scalar: YamlScalar, span: Span): Scalar {
    const { value } = scalar;
    if (typeof value !== "string") {
      if (value === null || typeof value === "boolean" || typeof value === "number") return value;
      return String(value);
    }
    const text = this.#disguised.reveal(value);
    if (!hasReference(text)) return text;
    if (brokenReference(text)) {
      this.#diagnostics.error(span, "bad-variable", BROKEN_REFERENCE);
      this.#diagnostics.settle(span);
      return text;
    }
    const replaced = substitute(text, this.#environment);
    for (const name of replaced.missing) {
      const message = `\${${name}} is not set in the environment and has no default (\${${name}:-...})`;
      this.#diagnostics.error(this.#within(span, `\${${name}}`), "undefined-variable", message);
    }
    if (replaced.missing.length > 0) this.#diagnostics.settle(span);
    return scalar.type === YamlScalar.PLAIN ? typed(replaced.text) : replaced.text;
  }

  /** The part of a span where a text stands, if it stands there as it is. */
  #within(span: Span, text: string): Span {
    const at = this.#source.text.slice(span.start, span.end).indexOf(text);
    return at < 0 ? span : { ...span, start: span.start + at, end: span.start + at + text.length };
  }

  #count(node: YamlNode, weight: number): void {
    this.#weight += weight;
    // A node takes a character at least.
    if (this.#weight <= this.#disguised.text.length + MOST_ALIASED || this.#tooMany) return;
    this.#tooMany = true;
    const message = `aliases stand for more than ${MOST_ALIASED} values`;
    this.#diagnostics.error(this.#spanOf(node), "too-large", message);
  }

  get tooLarge(): boolean {
    return this.#tooMany;
  }

  #nothing(span: Span): Node {
    return { kind: "scalar", value: null, span };
  }

  #spanOf(node: YamlNode): Span {
    const [from, to] = node.range ?? [0, 0];
    return this.#span(from, to);
  }

  #span(from: number, to: number): Span {
    return { source: this.#source, start: this.#start + from, end: this.#start + to };
  }
}
