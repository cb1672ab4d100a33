/** `npm run build`: core.wasm and every built-in filter, each only if its sources changed. One process: asc loads once. */
import { basename } from "node:path";
import { loadManifest } from "../config/manifest.ts";
import { generateParams } from "../params/generate.ts";
import { type BuildResult, buildCore, buildFilter, builtinFilters } from "./build.ts";

/** Builds one module and says so. @returns whether it is there now */
async function attempt(what: string, build: () => Promise<BuildResult>): Promise<boolean> {
  const start = performance.now();
  try {
    const { cached, wasm } = await build();
    if (!cached) console.log(`${basename(wasm)} (${Math.round(performance.now() - start)} ms)`);
    return true;
  } catch (error) {
    console.error(`pktflow: ${what}: ${(error as Error).message}`);
    return false;
  }
}

let failed = !(await attempt("core", buildCore));
for (const folder of builtinFilters()) {
  const name = basename(folder);
  const built = await attempt(`filter ${name}`, () =>
    buildFilter(folder, generateParams(loadManifest(folder, name))),
  );
  if (!built) failed = true;
}
if (failed) process.exitCode = 1;
