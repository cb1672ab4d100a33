/** A filter's filter.c to a module with a memory of its own, by clang. What clang says of the source it says itself. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve, sep } from "node:path";
import { FilterError } from "./error.ts";

export const C_SOURCE = "filter.c";
/** Most memory of a filter in C, bytes; the host needs some of it for packets. */
const MOST_MEMORY = 2 ** 28;
/** Of the compiler. */
export const FLAGS = [
  ...["--target=wasm32", "-O3", "-msimd128", "-mbulk-memory", "-std=c11", "-Wall", "-Wextra"],
  ...["-ffreestanding", "-nostdlib", "-fvisibility=hidden", "-Wl,--no-entry", "-Wl,--export=progressAddress"],
  `-Wl,--max-memory=${MOST_MEMORY}`,
];

/** What clang's words mean for a filter. */
const ADVICE: [RegExp, string][] = [
  [
    /'(stdio|stdlib|string|math|time|unistd|assert)\.h' file not found/,
    "there is no libc: pktflow.h has what there is, and <stdint.h>, <stdbool.h> and <stddef.h> are the compiler's",
  ],
  [
    /undefined symbol: (malloc|calloc|realloc|free)/,
    "there is no allocator: keep tables in static arrays, which are the filter's own memory",
  ],
  [
    /undefined symbol: (printf|puts|fprintf)/,
    "there is no console: pf_log() says a message of filter.yaml's logs",
  ],
  [/undefined symbol: (memcpy|memset|memmove)/, "use __builtin_memcpy() and its like with a size, or a loop"],
  [
    /no member named '\w+' in 'struct (params|pf_params)'|use of undeclared identifier '(OUTPUT|COUNTER|LOG)_\w+'/,
    "names come from filter.yaml, by way of the generated params.h: pktflow filter show has them",
  ],
  [
    /unknown target|No available targets|wasm-ld.*(not found|No such file)/,
    "it wants clang with its wasm32 target, and lld: apt install clang lld",
  ],
];

export interface CompiledC {
  bytes: Uint8Array;
  /** Absolute paths of the files from elsewhere than its folder that the source includes, but for the system's. */
  included: string[];
}

/** "": there is no clang, which compiling will say. */
export function clangVersion(): string {
  return spawnSync("clang", ["--version"], { encoding: "utf8" }).stdout ?? "";
}

/**
 * @param header text of the generated params.h
 * @param include folder of pktflow.h
 * @throws FilterError with clang's own words, or that there is no clang
 */
export function compileC(folder: string, header: string, include: string): CompiledC {
  const work = mkdtempSync(join(tmpdir(), "pktflow-clang-"));
  try {
    writeFileSync(join(work, "params.h"), header);
    const output = join(work, "filter.wasm");
    const source = join(folder, C_SOURCE);
    const { error, status, stderr } = spawnSync(
      "clang",
      [...FLAGS, "-MMD", "-MF", join(work, "included"), "-I", work, "-I", include, "-o", output, source],
      { encoding: "utf8" },
    );
    if (error !== undefined) {
      throw new FilterError(
        `clang: ${(error as NodeJS.ErrnoException).code}: ${source} needs clang and lld (apt install clang lld)`,
      );
    }
    if (status !== 0) {
      const advice = ADVICE.filter(([pattern]) => pattern.test(stderr)).map(([, text]) => `\n  ${text}`);
      throw new FilterError(`compiling ${source} failed:\n${stderr.trimEnd()}${advice.join("")}`);
    }
    const included = includedIn(readFileSync(join(work, "included"), "utf8")).map((file) => resolve(file));
    const known = [work, folder, include].map((one) => one + sep);
    return {
      bytes: readFileSync(output),
      included: included.filter((file) => !known.some((one) => file.startsWith(one))),
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Files of a make rule: `filter.wasm: a.c \\ b.h`, a space in a name behind a backslash. */
function includedIn(rule: string): string[] {
  const files = rule.slice(rule.indexOf(": ") + 2).replaceAll("\\\n", " ");
  return files.split(/(?<!\\)\s+/).flatMap((file) => (file === "" ? [] : [file.replaceAll("\\ ", " ")]));
}
