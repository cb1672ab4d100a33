/**
 * Manifests of the built-in filters, checked when they were built: reading YAML is most of what a small pipeline's start
 * takes on the main thread. In: a filter.yaml's text. Out: what parseManifest() would make of it, if it is that text.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Manifest } from "./types.ts";

/** Where the built-in filters are, from src/config as from build/config. */
export const FILTERS_DIRECTORY = fileURLToPath(new URL("../../assembly/filters", import.meta.url));
/** Beside their modules. */
const READY = fileURLToPath(new URL("../../build/wasm/filters", import.meta.url));

interface Ready {
  /** Of the filter.yaml that it was made of. */
  sha256: string;
  manifest: Omit<Manifest, "kind" | "location">;
}

/** @returns the manifest, without reading the text; undefined: it is no built-in's, or another text than at the build */
export function readyManifest(text: string, kind: string, location: string): Manifest | undefined {
  if (dirname(location) !== FILTERS_DIRECTORY) return undefined;
  let ready: Ready;
  try {
    ready = JSON.parse(readFileSync(readyFile(location), "utf8"));
  } catch {
    // Not built yet, or cut short.
    return undefined;
  }
  return ready.sha256 === sha256(text) ? { kind, location, ...ready.manifest } : undefined;
}

/** What `npm run build` writes, and where. */
export function readyFile(location: string): string {
  return join(READY, `${basename(location)}.manifest.json`);
}

export function readyText(text: string, { kind: _, location: __, ...manifest }: Manifest): string {
  return `${JSON.stringify({ sha256: sha256(text), manifest } satisfies Ready)}\n`;
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
