/** Where the compiled entry of a thread of the benchmark is, also when this file runs from its source (in tests). */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function entryFile(name: "sender" | "mover" | "prober" | "chain-worker"): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  return existsSync(beside)
    ? beside
    : fileURLToPath(new URL(`../../build/bench/${name}.js`, import.meta.url));
}
