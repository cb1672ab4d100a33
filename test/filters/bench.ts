/**
 * A built-in filter on a memory of its own, an instance a worker, with core's dissect before it. Packets in and out are
 * plain bytes. Around the slot lies a pattern that must still be there after every packet.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BATCH, CONTEXT, DESCRIPTOR, DEVICE_INFO, HEADROOM } from "../../src/batches/layout.ts";
import { descriptorReset, PacketMemory, u64Read, u64Write } from "../../src/batches/memory.ts";
import { loadManifest } from "../../src/config/manifest.ts";
import type { FilterConfig, Manifest } from "../../src/config/types.ts";
import { buildCore, PACKAGE } from "../../src/filters/build.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { type FilterInstance, instantiate, SCRATCH_PARAMS, stateSizes } from "../../src/filters/load.ts";
import { Reloading } from "../../src/filters/reloading.ts";
import { encodeParams } from "../../src/params/encode.ts";
import { namedOutputs, parseParams } from "../../src/params/parse.ts";
import type { ParamValue } from "../../src/params/types.ts";
import type { CoreExports } from "../assembly/core.ts";

const PAGE = 65536;
/** Room to grow for reloads: 256 MiB. */
const MORE_PAGES = 4096;
const FIRST = PAGE;
const GUARD = 512;
const PATTERN = 0xa5;
const SLOT = 4096;
/** Of super-packets, in the same place. */
const LONG_SLOT = 65_536 + 512;

export interface FilterModule {
  manifest: Manifest;
  module: WebAssembly.Module;
  core: WebAssembly.Module;
}

export async function filterModule(kind: string): Promise<FilterModule> {
  const manifest = loadManifest(join(PACKAGE, "assembly", "filters", kind), kind);
  const { module } = await loadFilter(manifest);
  const core = new WebAssembly.Module(readFileSync((await buildCore()).wasm));
  return { manifest, module, core };
}

function parse(manifest: Manifest, params: object): Record<string, ParamValue> {
  const parsed = parseParams(manifest.params, params);
  if ("problems" in parsed) throw new Error(parsed.problems.map(({ message }) => message).join("; "));
  return parsed.value;
}

function configOf(manifest: Manifest, params: Record<string, ParamValue>, outputs: string[]): FilterConfig {
  const counters = manifest.counters.flatMap(({ name, each }) =>
    each === undefined ? [name] : (params[each] as ParamValue[]).map((_, i) => `${name}.${i}`),
  );
  return {
    id: manifest.kind,
    manifest,
    params,
    outputs,
    counters,
    onTrap: "drop",
    isolation: manifest.isolation ?? "none",
  };
}

export interface BenchOptions {
  workers?: number;
  layer?: 2 | 3;
  /** Bytes for packets beside the bench's own slot: see place(). */
  extra?: number;
  /** `params` are what parsePipeline() has made of a file's: a million of them are not parsed twice. */
  isParsed?: boolean;
}
export interface Sent {
  output: string;
  bytes: Uint8Array;
}

export class FilterBench {
  readonly m: PacketMemory;
  readonly outputs: string[];
  readonly workers: { filter: FilterInstance; context: number; counters: number }[] = [];
  now = 3600e9;
  private readonly reloading: Reloading;
  private config: FilterConfig;
  private readonly core: CoreExports;
  private readonly layer: 2 | 3;
  private readonly batch: number;
  private readonly descriptor: number;
  private readonly slot: number;
  private readonly scratch: number;
  private next = FIRST;

