/** A filter's filter.c to a module with a memory of its own, by clang. What clang says of the source it says itself. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FilterError } from "./error.ts";

export const C_SOURCE = "filter.c";
/** Most memory of a filter in C, bytes; the host needs some of it for packets. */
const MOST_MEMORY = 2 ** 28;
const FLAGS = [
  ...["--target=wasm32", "-O3", "-msimd128", "-mbulk-memory", "-std=c11", "-Wall", "-Wextra"],
  ...["-ffreestanding", "-nostdlib", "-fvisibility=hidden", "-Wl,--no-entry", "-Wl,--export=progressAddress"],
  `-Wl,--max-memory=${MOST_MEMORY}`,
];

/**
 * @param header text of the generated params.h
 * @param include folder of pktflow.h
 * @throws FilterError with clang's own words, or that there is no clang
 */
export function compileC(folder: string, header: string, include: string): Uint8Array {
  const work = mkdtempSync(join(tmpdir(), "pktflow-clang-"));
  try {
    writeFileSync(join(work, "params.h"), header);
    const output = join(work, "filter.wasm");
    const source = join(folder, C_SOURCE);
    const { error, status, stderr } = spawnSync(
      "clang",
      [...FLAGS, "-I", work, "-I", include, "-o", output, source],
      { encoding: "utf8" },
    );
    if (error !== undefined) {
      throw new FilterError(
        `clang: ${(error as NodeJS.ErrnoException).code}: ${source} needs clang and lld (apt install clang lld)`,
      );
    }
    if (status !== 0) throw new FilterError(`compiling ${source} failed:\n${stderr.trimEnd()}`);
    return readFileSync(output);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
