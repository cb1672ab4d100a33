/** core's finish on a memory of its own: packets in, what would be written out. */
import { readFileSync } from "node:fs";
import { OFFLOAD_COUNTERS } from "../../src/batches/counters.ts";
import { COALESCE_FLOWS, DESCRIPTOR, DEVICE_INFO, VNET_HEADER } from "../../src/batches/layout.ts";
import { batchAt, batchCount, batchMove, counterRead } from "../../src/batches/memory.ts";
import { buildCore } from "../../src/filters/build.ts";
import type { Core } from "../../src/workers/core.ts";
import { TestMemory } from "../support/packet-memory.ts";

export interface Vnet {
  flags: number;
  gsoType: number;
  hdrLen: number;
  gsoSize: number;
  csumStart: number;
  csumOffset: number;
}
export const NO_VNET: Vnet = { flags: 0, gsoType: 0, hdrLen: 0, gsoSize: 0, csumStart: 0, csumOffset: 0 };

export interface Given {
  bytes: Uint8Array;
  vnet?: Partial<Vnet>;
}
export interface Finished {
  bytes: Uint8Array;
  /** As it lies before the packet. */
  vnet: Vnet;
  datagrams: number;
}

export class Finisher {
  readonly memory: TestMemory;
  readonly counters: number;
  private readonly core: Core;
  private readonly rx: number;
  private readonly exit: number;
  private readonly ready: number;
  private readonly info: number;
  private readonly flows: number;

  private constructor(wasm: Uint8Array, slots: number) {
    this.memory = new TestMemory({ slots, room: 65535 + 86, extra: 65536 });
    const { m } = this.memory;
    const module = new WebAssembly.Module(wasm as Uint8Array<ArrayBuffer>);
    this.core = new WebAssembly.Instance(module, { env: { memory: m.memory } }).exports as unknown as Core;
    this.exit = this.memory.batch();
    this.ready = this.memory.batch();
    this.info = this.memory.take(DEVICE_INFO.SIZE);
    this.flows = this.memory.take(4 * COALESCE_FLOWS);
    this.counters = this.memory.take(8 * OFFLOAD_COUNTERS.length);
    this.rx = this.memory.take(1024);
  }

  static async make(slots = 192): Promise<Finisher> {
    const { wasm } = await buildCore();
    return new Finisher(readFileSync(wasm), slots);
  }

  /** Takes packets in as from a device of this layer. */
  receive(packets: Given[], layer: 2 | 3): void {
    const { m } = this.memory;
    for (const { bytes, vnet } of packets) {
      this.memory.put(this.exit, bytes);
      const d = batchAt(m, this.exit, batchCount(m, this.exit) - 1);
      writeVnet(m.u8, m.u32[(d + DESCRIPTOR.DATA) >>> 2] - VNET_HEADER, { ...NO_VNET, ...vnet });
    }
    this.core.takeHeaders(this.exit);
    this.core.dissect(this.exit, layer, this.rx, this.rx + 64);
  }

  /** Finishes what was received, or finished before, for a device. What is short of slots leaves in several turns. */
  finish(offloads: number, header = VNET_HEADER): Finished[] {
    const out: Finished[] = [];
    while (batchCount(this.memory.m, this.exit) > 0) {
      const before = batchCount(this.memory.m, this.memory.free);
      const left = this.step(offloads, header);
      if (left > 0 && before === 0) throw new Error("no slot is free");
      out.push(...this.take());
    }
    return out;
  }

  /** Finishes for one device and hands on to the next: what finish() then gets is as it left the first. */
  handOn(offloads: number): void {
    if (this.step(offloads, VNET_HEADER) > 0) throw new Error("no slot is free");
    batchMove(this.memory.m, this.ready, this.exit);
  }

  count(name: (typeof OFFLOAD_COUNTERS)[number]): number {
    return counterRead(this.memory.m, this.counters + 8 * OFFLOAD_COUNTERS.indexOf(name));
  }

  private step(offloads: number, header: number): number {
    const { m, free } = this.memory;
    m.u32[(this.info + DEVICE_INFO.OFFLOADS) >>> 2] = offloads;
    m.u32[(this.info + DEVICE_INFO.VNET_HEADER) >>> 2] = header;
    return this.core.finish(this.exit, this.ready, this.info, free, this.flows, this.counters);
  }

  private take(): Finished[] {
    const { m } = this.memory;
    const out: Finished[] = [];
    for (let i = 0; i < batchCount(m, this.ready); i++) {
      const d = batchAt(m, this.ready, i);
      const data = m.u32[(d + DESCRIPTOR.DATA) >>> 2];
      out.push({
        bytes: m.u8.slice(data, data + m.u32[(d + DESCRIPTOR.LENGTH) >>> 2]),
        vnet: readVnet(m.u8, data - VNET_HEADER),
        datagrams: m.u32[(d + DESCRIPTOR.DATAGRAMS) >>> 2],
      });
    }
    batchMove(m, this.ready, this.memory.free);
    return out;
  }
}

export function writeVnet(bytes: Uint8Array, at: number, vnet: Vnet): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, VNET_HEADER);
  view.setUint8(0, vnet.flags);
  view.setUint8(1, vnet.gsoType);
  view.setUint16(2, vnet.hdrLen, true);
  view.setUint16(4, vnet.gsoSize, true);
  view.setUint16(6, vnet.csumStart, true);
  view.setUint16(8, vnet.csumOffset, true);
  view.setUint16(10, 0, true);
}

export function readVnet(bytes: Uint8Array, at: number): Vnet {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, VNET_HEADER);
  return {
    flags: view.getUint8(0),
    gsoType: view.getUint8(1),
    hdrLen: view.getUint16(2, true),
    gsoSize: view.getUint16(4, true),
    csumStart: view.getUint16(6, true),
    csumOffset: view.getUint16(8, true),
  };
}
