/**
 * `npm run build`: core.wasm and every built-in filter, each only if its sources changed, and the filters' reference pages
 * in build/docs/filters. One process: asc loads once.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseManifest, readText } from "../config/manifest.ts";
import { readyFile, readyText } from "../config/ready-manifest.ts";
import { generateParams } from "../params/generate.ts";
import { type BuildResult, buildCore, buildFilter, builtinFilters, PACKAGE } from "./build.ts";
import { referencePage } from "./page.ts";

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

/** What an earlier build left of sources that are gone would be packed with the rest. */
function removeStale(): void {
  const build = join(PACKAGE, "build");
  for (const name of readdirSync(build, { recursive: true, encoding: "utf8" })) {
    const source = /^(?!bundle\/|wasm\/|docs\/|bench-results\/)(.*?)\.(?:js|js\.map|d\.ts)$/.exec(name)?.[1];
    if (source !== undefined && !existsSync(join(PACKAGE, "src", `${source}.ts`))) rmSync(join(build, name));
  }
}

removeStale();
const docs = join(PACKAGE, "build", "docs", "filters");
mkdirSync(docs, { recursive: true });
mkdirSync(join(PACKAGE, "build", "wasm", "filters"), { recursive: true });
let failed = !(await attempt("core", buildCore));
for (const folder of builtinFilters()) {
  const name = basename(folder);
  const built = await attempt(`filter ${name}`, () => {
    const file = join(folder, "filter.yaml");
    const text = readText(file);
    const manifest = parseManifest(text, file, { kind: name, location: folder });
    writeFileSync(readyFile(folder), readyText(text, manifest));
    writeFileSync(join(docs, `${name}.md`), referencePage(manifest));
    return buildFilter(folder, generateParams(manifest));
  });
  if (!built) failed = true;
}
if (failed) process.exitCode = 1;
