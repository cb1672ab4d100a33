/**
 * The pipeline's one shared WebAssembly.Memory seen from TypeScript: typed views, the free list and batches as
 * plain functions over addresses. Nothing here allocates after construction. Layouts: layout.ts.
 */
import { BATCH, DESCRIPTOR } from "./layout.ts";

/** Views over the pipeline's memory; one object a thread. Addresses are offsets from the memory's start. */
export class PacketMemory {
  readonly memory: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly u16: Uint16Array;
  readonly u32: Uint32Array;
  readonly i32: Int32Array;
  readonly u64: BigUint64Array;

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    const { buffer } = memory;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.u64 = new BigUint64Array(buffer);
  }

  /** When the memory has grown, on any thread: views as long as it is. Those that were taken before still see what they saw. */
  renew(): void {
    Object.assign(this, new PacketMemory(this.memory));
  }
}

export function batchCount(m: PacketMemory, batch: number): number {
  return m.u32[batch >>> 2];
}

/** Puts a descriptor at the end of a batch (on top of the free list). The plan sizes batches so that all fit. */
export function batchPush(m: PacketMemory, batch: number, descriptor: number): void {
  const at = batch >>> 2;
  const count = m.u32[at];
  m.u32[at + (BATCH.ENTRIES >>> 2) + count] = descriptor;
  m.u32[at] = count + 1;
}

/** Takes the last descriptor of a batch (the top of the free list), or 0 when it is empty. */
export function batchPop(m: PacketMemory, batch: number): number {
  const at = batch >>> 2;
  const count = m.u32[at];
  if (count === 0) return 0;
  m.u32[at] = count - 1;
  return m.u32[at + (BATCH.ENTRIES >>> 2) + count - 1];
}

/** Address of the i-th descriptor of a batch. */
export function batchAt(m: PacketMemory, batch: number, i: number): number {
  return m.u32[(batch >>> 2) + (BATCH.ENTRIES >>> 2) + i];
}

/** Moves every descriptor of `from` to the end of `to` and empties `from`. */
export function batchMove(m: PacketMemory, from: number, to: number): void {
  const count = m.u32[from >>> 2];
  if (count === 0) return;
  const target = to >>> 2;
  const source = (from + BATCH.ENTRIES) >>> 2;
  m.u32.copyWithin(target + (BATCH.ENTRIES >>> 2) + m.u32[target], source, source + count);
  m.u32[target] += count;
  m.u32[from >>> 2] = 0;
}

/** Adds to a u64 counter that only this thread writes. `n` is a whole number below 2^53. */
export function counterAdd(m: PacketMemory, address: number, n: number): void {
  const at = address >>> 2;
  const low = m.u32[at] + n;
  if (low < 4294967296) m.u32[at] = low;
  // Both halves at once, or a reader between them would be 2^32 off. So seldom that a BigInt costs nothing.
  else Atomics.store(m.u64, address >>> 3, (BigInt(m.u32[at + 1]) << 32n) + BigInt(low));
}

/** Reads a u64 counter that another thread may be writing; exact up to 2^53. */
export function counterRead(m: PacketMemory, address: number): number {
  const at = address >>> 2;
  for (;;) {
    const high = Atomics.load(m.u32, at + 1);
    const low = Atomics.load(m.u32, at);
    if (Atomics.load(m.u32, at + 1) === high) return high * 4294967296 + low;
  }
}

/** Writes a u64 (a time in ns, say) from a number; from 2^53 on as exact as the number is. */
export function u64Write(m: PacketMemory, address: number, value: number): void {
  const high = Math.floor(value / 4294967296);
  m.u32[address >>> 2] = value - high * 4294967296;
  m.u32[(address >>> 2) + 1] = high;
}

export function u64Read(m: PacketMemory, address: number): number {
  return m.u32[(address >>> 2) + 1] * 4294967296 + m.u32[address >>> 2];
}

/** Writes the fields that every freshly received packet starts with; vnet_hdr and mark are cleared. */
export function descriptorReset(
  m: PacketMemory,
  d: number,
  data: number,
  length: number,
  deviceQueue: number,
): void {
  const at = d >>> 2;
  const u32 = m.u32;
  u32[at + (DESCRIPTOR.DATA >>> 2)] = data;
  u32[at + (DESCRIPTOR.LENGTH >>> 2)] = length;
  u32[at + 2] = 0; // l3, l4
  u32[at + 3] = 0; // payload, protocol, output
  u32[at + 4] = 0; // flags
  u32[at + 6] = deviceQueue; // device | queue << 8, error 0
  u32[at + 7] = 0; // mark
  u32[at + 8] = 0; // vnet_hdr
  u32[at + 9] = 0;
  u32[at + 10] = 0;
  u32[at + 11] = 1; // datagrams
}
