/** The `filters` section: ids to checked FilterConfigs, each with the manifest of its kind. */
import { readdirSync, statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { mayNameOutput, NAME, namedOutputs, parseParam } from "../params/parse.ts";
import { closest } from "../params/suggest.ts";
import type { ParamSpec, ParamType, ParamValue, ParamValues } from "../params/types.ts";
import { contradictions } from "./contradictions/index.ts";
import { ConfigError, type Diagnostics } from "./diagnostics.ts";
import { expandFiles } from "./list-files.ts";
import { HOST_KEYS, loadManifest, readText } from "./manifest.ts";
import { asMap, checkParams, namedEntries, readKind } from "./shape.ts";
import type { Span } from "./source.ts";
import { type Entry, entry, type MapNode, type Node, plain, spanAt } from "./tree.ts";
import type { FilterConfig, Isolation, Manifest, OnTrap } from "./types.ts";
import { warningsOf } from "./warnings/index.ts";

/** Descriptors number outputs in a byte. */
const MOST_OUTPUTS = 256;
/** The last two mean something else in a filter that holds packets: OUTPUT_HOLD and OUTPUT_FINISH. */
const MOST_OUTPUTS_HOLDING = 254;
const HOST_SPECS: Record<"on-trap" | "isolation", ParamSpec> = {
  "on-trap": {
    name: "on-trap",
    type: { kind: "enum", values: ["drop", "pass", "stop"] },
    doc: "What becomes of a packet at which the filter traps, and of its packets while it is paused for that: dropped, let by unfiltered, or the run ends.",
    default: "drop",
  },
  isolation: {
    name: "isolation",
    type: { kind: "enum", values: ["none", "memory"] },
    doc: "none: the filter shares the pipeline's memory with the others; memory: it has one of its own, and packets are copied in and out. The filter's manifest says which unless this does.",
    default: null,
  },
};
export const hostSpecs: ParamSpec[] = Object.values(HOST_SPECS);

/** A filter that paths can refer to, whether its own entry is right or not. */
export interface FilterSymbol {
  id: string;
  keySpan: Span;
  /** undefined: something is wrong with it, and has been reported. */
  config: FilterConfig | undefined;
  /** Where its parameters first name each output: looked for when a diagnostic asks. */
  outputSpans: () => Map<string, Span>;
  /** Where a parameter, or a part of it, stands. */
  spanOf: (path: (string | number)[]) => Span;
  used: boolean;
}

/** Where filters are: the pipeline's file for the user's own, and the folder of the built-in ones. */
export interface FilterPlaces {
  pipelineFile: string;
  filtersDirectory: string;
  /** As of LoadOptions. */
  onlyFiles?: boolean;
}

export function readFilters(
  node: Node,
  places: FilterPlaces,
  diagnostics: Diagnostics,
): Map<string, FilterSymbol> {
  const filters = new Map<string, FilterSymbol>();
  const map = asMap(node, "filters", diagnostics);
  if (!map) return filters;
  const manifests = new Map<string, Manifest | undefined>();
  for (const found of namedEntries(map, "filter", diagnostics)) {
    filters.set(found.key, readFilter(found, places, manifests, diagnostics));
  }
  if (diagnostics.onWarning) warn(filters, diagnostics);
  return filters;
}

/** Says what of the filters is allowed but hardly meant. */
function warn(filters: Map<string, FilterSymbol>, diagnostics: Diagnostics): void {
  const read = [...filters.values()].flatMap(({ id, config }) =>
    config ? { id, kind: config.manifest.kind, params: config.params } : [],
  );
  for (const filter of read) {
    for (const { code, path, message, other } of warningsOf(filter, read)) {
      const { source, start } = filters.get(other.filter)!.spanOf(other.path);
      const where = `${source.file}:${source.locate(start).line}`;
      diagnostics.warn(
        filters.get(filter.id)!.spanOf(path),
        code,
        `filter "${filter.id}": ${message(where)}`,
      );
    }
  }
}

/** Kinds of the built-in filters: the folders that have a filter.yaml. */
export function listFilters(directory: string): string[] {
  const folders = readdirSync(directory, { withFileTypes: true }).filter((found) => found.isDirectory());
  return folders
    .map((folder) => folder.name)
    .filter((name) => NAME.test(name) && isFile(join(directory, name, "filter.yaml")))
    .sort();
}

function readFilter(
  { key, keySpan, value }: Entry,
  places: FilterPlaces,
  manifests: Map<string, Manifest | undefined>,
  diagnostics: Diagnostics,
): FilterSymbol {
  const who = `filter ${JSON.stringify(key)}`;
  const symbol: FilterSymbol = {
    id: key,
    keySpan,
    config: undefined,
    outputSpans: () => new Map(),
    spanOf: () => keySpan,
    used: false,
  };
  const map = asMap(value, who, diagnostics);
  if (!map) return symbol;
  const onTrap = readHostKey(map, "on-trap", who, diagnostics) as OnTrap | undefined;
  const isolation = readHostKey(map, "isolation", who, diagnostics) as Isolation | undefined;
  const found = readKind(map, who, keySpan, diagnostics);
  if (!found) return symbol;
  const { name: kind, span } = found;
  if (!manifests.has(kind)) manifests.set(kind, findManifest(kind, who, span, places, diagnostics));
  const manifest = manifests.get(kind);
  if (!manifest) return symbol;
  const whole = expandFiles(map, manifest.params, places, diagnostics);
  const params = checkParams(whole, HOST_KEYS, manifest.params, who, keySpan, diagnostics, (path) => {
    const file = isAbsolute(path) ? path : join(dirname(places.pipelineFile), path);
    try {
      return { name: file, text: readText(file, places.onlyFiles) };
    } catch (error) {
      throw error instanceof ConfigError ? new Error(error.diagnostics[0].message) : error;
    }
  });
  if (!params || !onTrap) return symbol;
  for (const { path, message } of contradictions(kind, params)) {
    diagnostics.error(spanAt(whole, path), "contradiction", `${who}: ${message}`);
  }
  if (isolation === "none" && manifest.isolation === "memory") {
    const message = `${who}: isolation: none is not for this filter, which needs a memory of its own`;
    diagnostics.error(entry(map, "isolation")!.value.span, "contradiction", message);
  }
  const { holds } = manifest;
  if (
    (isolation ?? manifest.isolation) === "memory" &&
    (typeof holds === "number" ? holds : params[holds]) !== 0
  ) {
    const unless = typeof holds === "number" ? "" : `, as it does with ${holds}: ${params[holds]}`;
    const message = `${who}: isolation: memory is not for a filter that holds packets${unless}`;
    diagnostics.error(entry(map, "isolation")?.value.span ?? keySpan, "contradiction", message);
  }
  if ((isolation ?? manifest.isolation) === "memory" && manifest.tables !== undefined) {
    const message = `${who}: isolation: memory is not for a filter that keeps tables for the report`;
    diagnostics.error(entry(map, "isolation")?.value.span ?? keySpan, "contradiction", message);
  }
  const outputs = ["next", "drop", ...manifest.outputs.map((output) => output.name)];
  for (const name of namedOutputs(manifest.params, params)) if (!outputs.includes(name)) outputs.push(name);
  const most = manifest.holds === 0 ? MOST_OUTPUTS : MOST_OUTPUTS_HOLDING;
  if (outputs.length > most) {
    diagnostics.error(keySpan, "out-of-range", `${who} has ${outputs.length} outputs, ${most} is the most`);
  }
  const counters = expandCounters(manifest, params);
  const second = secondOfName(manifest, params);
  const twice = duplicate(counters);
  if (second !== undefined)
    diagnostics.error(spanAt(whole, second.path), "duplicate-name", `${who} has ${second.what}`);
  else if (twice !== undefined)
    diagnostics.error(keySpan, "duplicate-name", `${who} has two counters called ${JSON.stringify(twice)}`);
  symbol.outputSpans = () => outputSpans(manifest.params, whole);
  symbol.spanOf = (path) => spanAt(whole, path);
  symbol.config = {
    id: key,
    manifest,
    params,
    onTrap,
    isolation: isolation ?? manifest.isolation ?? "none",
    outputs,
    counters,
  };
  return symbol;
}

function readHostKey(map: MapNode, name: "on-trap" | "isolation", who: string, diagnostics: Diagnostics) {
  const found = entry(map, name);
  if (!found) return HOST_SPECS[name].default;
  const parsed = parseParam(HOST_SPECS[name], plain(found.value));
  if ("value" in parsed) return parsed.value;
  for (const { code, message, suggestion } of parsed.problems) {
    diagnostics.error(found.value.span, code, `${who}: ${message}`, suggestion);
  }
  return undefined;
}

function isPathKind(kind: string): boolean {
  return /^\.{0,2}\//.test(kind);
}

function findManifest(
  kind: string,
  who: string,
  span: Span,
  { pipelineFile, filtersDirectory, onlyFiles }: FilterPlaces,
  diagnostics: Diagnostics,
): Manifest | undefined {
  const isPath = isPathKind(kind);
  if (!isPath) {
    const known = listFilters(filtersDirectory);
    if (!known.includes(kind)) {
      const message = `${who}: there is no filter kind ${JSON.stringify(kind)}`;
      diagnostics.error(span, "unknown-kind", message, closest(kind, known));
      return undefined;
    }
  }
  const location = !isPath
    ? join(filtersDirectory, kind)
    : isAbsolute(kind)
      ? kind
      : join(dirname(pipelineFile), kind);
  try {
    if (location.endsWith(".wasm") && !isFile(location)) {
      diagnostics.error(span, "unknown-kind", `${who}: open ${location}: ENOENT: there is no such file`);
      return undefined;
    }
    return loadManifest(location, kind, onlyFiles);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    for (const diagnostic of error.diagnostics) {
      if (diagnostic.line > 0) diagnostics.add(diagnostic);
      else diagnostics.error(span, "unknown-kind", `${who}: ${diagnostic.message}`);
    }
    return undefined;
  }
}

/** Names in the order of their numbers; an element's counter is NAME.<its name, or its index>. */
function expandCounters({ counters }: Manifest, params: ParamValues): string[] {
  return counters.flatMap(({ name, each }) => {
    if (each === undefined) return [name];
    const elements = (params[each] ?? []) as ParamValue[];
    return elements.map((element, i) => `${name}.${(element as { name?: string }).name || i}`);
  });
}

/** The first element of a counted list that has the name of one before it. */
function secondOfName({ counters }: Manifest, params: ParamValues) {
  for (const { each } of counters) {
    if (each === undefined) continue;
    const names = ((params[each] ?? []) as { name?: string }[]).map(({ name }) => name || undefined);
    const seen = new Set<string>();
    for (const [i, name] of names.entries()) {
      if (name === undefined) continue;
      if (seen.has(name))
        return { path: [each, i, "name"], what: `two ${each} called ${JSON.stringify(name)}` };
      seen.add(name);
    }
  }
  return undefined;
}

function duplicate(names: string[]): string | undefined {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) return name;
    seen.add(name);
  }
  return undefined;
}

function outputSpans(specs: ParamSpec[], map: MapNode): Map<string, Span> {
  const spans = new Map<string, Span>();
  const visit = (type: ParamType, node: Node): void => {
    if (type.kind === "list")
      for (const item of node.kind === "list" ? node.items : [node]) visit(type.of, item);
    if (type.kind === "record" && node.kind === "map") {
      for (const { key, value } of node.entries) {
        const field = type.fields.find(({ name }) => name === key);
        if (field && mayNameOutput(field.type)) visit(field.type, value);
      }
    }
    const isOutput = type.kind === "output" || type.kind === "action";
    if (isOutput && node.kind === "scalar" && !spans.has(String(node.value))) {
      spans.set(String(node.value), node.span);
    }
  };
  visit({ kind: "record", fields: specs }, map);
  return spans;
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}
