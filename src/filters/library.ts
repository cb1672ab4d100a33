/** From a manifest to a module ready for use: built if it is stale, read, checked, compiled. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Isolation, Manifest } from "../config/types.ts";
import { generateParams } from "../params/generate.ts";
import { generateHeader } from "../params/generate-c.ts";
import { mayNameOutput } from "../params/parse.ts";
import { buildFilter, isBuiltin, isFilterInC, PACKAGE } from "./build.ts";
import { FilterError } from "./error.ts";
import { loadBuiltin, loadModule } from "./load.ts";

export interface LoadedFilter {
  bytes: Uint8Array;
  module: WebAssembly.Module;
}

/** @throws FilterError: it does not compile, or its module breaks a rule of the ABI */
export async function loadFilter(
  manifest: Manifest,
  isolation: Isolation = isolationOf(manifest),
): Promise<LoadedFilter> {
  if (manifest.location.endsWith(".wasm")) return loadModule(manifest.location, isolation);
  if (isolation === "none" && isFilterInC(manifest.location)) {
    throw new FilterError(
      `${manifest.kind}: a filter in C has a memory of its own: isolation: memory in its filter.yaml`,
    );
  }
  const { wasm } = await buildFilter(
    manifest.location,
    paramsText(manifest),
    isolation,
    namesOutputs(manifest),
  );
  return isBuiltin(manifest.location) && isolation === "none"
    ? loadBuiltin(wasm)
    : loadModule(wasm, isolation);
}

/** What a filter is unless a pipeline says otherwise. */
export function isolationOf(manifest: Manifest): Isolation {
  return manifest.isolation ?? "none";
}

/** May a pipeline give it outputs more, by its parameters? */
export function namesOutputs({ params }: Manifest): boolean {
  return params.some(({ type }) => mayNameOutput(type));
}

/** The generated text through which a filter's source reads its parameters. */
export function paramsText(manifest: Manifest): string {
  const isC = isFilterInC(manifest.location);
  return isC ? generateHeader(manifest) : generateParams(manifest);
}

/** The module of assembly/core, as `npm run build` left it. */
export function coreBytes(): Uint8Array {
  const path = join(PACKAGE, "build", "wasm", "core.wasm");
  try {
    return readFileSync(path);
  } catch (error) {
    throw new FilterError(
      `reading ${path}: ${(error as NodeJS.ErrnoException).code ?? error}: run npm run build`,
    );
  }
}
