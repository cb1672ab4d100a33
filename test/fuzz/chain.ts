/**
 * Filters one behind the other on one memory, as a worker has them, and what must hold whatever comes: none traps, each packet
 * leaves by an output that there is, lies within its slot, and nothing outside of the slots and the filters' own state has
 * been written. Filters that hold packets have no room to: what they do then is part of what must hold.
 */
import { readFileSync } from "node:fs";
import {
  BATCH,
  BATCH_PACKETS,
  CONTEXT,
  DESCRIPTOR,
  DEVICE_INFO,
  HEADROOM,
} from "../../src/batches/layout.ts";
import { descriptorReset, PacketMemory, u64Write } from "../../src/batches/memory.ts";
import type { Manifest } from "../../src/config/types.ts";
import { buildCore } from "../../src/filters/build.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { type FilterInstance, instantiate, SCRATCH_PARAMS, stateSizes } from "../../src/filters/load.ts";
import type { BuiltPacket } from "../../src/filters/notation.ts";
import { encodeParams } from "../../src/params/encode.ts";
import { namedOutputs } from "../../src/params/parse.ts";
import type { ParamValues } from "../../src/params/types.ts";
import type { CoreExports } from "../assembly/core.ts";
import { LONGEST } from "./packets.ts";

const PAGE = 65_536;
const GUARD = 256;
const PATTERN = 0xa5;
const SLOT = HEADROOM + LONGEST + 128;
const DROP = 1;

export interface Module {
  manifest: Manifest;
  module: WebAssembly.Module;
}
export interface Link extends Module {
  values: ParamValues;
}
/** What must not be. */
export class Violation extends Error {}

export async function loadAll(manifests: Manifest[]): Promise<Module[]> {
  return Promise.all(
    manifests.map(async (manifest) => ({ manifest, module: (await loadFilter(manifest)).module })),
  );
}
export async function loadCore(): Promise<WebAssembly.Module> {
  return new WebAssembly.Module(readFileSync((await buildCore()).wasm));
}

interface Place {
  kind: string;
  filter: FilterInstance;
  context: number;
  outputs: number;
}

export class FuzzChain {
  private readonly m: PacketMemory;
  private readonly core: CoreExports;
  private readonly places: Place[];
  private readonly layer: 2 | 3;
  private readonly batch: number;
  private readonly descriptors: number;
  private readonly slots: number;
  private readonly scratch: number;
  /** What no filter may write: parameters and devices, as they were. */
  private readonly frozen: { at: number; bytes: Buffer };
  private readonly guard = Buffer.alloc(GUARD, PATTERN);
  private now = 3600e9;

  /** @throws WebAssembly.RuntimeError when a filter refuses its parameters by a trap at the start */
  constructor(core: WebAssembly.Module, links: Link[], layer: 2 | 3) {
    this.layer = layer;
    let next = PAGE;
    const take = (bytes: number) => {
      const at = next;
      next += Math.ceil(bytes / 64) * 64;
      return at;
    };
    const plans = links.map(({ manifest, module, values }) => {
      const outputs = ["next", "drop", ...manifest.outputs.map(({ name }) => name)];
      for (const name of namedOutputs(manifest.params, values))
        if (!outputs.includes(name)) outputs.push(name);
      const encode = (at: number) => encodeParams(manifest.params, values, outputs, at);
      const sizes = stateSizes(module, manifest, encode(SCRATCH_PARAMS));
      return { manifest, module, outputs, encode, sizes, values };
    });
    const frozenAt = next;
    const params = plans.map(({ encode }) => take(encode(0).length));
    const devices = take(2 * DEVICE_INFO.SIZE);
    const frozenEnd = next;
    const states = plans.map(({ manifest, sizes, values }) => {
      const counters = manifest.counters.reduce(
        (sum, { each }) => sum + (each === undefined ? 1 : (values[each] as unknown[]).length),
        0,
      );
      return {
        context: take(CONTEXT.SIZE),
        counters: take(8 * counters),
        worker: take(sizes.worker),
        shared: take(sizes.shared),
      };
    });
    this.batch = take(BATCH.ENTRIES + 4 * BATCH_PACKETS);
    this.scratch = take(1024);
    this.descriptors = take(DESCRIPTOR.SIZE * BATCH_PACKETS);
    this.slots = take((SLOT + GUARD) * BATCH_PACKETS + GUARD) + GUARD;
    const pages = Math.ceil(next / PAGE) + 1;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.m = new PacketMemory(memory);
    this.core = new WebAssembly.Instance(core, { env: { memory } }).exports as unknown as CoreExports;
    plans.forEach(({ encode }, i) => {
      this.m.u8.set(encode(params[i]), params[i]);
    });
    for (const i of [0, 1]) {
      this.word(devices + i * DEVICE_INFO.SIZE + DEVICE_INFO.MTU, 1500);
      this.word(devices + i * DEVICE_INFO.SIZE + DEVICE_INFO.LAYER, layer);
    }
    this.places = plans.map(({ manifest, module, outputs, sizes }, i) => {
      const { context, counters, worker, shared } = states[i];
      const word = (at: number, value: number) => this.word(context + at, value);
      word(CONTEXT.WORKERS, 1);
      word(CONTEXT.RANDOM, i + 1);
      word(CONTEXT.PARAMS, params[i]);
      word(CONTEXT.WORKER_STATE, worker);
      word(CONTEXT.WORKER_STATE_BYTES, sizes.worker);
      word(CONTEXT.SHARED_STATE, shared);
      word(CONTEXT.SHARED_STATE_BYTES, sizes.shared);
      word(CONTEXT.COUNTERS, counters);
      word(CONTEXT.OUTPUTS, outputs.length);
      word(CONTEXT.DEVICES, devices);
      u64Write(this.m, context + CONTEXT.NOW, this.now);
      instantiate(module, memory).initShared?.(context);
      const filter = instantiate(module, memory);
      filter.init(context);
      return { kind: manifest.kind, filter, context, outputs: outputs.length };
    });
    // As they are when the first packet comes: initShared may put its own in order (route sorts its routes).
    this.frozen = {
      at: frozenAt,
      bytes: Buffer.from(this.m.u8.slice(frozenAt, frozenEnd)),
    };
  }

