/** core.wasm: what the host does to whole batches in Wasm. One instance a worker. Source: assembly/core. */

export interface Core {
  /** Takes the struct virtio_net_hdr before each packet of a batch into its descriptor. Before dissect. */
  takeHeaders(batch: number): void;
  /**
   * Finds the headers of every packet of a batch; counts rx (packets, bytes, datagrams) and malformed ones.
   * @param path counters like rx of where they all go; 0, or left out: none
   */
  dissect(batch: number, layer: number, rx: number, malformed: number, path?: number): void;
  /** Sends each packet of a batch where its output leads: 0 stays, the others go to the batches in the context's table. */
  partition(batch: number, context: number): void;
  /** Sends what the filter has emitted where its outputs lead from the steps at which it held it. */
  emit(context: number): void;
  /** Adds a batch's packets, bytes and datagrams to three counters. */
  measure(batch: number, counters: number): void;
  /**
   * Moves packets from `exit` to the end of `ready`, finished for the device whose DEVICE_INFO is at `info`: super-packets
   * cut or put together, checksums completed, headers written.
   * @param flows COALESCE_FLOWS u32 to work with
   * @param counters u64 each, by OFFLOAD_COUNTERS
   * @returns packets that stay in `exit`, for no slot was free: transmit `ready`, then call again
   */
  finish(exit: number, ready: number, info: number, free: number, flows: number, counters: number): number;
}

export function instantiateCore(bytes: Uint8Array, memory: WebAssembly.Memory): Core {
  const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
  return new WebAssembly.Instance(module, { env: { memory } }).exports as unknown as Core;
}
