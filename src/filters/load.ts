/**
 * From a module on disk to instances on a memory. In: what build.ts made or a user built; out: checked modules, which
 * may be cloned to workers, and their instances.
 */
import { readFileSync } from "node:fs";
import type { PacketMemory } from "../batches/memory.ts";
import type { Isolation, Manifest } from "../config/types.ts";
import { checkModule } from "./check.ts";
import { FilterError } from "./error.ts";
import { IsolatedInstance } from "./isolated.ts";

/** A filter's Wasm on one memory; addresses and sizes are plain numbers. Any of these may trap (RuntimeError). */
export interface FilterInstance {
  init(context: number): void;
  /** Sets the output of `count` packets whose descriptors' addresses lie at `vector`. */
  process(vector: number, count: number): void;
  tick?(context: number): void;
  /** When the time that it wrote at CONTEXT.DUE has come. */
  wake?(context: number): void;
  /** Address in the vector of the packet that process() is at. On a trap, those before it are done. */
  progress?: WebAssembly.Global;
  /** The same of batch(): address of the last packet that it has looked at. Those up to it that have no output yet are lost. */
  touched?: WebAssembly.Global;
  /** Once a filter, before the workers start: fills the shared state. */
  initShared?(context: number): void;
  /** Once a filter, before initShared, and again for other parameters: fills the prepared state. */
  prepare?(context: number): void;
  /** Between two calls, when the context has other parameters and another prepared state than it had. */
  reload?(context: number): void;
  workerStateSize?(params: number): number;
  sharedStateSize?(params: number): number;
  preparedStateSize?(params: number): number;
}

/** What an instance with a memory of its own must know beside its context. */
export interface InstanceShape {
  slotBytes: number;
  paramsBytes: number;
  /** Offsets in the parameters at which addresses stand. */
  references: readonly number[];
  workerStateBytes: number;
  /** How many. */
  counters: number;
  devices: number;
  /** 64 bytes of the pipeline's memory to work with. */
  scratch: number;
}

/** Bytes of state, the manifest's "computed" worked out. */
export interface StateSizes {
  worker: number;
  shared: number;
  prepared: number;
}

/** Reads, checks and compiles a module. @throws FilterError */
export function loadModule(
  wasm: string,
  isolation: Isolation = "none",
): { bytes: Uint8Array; module: WebAssembly.Module } {
  const bytes = readModule(wasm);
  return { bytes, module: compileModule(bytes, wasm, isolation) };
}

/** Reads and compiles a built-in filter's module, which was checked when it was built. @throws FilterError */
export function loadBuiltin(wasm: string): { bytes: Uint8Array; module: WebAssembly.Module } {
  const bytes = readModule(wasm);
  return { bytes, module: new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>) };
}

function readModule(wasm: string): Uint8Array {
  try {
    return readFileSync(wasm);
  } catch (error) {
    throw new FilterError(`reading ${wasm}: ${(error as NodeJS.ErrnoException).code ?? error}`);
  }
}

/** Checks and compiles a module. @param name what it is called in errors @throws FilterError */
export function compileModule(
  bytes: Uint8Array,
  name: string,
  isolation: Isolation = "none",
): WebAssembly.Module {
  checkModule(bytes, name, isolation);
  return new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
}

/** Whether a module that was checked has a memory of its own: then it imports none. */
export function isIsolated(module: WebAssembly.Module): boolean {
  return WebAssembly.Module.imports(module).length === 0;
}

/** Makes an instance of either kind; init is still to be called. @throws what the module's start function traps with */
export function makeInstance(
  module: WebAssembly.Module,
  m: PacketMemory,
  shape: InstanceShape,
): FilterInstance {
  return isIsolated(module) ? new IsolatedInstance(module, m, shape) : instantiate(module, m.memory);
}

/** Makes an instance on the pipeline's memory; init is still to be called. */
export function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): FilterInstance {
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as FilterInstance;
}

const PAGE = 65536;
/** Most state that a filter may ask for, of a worker or shared, bytes. All of a pipeline's memory is 4 GiB at most. */
export const MOST_STATE = 2 ** 30;
/** Where stateSizes puts the parameters on its scratch memory: past what a null address would reach. */
export const SCRATCH_PARAMS = 4096;

/**
 * Bytes of state that a filter needs with these parameters: what its manifest says, or what the module computes.
 * @param encoded the parameters in bytes, encoded for the address SCRATCH_PARAMS
 * @throws FilterError when the size is to be computed and the module does not, or traps
 */
export function stateSizes(module: WebAssembly.Module, manifest: Manifest, encoded: Uint8Array): StateSizes {
  const { worker, shared, prepared } = manifest.state;
  if (isIsolated(module) && (shared !== 0 || prepared !== 0 || worker === "computed")) {
    throw new FilterError(
      `${manifest.kind}: with a memory of its own it can share no state, and need not compute its size: ` +
        "state: { worker: 64KiB }, or what its own memory holds",
    );
  }
  if (worker !== "computed" && shared !== "computed" && prepared !== "computed")
    return withinLimit(manifest, { worker, shared, prepared });
  const pages = Math.ceil((SCRATCH_PARAMS + encoded.length) / PAGE);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  new Uint8Array(memory.buffer).set(encoded, SCRATCH_PARAMS);
  const instance = instantiate(module, memory);
  const compute = (name: "workerStateSize" | "sharedStateSize" | "preparedStateSize"): number => {
    const size = instance[name];
    if (size === undefined) {
      throw new FilterError(
        `${manifest.kind}: its manifest says that state is "computed", but it exports no ${name}(params: usize): usize`,
      );
    }
    try {
      // Wasm's i32 is signed to JavaScript.
      return size(SCRATCH_PARAMS) >>> 0;
    } catch (error) {
      throw new FilterError(`${manifest.kind}: ${name}() trapped: ${(error as Error).message}`);
    }
  };
  return withinLimit(manifest, {
    worker: worker === "computed" ? compute("workerStateSize") : worker,
    shared: shared === "computed" ? compute("sharedStateSize") : shared,
    prepared: prepared === "computed" ? compute("preparedStateSize") : prepared,
  });
}

function withinLimit(manifest: Manifest, sizes: StateSizes): StateSizes {
  for (const [what, bytes] of [
    ["state for each worker", sizes.worker],
    ["shared state", sizes.shared],
    ["prepared state", sizes.prepared],
  ] as const) {
    if (bytes <= MOST_STATE) continue;
    const gib = (bytes / 2 ** 30).toFixed(2);
    throw new FilterError(
      `${manifest.kind}: with these parameters it asks for ${gib} GiB of ${what}, and 1 GiB is the most`,
    );
  }
  return sizes;
}
