/**
 * Stage 1: the pipeline file -> Pipeline. In: YAML text, the environment, --set options, manifests. Out: checked plain
 * data, or every diagnostic there is. Reads files (the pipeline's, manifests) and nothing else; runs on the main thread.
 */
import { basename, extname } from "node:path";
import { parseParam } from "../params/parse.ts";
import type { ParamSpec } from "../params/types.ts";
import { type DeviceSymbol, readDevices } from "./devices.ts";
import { ConfigError, type Diagnostic, Diagnostics } from "./diagnostics.ts";
import { readDocument } from "./document.ts";
import { type FilterSymbol, readFilters } from "./filters.ts";
import { checkFlows } from "./flows.ts";
import { deviceManifests as allDeviceManifests } from "./kinds.ts";
import { readText } from "./manifest.ts";
import { applyOverrides } from "./overrides.ts";
import { type PathSymbol, readPaths } from "./paths.ts";
import { FILTERS_DIRECTORY } from "./ready-manifest.ts";
import { asMap, unknownKeys } from "./shape.ts";
import { Source } from "./source.ts";
import { settleOffloads } from "./super-packets.ts";
import { describe, entry, type MapNode, plain } from "./tree.ts";
import type { DeviceManifest, PathConfig, Pipeline } from "./types.ts";
import type { Environment } from "./variables.ts";
import { queuesOf, warningsOf } from "./warnings.ts";

export interface LoadOptions {
  /** `--set` options, PATH=VALUE, applied in order. */
  set?: string[];
  /** What ${NAME} is replaced from; default: the process's environment. */
  env?: Environment;
  /** The device kinds there are; default: all of pktflow's. */
  deviceManifests?: DeviceManifest[];
  /** The folder of the built-in filters, each a folder with filter.yaml; default: the package's. */
  filtersDirectory?: string;
  /** Every file on the way must be a regular one: nothing is waited for. Default: FIFOs and devices will do. */
  onlyFiles?: boolean;
  /** Gets what is allowed but hardly meant; it is looked for only then. */
  onWarning?: (warning: Diagnostic) => void;
}

export const FORMAT_VERSION = 1;

const KEYS = ["pktflow", "name", "workers", "devices", "filters", "paths"];
export const workersSpec: ParamSpec = {
  name: "workers",
  type: { kind: "u16" },
  doc: "Worker threads; the default is the largest number of queues among the devices.",
  min: 1,
  max: 256,
};

/** Reads and checks a pipeline file. Throws ConfigError, also when the file cannot be read (with errno's name). */
export function loadPipeline(file: string, options: LoadOptions = {}): Pipeline {
  return parsePipeline(readText(file, options.onlyFiles), file, options);
}

/** Checks a pipeline's text; `file` is what diagnostics call it, and what relative filter paths are relative to. */
export function parsePipeline(text: string, file: string, options: LoadOptions = {}): Pipeline {
  const environment = options.env ?? process.env;
  const diagnostics = new Diagnostics(options.onWarning);
  const source = new Source(file, text);
  const document = readDocument(source, environment, diagnostics);
  if (!document && diagnostics.empty) {
    diagnostics.error({ source, start: 0, end: 0 }, "missing", "the file is empty");
  }
  const root = document && applyOverrides(document, options.set ?? [], environment, diagnostics);
  const map = root && asMap(root, "a pipeline file", diagnostics);
  const pipeline = map && readPipeline(map, file, options, diagnostics);
  if (!pipeline || !diagnostics.empty) throw new ConfigError(diagnostics.sorted());
  return pipeline;
}

