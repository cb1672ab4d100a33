/** A filter's instances under test go over to other parameters, as workers/reload.ts has those of a pipeline do. */
import { CONTEXT } from "../batches/layout.ts";
import type { PacketMemory } from "../batches/memory.ts";
import type { SpareMemory } from "../batches/spare.ts";
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
  stateSizes,
} from "./load.ts";

export interface BenchInstance {
  filter: FilterInstance;
  context: number;
  counters: number;
}

/** @throws FilterError when the parameters want more state than there is; what the filter traps with */
export function reloadInstances(
  place: { m: PacketMemory; module: WebAssembly.Module; spare: SpareMemory; shape: InstanceShape },
  instances: BenchInstance[],
  before: FilterConfig,
  after: FilterConfig,
): void {
  const { m, module, spare, shape } = place;
  const { manifest, params, outputs, counters } = after;
  const encoded = new EncodedParams(manifest.params, params, outputs, SCRATCH_PARAMS);
  const sizes = stateSizes(module, manifest, encoded.bytes);
  const [{ context }] = instances;
  if (
    sizes.worker > m.u32[(context + CONTEXT.WORKER_STATE_BYTES) >>> 2] ||
    sizes.shared > m.u32[(context + CONTEXT.SHARED_STATE_BYTES) >>> 2]
  ) {
    throw new FilterError(
      "with these parameters it wants more state than it has, which only a restart gives",
    );
  }
  const [paramsAt, prepared] = [
    spare.take(Math.max(8, encoded.bytes.length)),
    spare.take(Math.max(8, sizes.prepared)),
  ];
  const places = instances.map(() => spare.take(8 * Math.max(1, counters.length)));
  const kept = keptCounters(before, after);
  m.u8.set(encoded.at(paramsAt), paramsAt);
  instances.forEach((instance, i) => {
    kept.forEach((old, counter) => {
      if (old >= 0) m.u64[(places[i] >>> 3) + counter] = m.u64[(instance.counters >>> 3) + old];
    });
    m.u32[(instance.context + CONTEXT.PARAMS) >>> 2] = paramsAt;
    m.u32[(instance.context + CONTEXT.PREPARED_STATE) >>> 2] = prepared;
    m.u32[(instance.context + CONTEXT.COUNTERS) >>> 2] = places[i];
    instance.counters = places[i];
  });
  if (!isIsolated(module)) instantiate(module, m.memory).prepare?.(context);
  const reshaped = {
    ...shape,
    paramsBytes: encoded.bytes.length,
    references: encoded.references,
    counters: counters.length,
  };
  for (const instance of instances) {
    if (instance.filter.reload !== undefined) {
      instance.filter.reload(instance.context);
      continue;
    }
    const state = m.u32[(instance.context + CONTEXT.WORKER_STATE) >>> 2];
    m.u8.fill(0, state, state + m.u32[(instance.context + CONTEXT.WORKER_STATE_BYTES) >>> 2]);
    instance.filter = makeInstance(module, m, reshaped);
    instance.filter.init(instance.context);
  }
}
