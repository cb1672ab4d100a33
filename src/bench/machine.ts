/** Where the figures come from: no figure is worth anything without it. */
import { cpus, release, type } from "node:os";
import type { Machine } from "./results.ts";

export function machine(): Machine {
  const processors = cpus();
  const versions = process.versions as Record<string, string | undefined>;
  const runtime = ["bun", "deno", "node"].find((name) => versions[name] !== undefined) ?? "node";
  return {
    date: new Date().toISOString().slice(0, 10),
    kernel: `${type()} ${release()}`,
    processor: processors[0]?.model.trim() ?? "unknown",
    processors: processors.length,
    runtime: `${runtime} ${versions[runtime]}`,
  };
}
