/** `pktflow filter new` and `build`. */
import { statSync } from "node:fs";
import { loadManifest } from "../../config/manifest.ts";
import { buildFilter } from "../../filters/build.ts";
import { findFilter, shownPath } from "../../filters/catalog.ts";
import { FilterError } from "../../filters/error.ts";
import { isolationOf, namesOutputs, paramsText } from "../../filters/library.ts";
import { makeFilter, type Template, writeEditorParams } from "../../filters/scaffold.ts";
import { generateParams } from "../../params/generate.ts";
import { binaryBytes } from "../format.ts";

/** @returns what to print @throws FilterError */
export function create(folder: string, template: Template): string {
  const files = makeFilter(folder, template);
  const manifest = loadManifest(folder);
  writeEditorParams(manifest.location, generateParams(manifest));
  return `${folder}: ${files.join(" ")}\n\nNext:\n  pktflow filter test ${folder}\n  and in a pipeline: kind: ./${folder}\n`;
}

/** @returns what to print @throws FilterError, ConfigError */
export async function build(name: string): Promise<string> {
  const manifest = findFilter(name);
  if (manifest.location.endsWith(".wasm"))
    throw new FilterError(`${name} is built already: build wants the folder`);
  const params = paramsText(manifest);
  writeEditorParams(manifest.location, params);
  const start = performance.now();
  const { wasm, cached } = await buildFilter(
    manifest.location,
    params,
    isolationOf(manifest),
    namesOutputs(manifest),
  );
  const how = cached ? "cached" : `built in ${Math.round(performance.now() - start)} ms`;
  return `${shownPath(wasm)} (${binaryBytes(statSync(wasm).size)}, ${how})\n`;
}
