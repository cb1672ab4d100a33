import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url));

/** Compiles sources by name as filters are compiled (asconfig's options), with "pktflow/assembly" at hand. */
export async function compile(sources: Record<string, string>, entry: string): Promise<Uint8Array> {
  let errors = "";
  let wasm: Uint8Array | undefined;
  const { error } = await asc.main(
    [entry, "-O3", "--runtime", "stub", "--use", "abort=", "--importMemory", "--sharedMemory"].concat([
      "--maximumMemory",
      "16",
      "--initialMemory",
      "1",
      "--enable",
      "threads",
      "--enable",
      "simd",
      "--outFile",
      "out.wasm",
    ]),
    {
      readFile: (name) => {
        const sdk = /node_modules\/pktflow\/(assembly\b.*)$/.exec(name)?.[1];
        if (sdk === undefined) return sources[name] ?? null;
        return existsSync(PACKAGE + sdk) ? readFileSync(PACKAGE + sdk, "utf8") : null;
      },
      writeFile: (_, contents) => {
        wasm = contents as Uint8Array;
      },
      listFiles: () => [],
      stderr: {
        write: (text: string) => {
          errors += text;
        },
      } as never,
      stdout: { write: () => undefined } as never,
    },
  );
  if (error || !wasm) throw new Error(`asc: ${error?.message}\n${errors}`);
  return wasm;
}
