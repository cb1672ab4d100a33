/** core.wasm on a memory of its own, and packets in it. */
import { readFileSync } from "node:fs";
import { BATCH, DESCRIPTOR } from "../../src/batches/layout.ts";
import { descriptorReset, PacketMemory, u64Read } from "../../src/batches/memory.ts";
import { buildCore } from "../../src/filters/build.ts";

export interface CoreExports {
  dissect(batch: number, layer: number, rx: number, malformed: number): void;
  partition(batch: number, context: number): void;
  measure(batch: number, counters: number): void;
  copy(to: number, from: number): number;
  flowHash(descriptor: number): number;
}

const PAGES = 4;
export const MEMORY_BYTES = PAGES * 65536;
export const RX = 1024;
export const MALFORMED_COUNTERS = 2048;
export const BATCH_ADDRESS = 4096;
export const DESCRIPTORS = 8192;

/** Compiled from the sources, if they changed since. */
export async function coreOnMemory() {
  const { wasm } = await buildCore();
  const memory = new WebAssembly.Memory({ initial: PAGES, maximum: PAGES, shared: true });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(wasm)), { env: { memory } });
  return { core: instance.exports as unknown as CoreExports, m: new PacketMemory(memory) };
}

export interface Descriptor {
  l3: number;
  l4: number;
  payload: number;
  protocol: number;
  flags: number;
  flowHash: number;
  error: number;
}

/** The fields that dissect sets, and the hash of what it found. */
function descriptorAt({ core, m }: { core: CoreExports; m: PacketMemory }, d: number): Descriptor {
  return {
    l3: m.u16[(d + DESCRIPTOR.L3) >>> 1],
    l4: m.u16[(d + DESCRIPTOR.L4) >>> 1],
    payload: m.u16[(d + DESCRIPTOR.PAYLOAD) >>> 1],
    protocol: m.u8[d + DESCRIPTOR.PROTOCOL],
    flags: m.u32[(d + DESCRIPTOR.FLAGS) >>> 2],
    flowHash: core.flowHash(d) >>> 0,
    error: m.u16[(d + DESCRIPTOR.ERROR) >>> 1],
  };
}

/** Puts the packet's bytes at `data` and dissects it as a batch of one. */
export function dissectAt(
  { core, m }: { core: CoreExports; m: PacketMemory },
  bytes: Uint8Array,
  layer: 2 | 3,
  data: number,
): Descriptor {
  m.u8.set(bytes, data);
  descriptorReset(m, DESCRIPTORS, data, bytes.length, 0);
  m.u32[BATCH_ADDRESS >>> 2] = 1;
  m.u32[(BATCH_ADDRESS + BATCH.ENTRIES) >>> 2] = DESCRIPTORS;
  core.dissect(BATCH_ADDRESS, layer, RX, MALFORMED_COUNTERS);
  return descriptorAt({ core, m }, DESCRIPTORS);
}

export function counters(m: PacketMemory, address: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => u64Read(m, address + i * 8));
}