  /**
   * Sends a batch through all filters; what one drops, the next does not see.
   * @param seconds how much later than the last batch
   * @returns how many came out at the end
   * @throws Violation
   */
  send(packets: BuiltPacket[], seconds: number): number {
    const { m } = this;
    this.now += seconds * 1e9;
    m.u8.fill(PATTERN, this.slots - GUARD, this.slots + (SLOT + GUARD) * BATCH_PACKETS);
    packets.forEach((packet, i) => {
      this.put(packet, i);
    });
    this.word(this.batch + BATCH.COUNT, packets.length);
    this.core.dissect(this.batch, this.layer, this.scratch, this.scratch + 64);
    let left = packets.map((_, i) => this.descriptors + i * DESCRIPTOR.SIZE);
    for (const place of this.places) {
      if (left.length === 0) break;
      left = this.through(place, left);
    }
    this.check(packets.length);
    return left.length;
  }

  private through({ kind, filter, context, outputs }: Place, descriptors: number[]): number[] {
    const { m } = this;
    u64Write(m, context + CONTEXT.NOW, this.now);
    u64Write(m, context + CONTEXT.WALL_CLOCK, this.now);
    descriptors.forEach((descriptor, i) => {
      this.word(this.batch + BATCH.ENTRIES + 4 * i, descriptor);
      m.u8[descriptor + DESCRIPTOR.OUTPUT] = 255;
    });
    this.word(this.batch + BATCH.COUNT, descriptors.length);
    try {
      filter.process(this.batch + BATCH.ENTRIES, descriptors.length);
      filter.tick?.(context);
    } catch (error) {
      throw new Violation(`${kind} trapped: ${(error as Error).message}`);
    }
    return descriptors.filter((descriptor, i) => {
      const output = m.u8[descriptor + DESCRIPTOR.OUTPUT];
      if (output >= outputs)
        throw new Violation(`${kind} sent packet ${i} to output ${output} of ${outputs}`);
      return output !== DROP;
    });
  }

  private put({ bytes, partial }: BuiltPacket, i: number): void {
    const { m } = this;
    const descriptor = this.descriptors + i * DESCRIPTOR.SIZE;
    const slot = this.slots + i * (SLOT + GUARD);
    m.u8.set(bytes, slot + HEADROOM);
    this.word(descriptor + DESCRIPTOR.SLOT, slot);
    this.word(descriptor + DESCRIPTOR.CAPACITY, SLOT);
    descriptorReset(m, descriptor, slot + HEADROOM, bytes.length, i & 1);
    this.word(this.batch + BATCH.ENTRIES + 4 * i, descriptor);
    if (!partial) return;
    m.u8[descriptor + DESCRIPTOR.VNET_FLAGS] = 1;
    m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_START) >>> 1] = partial.start;
    m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_OFFSET) >>> 1] = partial.field - partial.start;
  }

  private check(count: number): void {
    const { m, frozen } = this;
    for (let i = 0; i < BATCH_PACKETS; i++) {
      const slot = this.slots + i * (SLOT + GUARD);
      for (const at of [slot - GUARD, slot + SLOT]) {
        if (this.guard.compare(m.u8, at, at + GUARD) !== 0) {
          throw new Violation(`beside the slot of packet ${i} something was written`);
        }
      }
      if (i >= count) continue;
      const descriptor = this.descriptors + i * DESCRIPTOR.SIZE;
      const data = m.u32[(descriptor + DESCRIPTOR.DATA) >>> 2];
      const end = data + m.u32[(descriptor + DESCRIPTOR.LENGTH) >>> 2];
      const own = m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2];
      if (own !== slot || m.u32[(descriptor + DESCRIPTOR.CAPACITY) >>> 2] !== SLOT) {
        throw new Violation(`packet ${i} has another slot`);
      }
      if (data < slot || end > slot + SLOT) throw new Violation(`packet ${i} lies outside of its slot`);
    }
    const { at, bytes } = frozen;
    if (bytes.compare(m.u8, at, at + bytes.length) !== 0) throw new Violation("parameters were written");
  }

  private word(address: number, value: number): void {
    this.m.u32[address >>> 2] = value;
  }
}
