/** The `paths` section: where packets come from, what they go through, where each output leads. */
import { closest } from "../params/suggest.ts";
import { type DeviceSymbol, isSink, isSource } from "./devices.ts";
import type { Diagnostics } from "./diagnostics.ts";
import type { FilterSymbol } from "./filters.ts";
import { asItems, asMap, asText, namedEntries, unknownKeys } from "./shape.ts";
import type { Span } from "./source.ts";
import { type Entry, entry, type MapNode, type Node } from "./tree.ts";
import type { Target } from "./types.ts";

/** Why an output cannot be wired. */
const FIXED_OUTPUTS: Record<string, string> = {
  next: "what leaves by it goes on along the path",
  accept: "it is another word for next: what leaves by it goes on along the path",
  drop: "what leaves by it is counted and gone",
};

/** A path with the places of everything it refers to. References that lead nowhere are reported and left out. */
export interface PathSymbol {
  id: string;
  keySpan: Span;
  from: { device: DeviceSymbol; span: Span }[];
  steps: Step[];
  to: { target: Target; span: Span } | undefined;
  /** Is there a `from`, right or wrong? */
  hasSource: boolean;
  /** Does another path lead here? */
  entered: boolean;
}
export interface Step {
  filter: FilterSymbol;
  span: Span;
  outputs: { name: string; path: string; span: Span }[];
}

interface Names {
  devices: Map<string, DeviceSymbol>;
  filters: Map<string, FilterSymbol>;
  paths: Map<string, PathSymbol>;
}

export function readPaths(
  node: Node,
  devices: Map<string, DeviceSymbol>,
  filters: Map<string, FilterSymbol>,
  diagnostics: Diagnostics,
): Map<string, PathSymbol> {
  const paths = new Map<string, PathSymbol>();
  const map = asMap(node, "paths", diagnostics);
  if (!map) return paths;
  const entries = namedEntries(map, "path", diagnostics);
  if (entries.length === 0)
    diagnostics.error(node.span, "no-paths", "there is no path: packets would go nowhere");
  for (const { key, keySpan } of entries) {
    paths.set(key, {
      id: key,
      keySpan,
      from: [],
      steps: [],
      to: undefined,
      hasSource: false,
      entered: false,
    });
    if (key === "drop")
      diagnostics.error(keySpan, "reserved", 'a path cannot be called "drop": "to: drop" has a meaning');
    if (devices.has(key)) {
      diagnostics.error(
        keySpan,
        "duplicate-name",
        `${JSON.stringify(key)} is a device already, "to" could mean both`,
      );
    }
  }
  const names = { devices, filters, paths };
  const sources = new Map<string, string>();
  for (const found of entries) readPath(found, paths.get(found.key)!, names, sources, diagnostics);
  return paths;
}

function readPath(
  { key, value }: Entry,
  path: PathSymbol,
  names: Names,
  sources: Map<string, string>,
  diagnostics: Diagnostics,
): void {
  const who = `path ${JSON.stringify(key)}`;
  const map = asMap(value, who, diagnostics);
  if (!map) {
    path.hasSource = true;
    return;
  }
  unknownKeys(map, ["from", "through", "to"], who, diagnostics);
  const from = entry(map, "from");
  path.hasSource = from !== undefined;
  for (const item of from ? asItems(from.value) : []) readSource(item, path, names, sources, diagnostics);
  const through = entry(map, "through");
  for (const item of through ? asItems(through.value) : []) {
    const step = readStep(item, who, names, diagnostics);
    if (step) path.steps.push(step);
  }
  const to = entry(map, "to");
  if (to) path.to = readTarget(to.value, path, names, diagnostics);
  else if (!map.entries.some((e) => closest(e.key, ["to"]))) {
    diagnostics.error(path.keySpan, "missing", `${who}: to is missing (a device, a path, or drop)`);
  }
}