function readPipeline(
  map: MapNode,
  file: string,
  options: LoadOptions,
  diagnostics: Diagnostics,
): Pipeline | undefined {
  if (!readVersion(map, diagnostics)) return undefined;
  unknownKeys(map, KEYS, "the pipeline", diagnostics);
  const name = readName(map, file, diagnostics);
  const workers = readWorkers(map, diagnostics);
  const start = { ...map.span, end: map.span.start };
  const sections = ["devices", "filters", "paths"].map((key) => entry(map, key)?.value);
  const [deviceNode, filterNode, pathNode] = sections;
  const devices = deviceNode
    ? readDevices(deviceNode, options.deviceManifests ?? allDeviceManifests, diagnostics)
    : new Map<string, DeviceSymbol>();
  const { filtersDirectory = FILTERS_DIRECTORY, onlyFiles = false } = options;
  const places = { pipelineFile: file, filtersDirectory, onlyFiles };
  const filters = filterNode ? readFilters(filterNode, places, diagnostics) : new Map<string, FilterSymbol>();
  const paths = pathNode ? readPaths(pathNode, devices, filters, diagnostics) : new Map<string, PathSymbol>();
  if (!deviceNode) diagnostics.error(start, "missing", "devices is missing: where packets enter and leave");
  if (!pathNode) diagnostics.error(start, "no-paths", "paths is missing: how packets flow");
  // Without paths everything is unused, and that is said already.
  if (paths.size > 0) checkUse(devices, filters, diagnostics);
  checkFlows(paths, devices, diagnostics);
  if (!diagnostics.empty) return undefined;
  settleOffloads(paths, devices, diagnostics);
  const deviceConfigs = [...devices.values()].flatMap(({ config }) => config ?? []);
  const warnings = warningsOf(deviceConfigs, deviceNode, workers);
  return {
    file,
    name: name ?? "",
    workers: workers ?? Math.max(1, ...deviceConfigs.map(queuesOf)),
    devices: deviceConfigs,
    filters: [...filters.values()].flatMap(({ config }) => config ?? []),
    paths: [...paths.values()].flatMap((path) => pathConfig(path) ?? []),
    ...(warnings.length > 0 ? { warnings } : {}),
  };
}

/** false: another version's file, about which nothing else can be said. */
function readVersion(map: MapNode, diagnostics: Diagnostics): boolean {
  const version = entry(map, "pktflow");
  if (!version) {
    const start = { ...map.span, end: map.span.start };
    diagnostics.error(
      start,
      "missing",
      `the format version is missing: begin with "pktflow: ${FORMAT_VERSION}"`,
    );
    return true;
  }
  const { value: node } = version;
  if (node.kind === "scalar" && node.value === FORMAT_VERSION) return true;
  const message = `format version ${describe(node)} is not known: this pktflow reads version ${FORMAT_VERSION}`;
  diagnostics.error(node.span, "unknown-version", message);
  return !(node.kind === "scalar" && typeof node.value === "number");
}

/** The name by which a running pipeline is talked to, so it must do as part of a file's name. */
function readName(map: MapNode, file: string, diagnostics: Diagnostics): string | undefined {
  const found = entry(map, "name");
  if (!found) return basename(file, extname(file));
  const { value: node } = found;
  if (
    node.kind === "scalar" &&
    typeof node.value === "string" &&
    /^[A-Za-z0-9][\w.-]{0,63}$/.test(node.value)
  ) {
    return node.value;
  }
  const wants = 'up to 64 letters, digits, ".", "_" and "-", after a letter or digit';
  diagnostics.error(node.span, "bad-name", `name wants ${wants}; has ${describe(node)}`);
  return undefined;
}

function readWorkers(map: MapNode, diagnostics: Diagnostics): number | undefined {
  const found = entry(map, "workers");
  if (!found) return undefined;
  const parsed = parseParam(workersSpec, plain(found.value));
  if ("value" in parsed) return parsed.value as number;
  for (const { code, message, suggestion } of parsed.problems) {
    diagnostics.error(found.value.span, code, message, suggestion);
  }
  return undefined;
}

function checkUse(
  devices: Map<string, DeviceSymbol>,
  filters: Map<string, FilterSymbol>,
  diagnostics: Diagnostics,
): void {
  for (const { id, keySpan, used } of devices.values()) {
    if (!used) diagnostics.error(keySpan, "unused-device", `device ${JSON.stringify(id)} is used by no path`);
  }
  for (const { id, keySpan, used } of filters.values()) {
    if (!used) diagnostics.error(keySpan, "unused-filter", `filter ${JSON.stringify(id)} is used by no path`);
  }
}

function pathConfig({ id, from, steps, to }: PathSymbol): PathConfig | undefined {
  return (
    to && {
      id,
      from: from.map(({ device }) => device.id),
      through: steps.map(({ filter, outputs }) => ({
        filter: filter.id,
        outputs: Object.fromEntries(outputs.map(({ name, path }) => [name, path])),
      })),
      to: to.target,
    }
  );
}
