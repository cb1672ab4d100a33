/** A filter's filter.yaml -> Manifest: what the filter says of itself, checked as strictly as a pipeline is. */
import { readFileSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { NAME } from "../params/parse.ts";
import { readSize } from "../params/quantities.ts";
import type { ParamSpec } from "../params/types.ts";
import { ConfigError, Diagnostics } from "./diagnostics.ts";
import { readDocument } from "./document.ts";
import { readSpecs } from "./paramspec.ts";
import { readyManifest } from "./ready-manifest.ts";
import { NotRegular, readRegularFile } from "./regular-file.ts";
import { asItems, asMap, asText, namedEntries, unknownKeys } from "./shape.ts";
import { Source } from "./source.ts";
import { readTables } from "./tables.ts";
import { describe, type Entry, entry, type MapNode, type Node, plain, spanAt } from "./tree.ts";
import type { Conversion, Manifest } from "./types.ts";

const KEYS = [
  ...["summary", "params", "outputs", "counters", "state", "holds", "super-packets", "converts"],
  ...["isolation", "logs", "tables"],
];
/** Most packets that a manifest may ask for; an io_uring has no more entries. */
export const MOST_HELD = 16_384;
/** This file and the manifests that are ready are of one build; from its source (in tests), it may know better. */
const IS_BUILT = !import.meta.url.endsWith(".ts");
/** Keys of a filter in a pipeline that belong to the host. */
export const HOST_KEYS = ["kind", "on-trap", "isolation"];
/** Outputs that every filter has, and the word that stands for one of them. */
const RESERVED_OUTPUTS = ["next", "drop", "accept"];

/**
 * The manifest of the filter at `location`: a folder with filter.yaml, or a built NAME.wasm with NAME.yaml or, failing
 * that, filter.yaml beside it. Throws ConfigError, also for what cannot be read (with errno's name).
 * @param onlyFiles as of readText()
 */
export function loadManifest(location: string, kind = location, onlyFiles = false): Manifest {
  const file = manifestFile(location);
  const text = readText(file, onlyFiles);
  const identity = { kind, location: resolve(location) };
  const ready = IS_BUILT ? readyManifest(text, kind, identity.location) : undefined;
  return ready ?? parseManifest(text, file, identity);
}

/** A manifest's text; `file` is what diagnostics call it. Throws ConfigError with everything that is wrong. */
export function parseManifest(
  text: string,
  file: string,
  identity: { kind: string; location: string },
): Manifest {
  const diagnostics = new Diagnostics();
  const source = new Source(file, text);
  const root = readDocument(source, {}, diagnostics);
  const whole = { source, start: 0, end: 0 };
  if (!root && diagnostics.empty) diagnostics.error(whole, "missing", "the manifest is empty");
  const map = root && asMap(root, "a manifest", diagnostics);
  const manifest = map && readManifest(map, identity, diagnostics);
  if (!manifest || !diagnostics.empty) throw new ConfigError(diagnostics.sorted());
  return manifest;
}

/**
 * A text file's content; what goes wrong is a ConfigError that names the file and errno.
 * @param onlyFiles refuses what cannot be read again, or may wait: FIFOs, devices
 */
export function readText(file: string, onlyFiles = false): string {
  try {
    if (!onlyFiles && statSync(file).isDirectory()) throw Object.assign(new Error(), { code: "EISDIR" });
    const bytes = onlyFiles ? readRegularFile(file) : readFileSync(file);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    const diagnostics = new Diagnostics();
    diagnostics.failed(file, "cannot-read", `open ${file}: ${whyNotRead(error)}`);
    throw new ConfigError(diagnostics.sorted());
  }
}

function whyNotRead(error: unknown): string {
  const { code } = error as { code?: string };
  if (error instanceof NotRegular) return `${error.message}, and not a file that can be read again`;
  if (code === "ENOENT") return "ENOENT: there is no such file";
  if (code === "EISDIR") return "EISDIR: it is a directory";
  if (code === "EACCES") return "EACCES: reading it is not permitted";
  if (code === "ERR_ENCODING_INVALID_ENCODED_DATA") return "it is not UTF-8 text";
  return `${code ?? "failed"}: ${(error as Error).message}`;
}

function manifestFile(location: string): string {
  if (!location.endsWith(".wasm")) return join(location, "filter.yaml");
  const named = location.replace(/\.wasm$/, ".yaml");
  const beside = join(dirname(location), "filter.yaml");
  const found = [named, beside].find((file) => statSync(file, { throwIfNoEntry: false })?.isFile());
  if (found !== undefined || statSync(location, { throwIfNoEntry: false }) === undefined)
    return found ?? beside;
  const diagnostics = new Diagnostics();
  const wants = `${location} says nothing of its parameters and outputs: write ${named}, in the format of a filter.yaml`;
  diagnostics.failed(named, "cannot-read", wants);
  throw new ConfigError(diagnostics.sorted());
}

function readManifest(
  map: MapNode,
  { kind, location }: { kind: string; location: string },
  diagnostics: Diagnostics,
): Manifest {
  unknownKeys(map, KEYS, "the manifest", diagnostics);
  const summary = entry(map, "summary");
  if (!summary) diagnostics.error(map.span, "missing", "summary is missing");
  const paramsEntry = entry(map, "params");
  const params = paramsEntry ? readSpecs(paramsEntry.value, "params", diagnostics) : [];
  if (paramsEntry?.value.kind === "map") {
    for (const { key, keySpan } of paramsEntry.value.entries) {
      if (!HOST_KEYS.includes(key)) continue;
      diagnostics.error(
        keySpan,
        "reserved",
        `a parameter cannot be called ${JSON.stringify(key)}: that key is the host's`,
      );
    }
  }
  const converts = readConverts(map, params, diagnostics);
  const isolation = readIsolation(map, diagnostics);
  const logs = documented(map, "logs", [], diagnostics).map(({ name, doc }) => ({ name, text: doc }));
  const tables = readTables(map, params, diagnostics);
  const manifest: Manifest = {
    kind,
    location,
    summary: summary ? (asText(summary.value, "summary", "text", diagnostics) ?? "") : "",
    params,
    outputs: documented(map, "outputs", ["layer"], diagnostics).map((output) =>
      readOutput(output, diagnostics),
    ),
    counters: readCounters(map, params, diagnostics),
    state: readState(map, diagnostics),
    holds: readHolds(map, params, diagnostics),
    superPackets: readSuperPackets(map, diagnostics),
    ...(converts ? { converts } : {}),
    ...(isolation ? { isolation } : {}),
    ...(logs.length > 0 ? { logs } : {}),
    ...(tables.length > 0 ? { tables } : {}),
  };
  if (paramsEntry) checkReloadable(manifest, paramsEntry.value, diagnostics);
  return manifest;
}

function readIsolation(map: MapNode, diagnostics: Diagnostics): "memory" | undefined {
  const found = entry(map, "isolation");
  if (!found || (found.value.kind === "scalar" && found.value.value === "none")) return undefined;
  if (found.value.kind === "scalar" && found.value.value === "memory") return "memory";
  const message = `isolation wants none or memory, has ${describe(found.value)}`;
  diagnostics.error(found.value.span, "bad-value", message);
  return undefined;
}

interface Documented {
  name: string;
  doc: string;
  entry: Entry;
}

/** A map of names to a doc, or to a map with `doc` and the given other keys. */
function documented(map: MapNode, section: string, others: string[], diagnostics: Diagnostics): Documented[] {
  const found = entry(map, section);
  const names = found && asMap(found.value, section, diagnostics);
  if (!names) return [];
  return namedEntries(names, section.replace(/s$/, ""), diagnostics).map((e) => {
    if (e.value.kind !== "map") {
      return { name: e.key, doc: asText(e.value, e.key, "its doc", diagnostics) ?? "", entry: e };
    }
    unknownKeys(e.value, ["doc", ...others], e.key, diagnostics);
    const doc = entry(e.value, "doc");
    return { name: e.key, doc: doc ? (asText(doc.value, "doc", "text", diagnostics) ?? "") : "", entry: e };
  });
}

function readOutput(
  { name, doc, entry: { keySpan, value } }: Documented,
  diagnostics: Diagnostics,
): Manifest["outputs"][0] {
  if (RESERVED_OUTPUTS.includes(name)) {
    diagnostics.error(
      keySpan,
      "reserved",
      `an output cannot be called ${JSON.stringify(name)}: every filter has it`,
    );
  }
  const layer =
    value.kind === "map" && entry(value, "layer") ? readLayer(value, "layer", diagnostics) : undefined;
  return layer === undefined ? { name, doc } : { name, doc, layer };
}

/** Those with `each` are numbered last, so that the others' indices are constants whatever the parameters are. */
function readCounters(map: MapNode, params: ParamSpec[], diagnostics: Diagnostics): Manifest["counters"] {
  const counters = documented(map, "counters", ["each"], diagnostics).map(
    ({ name, doc, entry: { value } }) => {
      const found = value.kind === "map" ? entry(value, "each") : undefined;
      if (!found) return { name, doc };
      const each = asText(found.value, "each", "the name of a list parameter", diagnostics);
      if (each === undefined) return { name, doc };
      if (!params.some((spec) => spec.name === each && spec.type.kind === "list")) {
        diagnostics.error(
          found.value.span,
          "unknown-parameter",
          `${JSON.stringify(each)} is not a list parameter`,
        );
      }
      return { name, doc, each };
    },
  );
  return [...counters.filter((c) => c.each === undefined), ...counters.filter((c) => c.each !== undefined)];
}

function readState(map: MapNode, diagnostics: Diagnostics): Manifest["state"] {
  const found = entry(map, "state");
  const state: Manifest["state"] = { worker: 0, shared: 0, prepared: 0 };
  const sizes = found && asMap(found.value, "state", diagnostics);
  if (!sizes) return state;
  const keys = ["worker", "shared", "prepared"] as const;
  unknownKeys(sizes, [...keys], "state", diagnostics);
  for (const key of keys) {
    const size = entry(sizes, key);
    if (!size) continue;
    const value = plain(size.value);
    const reading =
      value === "computed" ? { value: "computed" as const } : readSize(value, { max: 2 ** 32 - 1 });
    if ("value" in reading) state[key] = reading.value;
    else
      diagnostics.error(
        size.value.span,
        reading.refusal.code,
        `${key} ${reading.refusal.message}, or "computed"`,
      );
  }
  return state;
}

function readSuperPackets(map: MapNode, diagnostics: Diagnostics): boolean {
  const found = entry(map, "super-packets");
  if (!found) return true;
  const value = plain(found.value);
  const words: unknown[] = ["yes", true, "no", false];
  if (words.includes(value)) return words.indexOf(value) < 2;
  diagnostics.error(
    found.value.span,
    "bad-value",
    `super-packets wants yes or no, has ${describe(found.value)}`,
  );
  return true;
}

/** What the host lays out memory or paths by cannot change while they are used. */
function checkReloadable(
  { holds, tables = [], converts = [], params }: Manifest,
  node: Node,
  diagnostics: Diagnostics,
): void {
  const laidOutBy = [
    holds,
    ...tables.map(({ show }) => show),
    ...converts.flatMap(({ when }) => Object.keys(when ?? {})),
  ];
  for (const { name, reload } of params) {
    if (reload !== true || !laidOutBy.includes(name)) continue;
    const message = `${name} cannot have reload: true: memory and paths are laid out by its value`;
    diagnostics.error(spanAt(node, [name, "reload"]), "contradiction", message);
  }
}

/** A number of packets, or the parameter that has it. */
function readHolds(map: MapNode, params: ParamSpec[], diagnostics: Diagnostics): number | string {
  const found = entry(map, "holds");
  if (!found) return 0;
  const value = plain(found.value);
  if (typeof value === "number" && Number.isInteger(value) && value > 0 && value <= MOST_HELD) return value;
  const spec = params.find(({ name }) => name === value);
  if (spec !== undefined && (spec.type.kind === "u32" || spec.type.kind === "u16")) return spec.name;
  const wants = `1 to ${MOST_HELD} packets, or the name of a parameter of type u16 or u32`;
  diagnostics.error(found.value.span, "bad-value", `holds wants ${wants}, has ${describe(found.value)}`);
  return 0;
}

/** One conversion, or a list of them. */
function readConverts(map: MapNode, params: ParamSpec[], diagnostics: Diagnostics): Manifest["converts"] {
  const found = entry(map, "converts");
  if (!found) return undefined;
  const conversions = asItems(found.value).flatMap((item) => {
    const layers = asMap(item, "converts", diagnostics);
    if (!layers) return [];
    unknownKeys(layers, ["from", "to", "when"], "converts", diagnostics);
    const [from, to] = ["from", "to"].map((key) => readLayer(layers, key, diagnostics));
    const when = readWhen(layers, params, diagnostics);
    return from && to ? [{ from, to, ...(when ? { when } : {}) }] : [];
  });
  return conversions.length > 0 ? conversions : undefined;
}

function readLayer(map: MapNode, key: string, diagnostics: Diagnostics): 2 | 3 | undefined {
  const layer = entry(map, key);
  if (layer?.value.kind === "scalar" && (layer.value.value === 2 || layer.value.value === 3))
    return layer.value.value;
  const has = layer ? describe(layer.value) : "nothing";
  diagnostics.error(layer?.value.span ?? map.span, "bad-value", `${key} wants layer 2 or 3, has ${has}`);
  return undefined;
}

/** Parameters and the values that they must have. */
function readWhen(map: MapNode, params: ParamSpec[], diagnostics: Diagnostics): Conversion["when"] {
  const found = entry(map, "when");
  const words = found && asMap(found.value, "when", diagnostics);
  if (!words) return undefined;
  const when: Conversion["when"] = {};
  for (const { key, keySpan, value } of words.entries) {
    const isKnown = params.some(({ name }) => name === key);
    if (!isKnown)
      diagnostics.error(keySpan, "unknown-parameter", `${JSON.stringify(key)} is not a parameter`);
    if (value.kind === "scalar") when[key] = value.value as string | number | boolean;
  }
  return when;
}

/** Is this the name of a built-in filter, rather than the path of a user's? */
export function isBuiltIn(kind: string): boolean {
  return NAME.test(kind);
}
