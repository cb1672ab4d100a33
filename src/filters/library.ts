/** From a manifest to a module ready for use: built if it is stale, read, checked, compiled. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Manifest } from "../config/types.ts";
import { generateParams } from "../params/generate.ts";
import { buildFilter, PACKAGE } from "./build.ts";
import { FilterError } from "./error.ts";
import { loadModule } from "./load.ts";

export interface LoadedFilter {
  bytes: Uint8Array;
  module: WebAssembly.Module;
}

/** @throws FilterError: it does not compile, or its module breaks a rule of the ABI */
export async function loadFilter(manifest: Manifest): Promise<LoadedFilter> {
  if (manifest.location.endsWith(".wasm")) return loadModule(manifest.location);
  const { wasm } = await buildFilter(manifest.location, generateParams(manifest));
  return loadModule(wasm);
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
