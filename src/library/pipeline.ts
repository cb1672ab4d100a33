/**
 * A pipeline written in TypeScript. It means what the same words mean in a pipeline file, and is checked by the same
 * checker: what is wrong comes as one PipelineError with every diagnostic, each with its code and its place in the object.
 */
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ConfigError, type Diagnostic, renderDiagnostic } from "../config/diagnostics.ts";
import { loadPipeline, parsePipeline } from "../config/pipeline.ts";
import type { Pipeline } from "../config/types.ts";
import type { DeviceKinds, FilterKinds } from "./kinds.ts";
import { type Text, textOf } from "./text.ts";

/** What the host does with a filter of any kind. */
export interface HostOptions {
  /** What becomes of packets when the filter traps. Default: "drop". */
  "on-trap"?: "drop" | "pass" | "stop";
  /** "memory": it has a memory of its own, and packets are copied in and out. Default: what the filter's manifest says. */
  isolation?: "none" | "memory";
}

/** A filter of the user's own: a path to its folder or its .wasm, relative to PipelineOptions.base. */
export type OwnFilter = `./${string}` | `../${string}` | `/${string}`;
export type FilterKind = keyof FilterKinds | OwnFilter;

/** A device: its kind, and that kind's parameters. */
export type DeviceOptions<Kind extends keyof DeviceKinds> = { kind: Kind } & DeviceKinds[Kind];

/** A filter: its kind, and that kind's parameters; anything, where it is the user's own. */
export type FilterOptions<Kind extends FilterKind> = { kind: Kind } & HostOptions & ParamsOf<Kind>;
type ParamsOf<Kind> = Kind extends keyof FilterKinds ? FilterKinds[Kind] : { [param: string]: unknown };

/** A step of a path: a filter, or a filter with paths for its outputs: `{ firewall: { refuse: "bounce" } }`. */
export type StepOptions<Filter extends string, Path extends string> =
  | Filter
  | (Filter extends string ? { [F in Filter]: { [output: string]: Path } } : never);

export interface PathOptions<Device extends string, Filter extends string, Path extends string> {
  /** Devices that packets come from; absent: they come from other paths. */
  from?: Device | readonly Device[];
  /** Filters in order. */
  through?: StepOptions<Filter, Path> | readonly StepOptions<Filter, Path>[];
  /** Where packets leave. */
  to: Device | Path | "drop";
}

/** A pipeline file's content as an object. `Devices` and `Filters`: their kinds by name. */
export interface Definition<
  Devices extends Record<string, keyof DeviceKinds>,
  Filters extends Record<string, FilterKind>,
  Path extends string,
> {
  /** Default: "pipeline". */
  name?: string;
  /** Worker threads. Default: the largest number of queues among the devices. */
  workers?: number;
  devices: { [D in keyof Devices]: DeviceOptions<Devices[D]> };
  filters?: { [F in keyof Filters]: FilterOptions<Filters[F]> };
  paths: Record<
    Path,
    PathOptions<NoInfer<keyof Devices & string>, NoInfer<keyof Filters & string>, NoInfer<Path>>
  >;
}

export interface PipelineOptions {
  /**
   * What the paths of the user's own filters and of captures are relative to: a folder, or a file: URL of a file in it
   * (import.meta.url). Default: the current directory.
   */
  base?: string | URL;
  /** What ${NAME} in strings is replaced from. Default: nothing; the program has its own variables. */
  env?: Record<string, string | undefined>;
}

declare const memory: unique symbol;

/** A checked pipeline, to be given to run(). `Memory`: the names of its memory devices. */
export interface Flow<Memory extends string = string> {
  /** Plain data: what the checker made of the definition, defaults filled in. */
  readonly pipeline: Pipeline;
  readonly [memory]?: Memory;
}

/** Names of the devices whose kind is memory. */
export type MemoryNames<Devices> = {
  [D in keyof Devices]: Devices[D] extends "memory" ? D & string : never;
}[keyof Devices];

/** A diagnostic of a pipeline that was written as an object. */
export interface PlacedDiagnostic extends Diagnostic {
  /** Where in the object: "filters.firewall.rules[3].proto"; "" for the object itself, or a filter's own files. */
  path: string;
}

/** Everything that is wrong with a pipeline, found at once. `diagnostics` have the codes that `pktflow check` shows. */
export class PipelineError extends ConfigError {
  declare readonly diagnostics: PlacedDiagnostic[];

  constructor(diagnostics: PlacedDiagnostic[]) {
    super(diagnostics);
    this.name = "PipelineError";
    this.message = diagnostics.map(render).join("\n");
  }
}

/**
 * Checks a pipeline. Opens nothing and starts nothing: run() does.
 *
 *     const flow = pipeline({
 *       devices: { lan: { kind: "tun", address: "10.77.0.1/24" }, out: { kind: "discard" } },
 *       filters: { web: { kind: "acl", rules: [{ action: "accept", proto: "tcp", "to-port": [80, 443] }] } },
 *       paths: { main: { from: "lan", through: ["web"], to: "out" } },
 *     });
 *
 * @throws PipelineError with every diagnostic; TypeError for a value that no pipeline file could have
 */
export function pipeline<
  const Devices extends Record<string, keyof DeviceKinds>,
  const Filters extends Record<string, FilterKind> = Record<never, never>,
  const Path extends string = string,
>(definition: Definition<Devices, Filters, Path>, options: PipelineOptions = {}): Flow<MemoryNames<Devices>> {
  const file = join(baseFolder(options.base), "pipeline()");
  const source = textOf({ pktflow: 1, name: "pipeline", ...definition });
  try {
    return { pipeline: parsePipeline(source.text, file, { env: options.env ?? {} }) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new PipelineError(error.diagnostics.map((diagnostic) => placed(diagnostic, file, source)));
  }
}

/**
 * Reads and checks a pipeline file.
 * @param options `set`: as `--set`, PATH=VALUE; `env`: what ${NAME} is replaced from, the process's environment unless said
 * @throws ConfigError with every diagnostic, also when the file cannot be read
 */
export function load(
  file: string | URL,
  options: { set?: string[]; env?: Record<string, string | undefined> } = {},
): Flow {
  return { pipeline: loadPipeline(typeof file === "string" ? file : fileURLToPath(file), options) };
}

function baseFolder(base: string | URL | undefined): string {
  if (base === undefined) return "";
  const isUrl = base instanceof URL || base.startsWith("file:");
  return isUrl ? fileURLToPath(new URL(".", base)) : base;
}

function placed(diagnostic: Diagnostic, file: string, source: Text): PlacedDiagnostic {
  const path = diagnostic.file === file ? source.placeAt(diagnostic.line, diagnostic.column) : "";
  return { ...diagnostic, path };
}

/** As the command line's, but for the place: nobody has seen the lines of the text that the object became. */
function render(diagnostic: PlacedDiagnostic): string {
  const { path, file, line, column } = diagnostic;
  const text = renderDiagnostic(diagnostic);
  if (path === "") return text;
  const [head, ...rest] = text.replace(`${file}:${line}:${column}`, `pipeline(): ${path}`).split("\n");
  return [
    head,
    ...rest.map((shown, i) =>
      i === 0 ? shown.replace(/^ *\d+/, (number) => " ".repeat(number.length)) : shown,
    ),
  ].join("\n");
}
