/** core.wasm: what the host does to whole batches in Wasm. One instance a worker. Source: assembly/core. */

export interface Core {
  /** Finds the headers of every packet of a batch; counts rx (packets, bytes, datagrams) and malformed ones. */
  dissect(batch: number, layer: number, rx: number, malformed: number): void;
  /** Sends each packet of a batch where its output leads: 0 stays, the others go to the batches in the context's table. */
  partition(batch: number, context: number): void;
  /** Adds a batch's packets, bytes and datagrams to three counters. */
  measure(batch: number, counters: number): void;
}

export function instantiateCore(bytes: Uint8Array, memory: WebAssembly.Memory): Core {
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Core;
}
