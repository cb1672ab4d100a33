/** What every section asks of its nodes: is it a map, which keys are there, do its values fit their specs. */
import { NAME, type Problem, parseParams } from "../params/parse.ts";
import type { ReadFile } from "../params/sets.ts";
import { choice, closest } from "../params/suggest.ts";
import type { ParamSpec, ParamValues } from "../params/types.ts";
import type { Diagnostics } from "./diagnostics.ts";
import { Source, type Span } from "./source.ts";
import { describe, type Entry, entry, type MapNode, type Node, plain, spanAt } from "./tree.ts";

/** The node if it is a map; otherwise a diagnostic that says what `what` wants. */
export function asMap(
  node: Node,
  what: string,
  diagnostics: Diagnostics,
  span = node.span,
): MapNode | undefined {
  if (node.kind === "map") return node;
  diagnostics.error(span, "wrong-type", `${what} wants a map, has ${describe(node)}`);
  return undefined;
}

/** The node's text if it is a string; otherwise a diagnostic. */
export function asText(
  node: Node,
  what: string,
  wants: string,
  diagnostics: Diagnostics,
): string | undefined {
  if (node.kind === "scalar" && typeof node.value === "string") return node.value;
  diagnostics.error(node.span, "wrong-type", `${what} wants ${wants}, has ${describe(node)}`);
  return undefined;
}

/** The `kind` of a device or a filter. */
export function readKind(
  map: MapNode,
  who: string,
  keySpan: Span,
  diagnostics: Diagnostics,
): { name: string; span: Span } | undefined {
  const found = entry(map, "kind");
  if (found) {
    const name = asText(found.value, `${who}: kind`, "the name of a kind", diagnostics);
    return name === undefined ? undefined : { name, span: found.value.span };
  }
  const almost = map.entries.find((e) => closest(e.key, ["kind"]) !== undefined);
  if (!almost) diagnostics.error(keySpan, "missing", `${who}: kind is missing`);
  else diagnostics.error(almost.keySpan, "unknown-key", `${who}: unknown key "${almost.key}"`, "kind");
  return undefined;
}

/** A scalar counts as a list of one. */
export function asItems(node: Node): Node[] {
  return node.kind === "list" ? node.items : [node];
}

export function unknownKeys(map: MapNode, known: string[], where: string, diagnostics: Diagnostics): void {
  const unset = known.filter((key) => !map.entries.some((e) => e.key === key));
  for (const { key, keySpan } of map.entries) {
    if (known.includes(key)) continue;
    const meant = closest(key, unset);
    const message = `unknown key ${JSON.stringify(key)} in ${where}${meant === undefined ? choice(unset) : ""}`;
    diagnostics.error(keySpan, "unknown-key", message, meant);
  }
}

/** The entries of a section whose keys are ids; ids that cannot be one are reported, and kept, for they may be used. */
export function namedEntries(map: MapNode, what: string, diagnostics: Diagnostics): Entry[] {
  for (const { key, keySpan } of map.entries) {
    if (NAME.test(key)) continue;
    const tame = key
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .replace(/^[-0-9]+|-+$/g, "");
    diagnostics.error(
      keySpan,
      "bad-id",
      `${what} ids are lower-case letters, digits and "-", after a letter; not ${JSON.stringify(key)}`,
      NAME.test(tame) && tame.length > 1 ? tame : undefined,
    );
  }
  return map.entries;
}

/**
 * The parameters of a device or a filter: the map's entries but for the host's own keys, checked by the specs.
 * `who` begins each message ('filter "firewall"'); what is missing is reported at `span`.
 */
export function checkParams(
  map: MapNode,
  hostKeys: string[],
  specs: ParamSpec[],
  who: string,
  span: Span,
  diagnostics: Diagnostics,
  readFile?: ReadFile,
): ParamValues | undefined {
  const params: MapNode = {
    kind: "map",
    span: map.span,
    entries: map.entries.filter((e) => !hostKeys.includes(e.key)),
  };
  const parsed = parseParams(specs, plain(params), readFile);
  if ("value" in parsed) return parsed.value;
  for (const problem of parsed.problems) {
    const place =
      placeOf(problem) ?? (problem.path.length === 0 ? span : spanAt(params, problem.path, problem.atKey));
    let { suggestion } = problem;
    if (problem.atKey && problem.path.length === 1 && suggestion === undefined) {
      suggestion = closest(
        String(problem.path[0]),
        hostKeys.filter((key) => !map.entries.some((e) => e.key === key)),
      );
    }
    diagnostics.error(place, problem.code, `${who}: ${problem.message}`, suggestion);
  }
  return undefined;
}

/** In a file that the pipeline's file names. */
function placeOf({ place }: Problem): Span | undefined {
  return place && { source: new Source(place.file, place.text), start: place.start, end: place.end };
}
