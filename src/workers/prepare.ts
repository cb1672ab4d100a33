/**
 * From a pipeline to what its workers need, on the main thread: filters loaded and sized, the plan made, the shared
 * memory filled with parameters, contexts, descriptors and free lists.
 */
import { BATCH, CONTEXT, DESCRIPTOR, DEVICE_INFO } from "../batches/layout.ts";
import { batchPush, PacketMemory } from "../batches/memory.ts";
import type { FilterConfig, Manifest, Pipeline } from "../config/types.ts";
import { factsBeforeOpening } from "../devices/facts.ts";
import { isBuiltin } from "../filters/build.ts";
import { FilterError } from "../filters/error.ts";
import { type LoadedFilter, loadFilter } from "../filters/library.ts";
import { instantiate, isIsolated, SCRATCH_PARAMS, type StateSizes, stateSizes } from "../filters/load.ts";
import { EncodedParams } from "../params/encode.ts";
import { MOST_PAGES, PAGE } from "../plan/memory.ts";
import { makePlan } from "../plan/plan.ts";
import type { DeviceFacts, FilterFacts, Plan } from "../plan/types.ts";
import { ENOMEM, SystemError } from "../sys/errno.ts";
import { writeHold } from "./hold.ts";
import { writeContext } from "./instance.ts";
import { Hang, Trial } from "./trial.ts";
import type { Filling } from "./trial-thread.ts";

export interface Filters {
  loaded: LoadedFilter[];
  facts: FilterFacts[];
  params: EncodedParams[];
}

/** Loads every filter's module, built if need be, and asks it how much state its parameters call for. */
export async function loadFilters(pipeline: Pipeline): Promise<Filters> {
  const loaded: LoadedFilter[] = [];
  const facts: FilterFacts[] = [];
  const params: EncodedParams[] = [];
  for (const filter of pipeline.filters) {
    const one = await loadFilter(filter.manifest, filter.isolation);
    const sized = await sizeFilter(one, filter);
    loaded.push(one);
    params.push(sized.params);
    facts.push(sized.facts);
  }
  return { loaded, facts, params };
}

/** A filter's parameters in bytes, and what they call for. @throws FilterError */
export async function sizeFilter(
  loaded: LoadedFilter,
  { manifest, params, outputs }: FilterConfig,
): Promise<{ params: EncodedParams; facts: FilterFacts }> {
  const encoded = new EncodedParams(manifest.params, params, outputs, SCRATCH_PARAMS);
  const state = await sizesOf(loaded, manifest, encoded.bytes);
  const facts = {
    paramsBytes: encoded.bytes.length,
    workerStateBytes: state.worker,
    sharedStateBytes: state.shared,
    preparedStateBytes: state.prepared,
    ...(isIsolated(loaded.module) ? { isolated: encoded.references } : {}),
  };
  return { params: encoded, facts };
}

/** What the filter computes of its parameters: a user's, on a thread that ends it if it does not. */
async function sizesOf(filter: LoadedFilter, manifest: Manifest, encoded: Uint8Array): Promise<StateSizes> {
  const isComputed = Object.values(manifest.state).includes("computed");
  if (!isComputed || isBuiltin(manifest.location)) return stateSizes(filter.module, manifest, encoded);
  const trial = new Trial(filter.bytes);
  try {
    return await trial.sizes(manifest, encoded);
  } catch (error) {
    if (error instanceof Hang) throw new FilterError(`${manifest.kind}: its size of state: ${error.message}`);
    throw error;
  } finally {
    await trial.close();
  }
}

/** The plan as `check` shows it: from the configuration alone. */
export async function planWithoutOpening(pipeline: Pipeline): Promise<Plan> {
  const { facts } = await loadFilters(pipeline);
  return makePlan(pipeline, pipeline.devices.map(factsBeforeOpening), facts);
}