  /** @param params as a pipeline file would say them */
  constructor({ manifest, module, core }: FilterModule, params: object, options: BenchOptions = {}) {
    const { workers = 1, layer = 3, extra = 0, isParsed = false } = options;
    const values = isParsed ? (params as Record<string, ParamValue>) : parse(manifest, params);
    this.layer = layer;
    this.outputs = ["next", "drop", ...manifest.outputs.map(({ name }) => name)];
    for (const name of namedOutputs(manifest.params, values))
      if (!this.outputs.includes(name)) this.outputs.push(name);
    this.config = configOf(manifest, values, this.outputs);
    const encode = (address: number) => encodeParams(manifest.params, values, this.outputs, address);
    const unplaced = encode(SCRATCH_PARAMS);
    const state = stateSizes(module, manifest, unplaced);
    const paramsAt = this.take(unplaced.length);
    const shared = this.take(state.shared);
    const prepared = this.take(state.prepared);
    const devices = this.take(DEVICE_INFO.SIZE);
    const plans = Array.from({ length: workers }, () => ({
      context: this.take(CONTEXT.SIZE),
      state: this.take(state.worker),
      counters: this.take(this.config.counters.length * 8),
    }));
    this.batch = this.take(BATCH.ENTRIES + 4);
    this.scratch = this.take(1024);
    this.descriptor = this.take(DESCRIPTOR.SIZE);
    this.slot = this.take(GUARD + LONG_SLOT + GUARD) + GUARD;
    const pages = Math.ceil((this.next + extra) / PAGE);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages + MORE_PAGES, shared: true });
    this.m = new PacketMemory(memory);
    const shape = {
      slotBytes: SLOT,
      paramsBytes: 0,
      references: [],
      workerStateBytes: 0,
      counters: 0,
      devices: 1,
      scratch: this.scratch,
    };
    this.reloading = new Reloading(this.m, module, shape);
    this.core = new WebAssembly.Instance(core, { env: { memory } }).exports as unknown as CoreExports;
    this.m.u8.set(encode(paramsAt), paramsAt);
    this.word(devices + DEVICE_INFO.MTU, 1500);
    this.word(devices + DEVICE_INFO.LAYER, layer);
    plans.forEach(({ context, state: workerState, counters }, i) => {
      this.word(context + CONTEXT.WORKER, i);
      this.word(context + CONTEXT.WORKERS, workers);
      this.word(context + CONTEXT.RANDOM, i + 1);
      this.word(context + CONTEXT.PARAMS, paramsAt);
      this.word(context + CONTEXT.WORKER_STATE, workerState);
      this.word(context + CONTEXT.WORKER_STATE_BYTES, state.worker);
      this.word(context + CONTEXT.SHARED_STATE, shared);
      this.word(context + CONTEXT.PREPARED_STATE, prepared);
      this.word(context + CONTEXT.SHARED_STATE_BYTES, state.shared);
      this.word(context + CONTEXT.COUNTERS, counters);
      this.word(context + CONTEXT.OUTPUTS, this.outputs.length);
      this.word(context + CONTEXT.DEVICES, devices);
      this.word(context + CONTEXT.DEVICE_COUNT, 1);
      u64Write(this.m, context + CONTEXT.NOW, this.now);
    });
    const filling = instantiate(module, memory);
    filling.prepare?.(plans[0].context);
    filling.initShared?.(plans[0].context);
    for (const { context, counters } of plans) {
      const filter = instantiate(module, memory);
      filter.init(context);
      this.workers.push({ filter, context, counters });
    }
  }

  /** Fresh memory at a cache line, out of `extra`. */
  take(bytes: number): number {
    const address = this.next;
    this.next += Math.ceil(bytes / 64) * 64;
    return address;
  }

  /** Other parameters from here on, on all workers, as a reload of a pipeline gives them. */
  reload(params: object): void {
    const { config } = this;
    const after = configOf(config.manifest, parse(config.manifest, params), this.outputs);
    this.reloading.reload(this.workers, config, after);
    this.config = after;
  }

  /** Moves the time of all workers on, and gives each its tick. */
  advance(seconds: number): void {
    this.now = Math.round(this.now + seconds * 1e9);
    for (const { filter, context } of this.workers) {
      u64Write(this.m, context + CONTEXT.NOW, this.now);
      filter.tick?.(context);
    }
  }

  /** A dissected packet with a slot of its own, in fresh memory. @returns its descriptor */
  place(bytes: Uint8Array): number {
    const descriptor = this.take(DESCRIPTOR.SIZE);
    const capacity = HEADROOM + bytes.length + 64;
    this.write(descriptor, this.take(capacity), capacity, bytes, false);
    return descriptor;
  }

  /** Puts a packet of the same length where place() put one. */
  replace(descriptor: number, bytes: Uint8Array): void {
    const slot = this.m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2];
    this.write(descriptor, slot, this.m.u32[(descriptor + DESCRIPTOR.CAPACITY) >>> 2], bytes, false);
  }

  /** What became of a packet that place() put there. */
  result(descriptor: number): Sent {
    const { m } = this;
    const data = m.u32[(descriptor + DESCRIPTOR.DATA) >>> 2];
    return {
      output: this.outputs[m.u8[descriptor + DESCRIPTOR.OUTPUT]],
      bytes: m.u8.slice(data, data + m.u32[(descriptor + DESCRIPTOR.LENGTH) >>> 2]),
    };
  }

  /** @param partial its transport checksum is partial */
  send(bytes: Uint8Array, worker = 0, partial = false): Sent {
    const { m, slot, descriptor } = this;
    m.u8.fill(PATTERN, slot - GUARD, slot + SLOT + GUARD);
    this.write(descriptor, slot, SLOT, bytes, partial);
    m.u8[descriptor + DESCRIPTOR.OUTPUT] = 255;
    this.workers[worker].filter.process(this.batch + BATCH.ENTRIES, 1);
    for (let i = 0; i < GUARD; i++) {
      if (m.u8[slot - GUARD + i] !== PATTERN || m.u8[slot + SLOT + i] !== PATTERN) {
        throw new Error("the filter wrote outside the packet's slot");
      }
    }
    const sent = this.result(descriptor);
    if (sent.output === undefined) throw new Error("the filter chose an output that it does not have");
    return sent;
  }

  /** Sends a UDP/IPv4 super-packet, its checksum partial. @param gsoSize bytes of data in each of its segments */
  sendSuper(bytes: Uint8Array, gsoSize: number, worker = 0): Sent {
    const { m, slot, descriptor } = this;
    this.write(descriptor, slot, LONG_SLOT, bytes, false);
    m.u8[descriptor + DESCRIPTOR.VNET_FLAGS] = 1;
    m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_START) >>> 1] = 20;
    m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_OFFSET) >>> 1] = 6;
    m.u8[descriptor + DESCRIPTOR.VNET_GSO_TYPE] = 5;
    m.u16[(descriptor + DESCRIPTOR.VNET_GSO_SIZE) >>> 1] = gsoSize;
    this.core.dissect(this.batch, this.layer, this.scratch, this.scratch + 64);
    this.workers[worker].filter.process(this.batch + BATCH.ENTRIES, 1);
    return this.result(descriptor);
  }

  /** What lies in the bench's slot behind byte `from` of it: nobody may have touched it since send() filled it. */
  slotRest(from: number): Uint8Array {
    return this.m.u8.slice(this.slot + HEADROOM + from, this.slot + SLOT);
  }

  /** The descriptor that send() used, dissected once more from its bytes: what the filter left must be the same. */
  descriptorFields(): { left: number[]; fresh: number[] } {
    const fields = () =>
      [DESCRIPTOR.L3, DESCRIPTOR.L4, DESCRIPTOR.PAYLOAD]
        .map((at) => this.m.u16[(this.descriptor + at) >>> 1])
        .concat(
          this.m.u8[this.descriptor + DESCRIPTOR.PROTOCOL],
          this.m.u32[(this.descriptor + DESCRIPTOR.FLAGS) >>> 2],
        );
    const left = fields();
    this.core.dissect(this.batch, this.layer, this.scratch, this.scratch + 64);
    return { left, fresh: fields() };
  }

  /** All counters that are not zero, summed over the workers. */
  get counters(): Record<string, number> {
    const found: Record<string, number> = {};
    this.config.counters.forEach((name, i) => {
      const sum = this.workers.reduce((total, { counters }) => total + u64Read(this.m, counters + 8 * i), 0);
      if (sum !== 0) found[name] = sum;
    });
    return found;
  }

  private write(
    descriptor: number,
    slot: number,
    capacity: number,
    bytes: Uint8Array,
    partial: boolean,
  ): void {
    const { m } = this;
    this.word(descriptor + DESCRIPTOR.SLOT, slot);
    this.word(descriptor + DESCRIPTOR.CAPACITY, capacity);
    m.u8.set(bytes, slot + HEADROOM);
    descriptorReset(m, descriptor, slot + HEADROOM, bytes.length, 0);
    if (partial) m.u8[descriptor + DESCRIPTOR.VNET_FLAGS] = 1;
    this.word(this.batch + BATCH.COUNT, 1);
    this.word(this.batch + BATCH.ENTRIES, descriptor);
    this.core.dissect(this.batch, this.layer, this.scratch, this.scratch + 64);
  }

  private word(address: number, value: number): void {
    this.m.u32[address >>> 2] = value;
  }
}
