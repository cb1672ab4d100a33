/** The filters there are, and what one says of itself. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { listFilters } from "../config/filters.ts";
import { loadManifest } from "../config/manifest.ts";
import type { Manifest } from "../config/types.ts";
import { formatDuration, formatSize } from "../params/quantities.ts";
import { closest } from "../params/suggest.ts";
import type { ParamSpec, ParamType } from "../params/types.ts";
import { BUILTIN } from "./build.ts";
import { FilterError } from "./error.ts";

/** Manifests of the built-in filters, in the order of their names. @throws ConfigError */
export function builtinManifests(): Manifest[] {
  return listFilters(BUILTIN).map((kind) => loadManifest(join(BUILTIN, kind), kind));
}

/** Manifests of the filters whose folders lie in a folder, or of the filter that it is. @throws FilterError, ConfigError */
export function manifestsIn(folder: string): Manifest[] {
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch (error) {
    throw new FilterError(
      `open ${folder}: ${(error as NodeJS.ErrnoException).code}: the folder cannot be read`,
    );
  }
  if (names.includes("filter.yaml")) return [loadManifest(folder)];
  const folders = names
    .map((name) => join(folder, name))
    .filter((path) => existsSync(join(path, "filter.yaml")));
  return folders.map((path) => loadManifest(path));
}

/**
 * A filter by what the user calls it: the name of a built-in one, a folder, or a built .wasm.
 * @throws FilterError when there is none, ConfigError for what is wrong with its manifest
 */
export function findFilter(name: string): Manifest {
  const builtin = listFilters(BUILTIN);
  if (builtin.includes(name)) return loadManifest(join(BUILTIN, name), name);
  if (statSync(name, { throwIfNoEntry: false }) !== undefined) return loadManifest(name);
  const near = closest(basename(name), builtin);
  throw new FilterError(
    `there is no filter "${name}": neither a built-in one (${builtin.join(", ")}) nor a folder` +
      (near === undefined ? "" : `; did you mean "${near}"?`),
  );
}

/** What every filter has. */
export const STANDARD_OUTPUTS = [
  { name: "next", doc: "Go on along the path." },
  { name: "drop", doc: "Counted and gone." },
];

export interface ParamRow {
  /** A field of a record in a list: `rules[].action`. */
  name: string;
  type: string;
  /** "required", or as it is written; "": none. */
  default: string;
  /** Bounds; "": none but the type's. */
  range: string;
  doc: string;
}

/** Parameters as rows of a table, fields of records after their parameter. */
export function paramRows(specs: ParamSpec[], prefix = ""): ParamRow[] {
  return specs.flatMap((spec) => {
    const name = prefix + spec.name;
    const isList = spec.type.kind === "list";
    const row = {
      name,
      type: typeText(spec.type),
      default: defaultText(spec),
      range: rangeText(spec),
      doc: spec.doc,
    };
    const element = spec.type.kind === "list" ? spec.type.of : spec.type;
    const fields =
      element.kind === "record" ? paramRows(element.fields, `${name}${isList ? "[]" : ""}.`) : [];
    return [row, ...fields];
  });
}

function typeText(type: ParamType): string {
  switch (type.kind) {
    case "enum":
      return type.values.join(" | ");
    case "code":
      return `u8 | ${Object.keys(type.codes).join(" | ")}`;
    case "list":
      return `list of ${type.of.kind === "record" ? "records" : typeText(type.of)}`;
    default:
      return type.kind;
  }
}

function defaultText({ default: standard, type, min = 0 }: ParamSpec): string {
  if (standard === null) return "";
  if (standard !== undefined) return typeof standard === "string" ? standard : JSON.stringify(standard);
  return type.kind === "list" && min === 0 ? "[]" : "required";
}

/** In the parameter's own unit. */
function rangeText({ min, max, type }: ParamSpec): string {
  if (min === undefined && max === undefined) return "";
  const text = (value: number | undefined) => {
    if (value === undefined) return "";
    if (type.kind === "duration") return formatDuration(value);
    return type.kind === "size" ? formatSize(value) : String(value);
  };
  return `${text(min)} to ${text(max)}`.trim();
}

/** How a path is shown: from the current directory, if it is below it. */
export function shownPath(path: string): string {
  const here = relative(process.cwd(), path);
  return here.startsWith("..") || here === "" ? path : here;
}