/** Makes the shared memory and writes everything into it that stands before the first packet. */
export async function fillMemory(pipeline: Pipeline, plan: Plan, filters: Filters): Promise<PacketMemory> {
  const memory = allocate(plan.pages);
  const m = new PacketMemory(memory);
  writeDeviceInfo(m, plan, plan.devices);
  for (const worker of plan.workers) writeSlots(m, worker);
  for (const [i, { manifest }] of pipeline.filters.entries()) {
    const { params } = plan.filters[i];
    m.u8.set(filters.params[i].at(params.address), params.address);
    plan.workers.forEach((worker, w) => {
      writeContext(m, worker, w, plan.workers.length, plan.deviceInfo, plan.filters[i], i);
      m.u32[(worker.instances[i].context + CONTEXT.DEVICE_COUNT) >>> 2] = plan.devices.length;
    });
    await fillState(
      m,
      filters.loaded[i],
      plan.filters[i].id,
      isBuiltin(manifest.location) ? "none" : "thread",
      {
        context: plan.workers[0].instances[i].context,
        calls: ["prepare", "initShared"],
      },
    );
  }
  for (const worker of plan.workers) writeHold(m, plan, worker);
  return m;
}

/**
 * With room to grow: a reload may want more.
 * @throws SystemError when this machine or its limits (ulimit -v) do not give as much
 */
function allocate(pages: number): WebAssembly.Memory {
  try {
    return new WebAssembly.Memory({ initial: pages, maximum: MOST_PAGES, shared: true });
  } catch {
    const size = `${Math.ceil((pages * PAGE) / 2 ** 20)} MiB for the pipeline`;
    throw new SystemError("allocate", size, ENOMEM, { unavailable: true });
  }
}

/**
 * Fills what all workers of a filter share, by those of its exports that there are.
 * @param watch on a thread of its own, which is ended if they do not end; without that limit; or here, as nobody need watch
 * @throws FilterError when one traps, or does not end
 */
export async function fillState(
  m: PacketMemory,
  filter: LoadedFilter,
  id: string,
  watch: "thread" | "thread without limit" | "none",
  { context, calls }: { context: number; calls: Filling[] },
): Promise<void> {
  if (isIsolated(filter.module)) return;
  const exported = WebAssembly.Module.exports(filter.module).map(({ name }) => name);
  for (const name of calls.filter((call) => exported.includes(call))) {
    const trial = new Trial(filter.bytes, watch === "thread" ? undefined : Number.POSITIVE_INFINITY);
    try {
      if (watch === "none") instantiate(filter.module, m.memory)[name]?.(context);
      else await trial.fill(m.memory, context, name);
    } catch (error) {
      const { message } = error as Error;
      const what = error instanceof Hang ? message : `trapped: ${message}`;
      throw new FilterError(`filter "${id}": ${name} ${what}`);
    } finally {
      await trial.close();
    }
  }
}

function writeDeviceInfo(m: PacketMemory, plan: Plan, devices: DeviceFacts[]): void {
  devices.forEach((device, i) => {
    const info = plan.deviceInfo + i * DEVICE_INFO.SIZE;
    m.u32[(info + DEVICE_INFO.MTU) >>> 2] = device.mtu;
    m.u32[(info + DEVICE_INFO.LAYER) >>> 2] = device.layer;
    m.u32[(info + DEVICE_INFO.OFFLOADS) >>> 2] = device.offloads;
    m.u32[(info + DEVICE_INFO.VNET_HEADER) >>> 2] = device.vnetHeader;
  });
}

function writeSlots(m: PacketMemory, worker: Plan["workers"][number]): void {
  const { slots, descriptors } = worker;
  const batches = [
    worker.free,
    ...worker.ports.flatMap((port) => [port.rxBatch, port.exitBatch, port.txBatch]),
  ];
  const onPaths = worker.paths.flatMap(({ batch, resume }) => [batch, ...resume.filter((one) => one !== 0)]);
  for (const batch of [...batches, ...onPaths]) {
    m.u32[(batch + BATCH.CAPACITY) >>> 2] = slots.count;
  }
  // The free list is a stack: the last one pushed is the first one used.
  for (let i = slots.count - 1; i >= 0; i--) {
    const descriptor = descriptors + i * DESCRIPTOR.SIZE;
    m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2] = slots.address + i * slots.bytes;
    m.u32[(descriptor + DESCRIPTOR.CAPACITY) >>> 2] = slots.bytes;
    batchPush(m, worker.free, descriptor);
  }
}