function readSource(
  node: Node,
  path: PathSymbol,
  { devices, paths }: Names,
  sources: Map<string, string>,
  diagnostics: Diagnostics,
): void {
  const who = `path ${JSON.stringify(path.id)}`;
  const id = asText(node, `${who}: from`, "a device or a list of devices", diagnostics);
  if (id === undefined) return;
  const device = devices.get(id);
  if (!device) {
    const why = paths.has(id) ? "which is a path, not a device" : "which is not defined";
    const suggestion = use(devices, id);
    diagnostics.error(
      node.span,
      "unknown-device",
      `${who} comes from ${JSON.stringify(id)}, ${why}`,
      suggestion,
    );
    return;
  }
  device.used = true;
  const other = sources.get(id);
  if (other !== undefined) {
    const message = `${who} comes from ${JSON.stringify(id)}, but its packets enter ${JSON.stringify(other)} already`;
    diagnostics.error(node.span, "duplicate-source", message);
    return;
  }
  sources.set(id, path.id);
  if (!isSource(device)) {
    const hint =
      device.manifest?.layer === "file" ? ' (it has no "read")' : ` (its kind is ${device.manifest?.kind})`;
    diagnostics.error(
      node.span,
      "not-a-source",
      `${who} comes from ${JSON.stringify(id)}, which gives no packets${hint}`,
    );
    return;
  }
  path.from.push({ device, span: node.span });
}

/** `sane`, or `{ firewall: { refuse: bounce } }`. */
function readStep(node: Node, who: string, names: Names, diagnostics: Diagnostics): Step | undefined {
  let reference = node;
  let wiring: MapNode | undefined;
  if (node.kind === "map" && node.entries.length === 1) {
    const [{ key, keySpan, value }] = node.entries;
    reference = { kind: "scalar", value: key, span: keySpan };
    wiring = asMap(value, `${who}: the outputs of ${JSON.stringify(key)}`, diagnostics);
    if (!wiring) {
      use(names.filters, key);
      return undefined;
    }
  }
  const id = asText(reference, `${who}: through`, "filters, or { FILTER: { OUTPUT: PATH } }", diagnostics);
  if (id === undefined) return undefined;
  const filter = names.filters.get(id);
  if (!filter) {
    const message = `${who} goes through ${JSON.stringify(id)}, which is not defined`;
    diagnostics.error(reference.span, "unknown-filter", message, use(names.filters, id));
    for (const { value } of wiring?.entries ?? []) {
      const led = value.kind === "scalar" ? names.paths.get(String(value.value)) : undefined;
      if (led) led.entered = true;
    }
    return undefined;
  }
  filter.used = true;
  const step: Step = { filter, span: reference.span, outputs: [] };
  for (const { key, keySpan, value } of wiring?.entries ?? []) {
    const path = readWire(key, keySpan, value, filter, names, diagnostics);
    if (path !== undefined) step.outputs.push({ name: key, path, span: value.span });
  }
  checkWired(filter, wiring?.entries ?? [], reference.span, who, diagnostics);
  return step;
}

function readWire(
  output: string,
  span: Span,
  node: Node,
  filter: FilterSymbol,
  { devices, paths }: Names,
  diagnostics: Diagnostics,
): string | undefined {
  const what = `output ${JSON.stringify(output)} of ${JSON.stringify(filter.id)}`;
  const target = asText(node, what, "the path that it leads to", diagnostics);
  if (target !== undefined && !paths.has(target)) {
    const why = devices.has(target)
      ? `which is a device: give it a path with "to: ${target}"`
      : target === "drop"
        ? 'which is no path: give it a path with "to: drop"'
        : "which is not defined";
    const suggestion = devices.has(target) ? undefined : closest(target, paths.keys());
    if (suggestion !== undefined) paths.get(suggestion)!.entered = true;
    diagnostics.error(
      node.span,
      "unknown-path",
      `${what} leads to ${JSON.stringify(target)}, ${why}`,
      suggestion,
    );
  } else if (target !== undefined) {
    paths.get(target)!.entered = true;
  }
  if (Object.hasOwn(FIXED_OUTPUTS, output)) {
    diagnostics.error(span, "reserved", `${what} cannot be wired: ${FIXED_OUTPUTS[output]}`);
    return undefined;
  }
  return target !== undefined && paths.has(target) ? target : undefined;
}

