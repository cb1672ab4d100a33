/** Where the compiled entry of a thread or process of the lab is, also when this file runs from its source (in tests). */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export function entryFile(name: "host" | "spawner" | "exec"): string {
  const beside = fileURLToPath(new URL(`./${name}.js`, import.meta.url));
  return existsSync(beside) ? beside : fileURLToPath(new URL(`../../build/lab/${name}.js`, import.meta.url));
}
