/** A filter's instances under test go over to other parameters, as workers/reload.ts has those of a pipeline do. */
import { CONTEXT } from "../batches/layout.ts";
import type { PacketMemory } from "../batches/memory.ts";
import { SpareMemory } from "../batches/spare.ts";
import { keptCounters } from "../config/changes.ts";
import type { FilterConfig } from "../config/types.ts";
import { EncodedParams } from "../params/encode.ts";
import { FilterError } from "./error.ts";
import {
  type FilterInstance,
  type InstanceShape,
  instantiate,
  isIsolated,
  makeInstance,
  SCRATCH_PARAMS,
  type StateSizes,
  stateSizes,
} from "./load.ts";

export interface BenchInstance {
  filter: FilterInstance;
  context: number;
  counters: number;
}

/** What becomes of memory that a reload leaves: who has kept an address into it, finds nothing there that makes sense. */
const LEFT = 0xee;

interface Sized {
  encoded: EncodedParams;
  state: StateSizes;
}

export class Reloading {
  private readonly m: PacketMemory;
  private readonly module: WebAssembly.Module;
  private readonly spare: SpareMemory;
  private readonly shape: InstanceShape;
  private readonly sized = new Map<FilterConfig, Sized>();

  constructor(m: PacketMemory, module: WebAssembly.Module, shape: InstanceShape) {
    this.m = m;
    this.module = module;
    this.spare = new SpareMemory(m);
    this.shape = shape;
  }

  /**
   * @param before what they have now @param after may be the same: then it is in another place all the same
   * @throws FilterError when the parameters want more state than there is; what the filter traps with
   */
  reload(instances: BenchInstance[], before: FilterConfig, after: FilterConfig): void {
    const { m, module, spare } = this;
    const { encoded, state } = this.sizesOf(after);
    const [{ context }] = instances;
    if (state.worker > this.word(context, "WORKER_STATE_BYTES")) throw tooLarge();
    if (state.shared > this.word(context, "SHARED_STATE_BYTES")) throw tooLarge();
    const left = this.placesOf(instances, before);
    const params = spare.take(Math.max(8, encoded.bytes.length));
    const prepared = spare.take(Math.max(8, state.prepared));
    const kept = keptCounters(before, after);
    m.u8.set(encoded.at(params), params);
    for (const instance of instances) {
      const counters = spare.take(8 * Math.max(1, kept.length));
      kept.forEach((old, counter) => {
        if (old >= 0) m.u64[(counters >>> 3) + counter] = m.u64[(instance.counters >>> 3) + old];
      });
      this.setWord(instance.context, "PARAMS", params);
      this.setWord(instance.context, "PREPARED_STATE", prepared);
      this.setWord(instance.context, "COUNTERS", counters);
      instance.counters = counters;
    }
    if (!isIsolated(module)) instantiate(module, m.memory).prepare?.(context);
    for (const { address, bytes } of left) m.u8.fill(LEFT, address, address + bytes);
    const { bytes, references } = encoded;
    const shape = { ...this.shape, paramsBytes: bytes.length, references, counters: kept.length };
    for (const instance of instances) this.switchOver(instance, shape);
  }

  private switchOver(instance: BenchInstance, shape: InstanceShape): void {
    const { m, module } = this;
    const { context } = instance;
    if (instance.filter.reload !== undefined) {
      instance.filter.reload(context);
      return;
    }
    const state = this.word(context, "WORKER_STATE");
    m.u8.fill(0, state, state + this.word(context, "WORKER_STATE_BYTES"));
    instance.filter = makeInstance(module, m, shape);
    instance.filter.init(context);
  }

  /** Where all lies that a reload takes elsewhere. */
  private placesOf(instances: BenchInstance[], config: FilterConfig): { address: number; bytes: number }[] {
    const { encoded, state } = this.sizesOf(config);
    const [{ context }] = instances;
    return [
      { address: this.word(context, "PARAMS"), bytes: encoded.bytes.length },
      { address: this.word(context, "PREPARED_STATE"), bytes: state.prepared },
      ...instances.map(({ counters }) => ({ address: counters, bytes: 8 * config.counters.length })),
    ];
  }

  private sizesOf(config: FilterConfig): Sized {
    const known = this.sized.get(config);
    if (known !== undefined) return known;
    const { manifest, params, outputs } = config;
    const encoded = new EncodedParams(manifest.params, params, outputs, SCRATCH_PARAMS);
    const sized = { encoded, state: stateSizes(this.module, manifest, encoded.bytes) };
    this.sized.set(config, sized);
    return sized;
  }

  private word(context: number, name: keyof typeof CONTEXT): number {
    return this.m.u32[(context + CONTEXT[name]) >>> 2];
  }

  private setWord(context: number, name: keyof typeof CONTEXT, value: number): void {
    this.m.u32[(context + CONTEXT[name]) >>> 2] = value;
  }
}

function tooLarge(): FilterError {
  return new FilterError("with these parameters it wants more state than it has, which only a restart gives");
}