/** Every output beside next and drop must lead somewhere, and what is wired must be an output. */
function checkWired(
  filter: FilterSymbol,
  wired: Entry[],
  span: Span,
  who: string,
  diagnostics: Diagnostics,
): void {
  if (!filter.config) return;
  const { outputs, manifest } = filter.config;
  const has = outputs.slice(2);
  let open = has.filter((name) => !wired.some((e) => e.key === name));
  for (const { key, keySpan } of wired) {
    if (has.includes(key) || Object.hasOwn(FIXED_OUTPUTS, key)) continue;
    const suggestion = closest(key, open);
    open = open.filter((name) => name !== suggestion);
    const message = `${JSON.stringify(filter.id)} has no output ${JSON.stringify(key)}`;
    diagnostics.error(keySpan, "unknown-output", message, suggestion);
  }
  for (const name of open) {
    const what = `output ${JSON.stringify(name)} of ${JSON.stringify(filter.id)}`;
    const named = manifest.outputs.some((output) => output.name === name)
      ? undefined
      : filter.outputSpans().get(name);
    const meant = closest(name, ["accept", "drop", "next", ...has.filter((other) => !open.includes(other))]);
    // A word that looks like a slip is more likely wrong where it stands than missing where it would be wired.
    if (named && meant) diagnostics.error(named, "unwired-output", `${what} is wired by no path`, meant);
    else {
      const origin = named ? `, named in line ${named.source.locate(named.start).line},` : "";
      const message = `${who} does not say where ${what}${origin} leads: { ${filter.id}: { ${name}: PATH } }`;
      diagnostics.error(span, "unwired-output", message);
    }
  }
}

function readTarget(
  node: Node,
  { id }: PathSymbol,
  { devices, paths }: Names,
  diagnostics: Diagnostics,
): PathSymbol["to"] {
  const who = `path ${JSON.stringify(id)}`;
  const name = asText(node, `${who}: to`, "a device, a path, or drop", diagnostics);
  if (name === undefined) return undefined;
  const { span } = node;
  if (name === "drop") return { target: { kind: "drop" }, span };
  const device = devices.get(name);
  if (device) {
    device.used = true;
    if (isSink(device)) return { target: { kind: "device", device: name }, span };
    const hint =
      device.manifest?.layer === "file" ? ' (it has no "write")' : ` (its kind is ${device.manifest?.kind})`;
    diagnostics.error(
      span,
      "not-a-sink",
      `${who} leads to ${JSON.stringify(name)}, which takes no packets${hint}`,
    );
    return undefined;
  }
  const path = paths.get(name);
  if (path) {
    path.entered = true;
    return { target: { kind: "path", path: name }, span };
  }
  const suggestion = closest(name, [...devices.keys(), ...paths.keys(), "drop"]);
  if (suggestion !== undefined && devices.has(suggestion)) devices.get(suggestion)!.used = true;
  if (suggestion !== undefined && paths.has(suggestion)) paths.get(suggestion)!.entered = true;
  const message = `${who} leads to ${JSON.stringify(name)}, which is not defined`;
  diagnostics.error(span, "unknown-target", message, suggestion);
  return undefined;
}

/** The id that was probably meant, which then counts as used: one slip should not be reported twice. */
function use(symbols: Map<string, { used: boolean }>, id: string): string | undefined {
  const meant = closest(id, symbols.keys());
  if (meant !== undefined) symbols.get(meant)!.used = true;
  return meant;
}
