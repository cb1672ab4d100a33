/** What a filter's module may be (assembly/README.md says why); the load check. In: bytes that nobody vouches for. */
import { ABI_VERSION } from "../batches/layout.ts";
import type { Isolation } from "../config/types.ts";
import { Reader, SECTION, sections } from "./binary.ts";
import { FilterError } from "./error.ts";
import { growsMemory } from "./instructions.ts";

const KIND = ["function", "table", "memory", "global", "tag"];
const MEMORY = 2;
const SHARED = 2;
/** 4 GiB, all that 32 bits address. */
const MOST_PAGES = 65_536;
/** 1 GiB: most memory that a filter may have for itself. */
const MOST_OWN_PAGES = 16_384;
const REQUIRED = ["init", "process"];

/**
 * Refuses a module that could disturb others in the memory they share, or that does not speak the ABI.
 * @param name what the module is called in the error
 * @throws FilterError with every reason, and what to do instead
 */
export function checkModule(bytes: Uint8Array, name: string, isolation: Isolation = "none"): void {
  let reasons: string[];
  try {
    reasons = isolation === "memory" ? isolatedRefusals(bytes) : refusals(bytes);
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    reasons = [error.message];
  }
  if (reasons.length > 0) throw new FilterError(`${name} is refused: ${reasons.join("; ")}`);
}

/** @throws FilterError when the bytes cannot be read as a module */
function refusals(bytes: Uint8Array): string[] {
  const reasons: string[] = [];
  let pages: number | undefined;
  for (const { id, body } of sections(bytes)) {
    const reader = new Reader(body);
    if (id === SECTION.IMPORT) pages = checkImports(reader, reasons);
    if (id === SECTION.MEMORY && reader.u32() > 0) {
      reasons.push("it has a memory of its own: import env.memory (asc --importMemory)");
    }
    if (id === SECTION.START) {
      reasons.push("it has a start function: give globals constant values and do the rest in init()");
    }
    if (id === SECTION.CODE && growsMemory(body)) {
      reasons.push(
        "its code grows memory, as an allocator does: no strings, arrays or objects; use load, store and " +
          "@unmanaged classes over its state",
      );
    }
    if (id === SECTION.DATA && reader.u32() > 0) {
      reasons.push(
        "it has data segments, which would overwrite other filters': no strings, static arrays or " +
          "objects; keep tables in the state and fill them in init()",
      );
    }
  }
  if (reasons.length === 0 && pages === undefined) {
    reasons.push("it does not import env.memory: compile with asc --importMemory --sharedMemory");
  }
  if (reasons.length === 0) checkExports(bytes, reasons);
  return reasons;
}

/** A module with a memory of its own may have what it wants, but for imports and memory without end. */
function isolatedRefusals(bytes: Uint8Array): string[] {
  const reasons: string[] = [];
  let most: number | undefined;
  for (const { id, body } of sections(bytes)) {
    const reader = new Reader(body);
    if (id === SECTION.IMPORT && reader.u32() > 0) {
      reasons.push(
        `it imports ${reader.name()}.${reader.name()}: a filter with a memory of its own gets nothing else; build it ` +
          "for isolation: memory, without libc and WASI",
      );
    }
    if (id === SECTION.MEMORY && reader.u32() > 0) {
      const flags = reader.u8();
      reader.u32();
      most = (flags & SHARED) === 0 && (flags & 1) !== 0 ? reader.u32() : MOST_PAGES;
    }
  }
  if (most !== undefined && most > MOST_OWN_PAGES) {
    reasons.push(
      "its memory is shared, or has no maximum of 1 GiB at most: asc --maximumMemory 4096, wasm-ld --max-memory=268435456",
    );
  }
  if (reasons.length > 0) return reasons;
  let exported: Map<string, string>;
  try {
    const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
    exported = new Map(WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]));
  } catch (error) {
    return [`the engine does not take it: ${(error as Error).message}`];
  }
  if (exported.get("memory") !== "memory") reasons.push("it does not export a memory of its own as memory");
  for (const name of REQUIRED) {
    if (exported.get(name) !== "function") reasons.push(`it does not export the function ${name}()`);
  }
  // What it says is asked when it runs: before, its start function would.
  if (!exported.has("abi")) reasons.push("it does not export abi: see The Wasm ABI in assembly/README.md");
  return reasons;
}

/** @returns fewest pages of the memory it imports; undefined: it imports none */
function checkImports(reader: Reader, reasons: string[]): number | undefined {
  let pages: number | undefined;
  for (let left = reader.u32(); left > 0; left--) {
    const from = `${reader.name()}.${reader.name()}`;
    const kind = reader.u8();
    if (from === "env.memory" && kind === MEMORY && pages === undefined) {
      const flags = reader.u8();
      if ((flags & SHARED) === 0) {
        reasons.push("its memory is not shared: compile with asc --sharedMemory --enable threads");
      }
      pages = reader.u32();
      const most = (flags & 1) !== 0 ? reader.u32() : MOST_PAGES;
      if (pages > 1 || most !== MOST_PAGES) {
        reasons.push(
          `it wants a memory of ${pages} to ${most} pages, but the pipeline decides: compile with asc ` +
            `--initialMemory 1 --maximumMemory ${MOST_PAGES}`,
        );
      }
      continue;
    }
    reasons.push(
      `it imports the ${KIND[kind] ?? "thing"} ${from}: a filter gets env.memory only; time, randomness and the ` +
        "worker's index are in its context",
    );
    // The other imports' descriptions are not worth decoding: the module is refused.
    return pages;
  }
  return pages;
}

function checkExports(bytes: Uint8Array, reasons: string[]): void {
  let module: WebAssembly.Module;
  try {
    module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  } catch (error) {
    reasons.push(`the engine does not take it: ${(error as Error).message}`);
    return;
  }
  const kinds = new Map(WebAssembly.Module.exports(module).map(({ name, kind }) => [name, kind]));
  for (const name of REQUIRED) {
    if (kinds.get(name) !== "function") reasons.push(`it does not export the function ${name}()`);
  }
  if (kinds.get("abi") !== "global") {
    reasons.push("it does not export the global abi: see The Wasm ABI in assembly/README.md");
    return;
  }
  let version: unknown;
  try {
    // Without a start function and data, making an instance runs nothing and writes nothing.
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const { abi } = new WebAssembly.Instance(module, { env: { memory } }).exports;
    version = (abi as WebAssembly.Global).value;
  } catch (error) {
    // A memory of 64 bits that this engine knows, or an abi of a type that JavaScript has no value for.
    reasons.push(`the engine does not take it: ${(error as Error).message}`);
    return;
  }
  if (version !== ABI_VERSION) {
    reasons.push(
      `it was built for ABI ${version}, this pktflow speaks ${ABI_VERSION}: build it again from source`,
    );
  }
}
