import { fileURLToPath } from "node:url";
import { ConfigError } from "../../src/config/diagnostics.ts";
import { type LoadOptions, parsePipeline } from "../../src/config/pipeline.ts";
import type { Pipeline } from "../../src/config/types.ts";
import { devices } from "./fixtures/devices.ts";

export const FIXTURES = fileURLToPath(new URL("fixtures/", import.meta.url));
export const options = (more: LoadOptions = {}): LoadOptions => ({
  deviceManifests: devices,
  filtersDirectory: `${FIXTURES}filters`,
  env: {},
  ...more,
});

/** The pipeline in a text, with the devices and filters of the fixtures. */
export function parse(text: string, more: LoadOptions = {}): Pipeline {
  return parsePipeline(text, "p.yaml", options(more));
}

/** What is printed about a text that has errors. */
export function complaints(text: string, more: LoadOptions = {}): string {
  return refused(() => parse(text, more)).message;
}

export function refused(action: () => unknown): ConfigError {
  try {
    action();
  } catch (error) {
    if (error instanceof ConfigError) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}
