/**
 * Stage 2: Pipeline -> Plan. In: the checked pipeline and what opening its devices and filters told. Out: plain data
 * that says which worker owns which queue, where each packet goes next, and where everything lies in memory. Pure.
 */

import { CONTROL } from "../batches/control.ts";
import { HOST_COUNTER, PORT_COUNTERS_BYTES, portCounters } from "../batches/counters.ts";
import {
  BATCH,
  BATCH_PACKETS,
  COALESCE_FLOWS,
  CONTEXT,
  DESCRIPTOR,
  DEVICE_INFO,
  HEADROOM,
  ISOLATED_SCRATCH,
  OUTPUT_DROP,
} from "../batches/layout.ts";
import { LOG } from "../batches/log.ts";
import type { FilterConfig, Pipeline } from "../config/types.ts";
import { Allocator, slotBytes } from "./memory.ts";
import { planPaths } from "./paths.ts";
import type {
  DeviceFacts,
  DevicePlan,
  FilterFacts,
  FilterPlan,
  InstancePlan,
  PathPlan,
  Plan,
  PortPlan,
  Range,
  TablePlan,
  WorkerPlan,
} from "./types.ts";

/** Room behind the longest packet: an Ethernet header with two tags, and what SIMD loads may touch past the end. */
const TAILROOM = 22 + 64;
/** Most memory a pipeline may ask for: addresses are 32 bits wide. */
const MOST_BYTES = 2 ** 32;
/** An IP packet is no longer, and super-packets are as long. */
const LONGEST_IP = 65535;
/** Packets that core's finish may cut off super-packets before it must wait for the device to take them. */
const SEGMENT_SLOTS = 2 * BATCH_PACKETS;
/** What the slots of all workers may take. They are touched when packets lie in them, so most are never resident. */
const MOST_SLOT_BYTES = 2 ** 29;
/** What filters may hold, of all workers. */
const MOST_HELD_BYTES = 2 ** 30;
/** And on one: an io_uring has no more entries than twice as many. */
export const MOST_HELD_SLOTS = 16_384;
const NO_RANGE: Range = { address: 0, bytes: 0 };

/** @throws Error when it would need more memory than there are addresses */
export function makePlan(pipeline: Pipeline, devices: DeviceFacts[], filters: FilterFacts[]): Plan {
  const memory = new Allocator();
  const control = memory.take(CONTROL.BYTES);
  const deviceInfo = memory.take(DEVICE_INFO.SIZE * Math.max(1, devices.length));
  const devicePlans: DevicePlan[] = pipeline.devices.map((device, i) => ({
    id: device.id,
    kind: device.kind,
    ...devices[i],
    lock: memory.take(4),
  }));
  const filterPlans: FilterPlan[] = pipeline.filters.map((filter, i) => ({
    id: filter.id,
    kind: filter.manifest.kind,
    onTrap: filter.onTrap,
    outputs: filter.outputs,
    counters: filter.counters,
    logs: filter.manifest.logs ?? [],
    tables: tablesOf(filter),
    holds: heldBy(filter),
    ...(filters[i].isolated ? { isolated: filters[i].isolated } : {}),
    params: memory.range(filters[i].paramsBytes),
    sharedState: memory.range(filters[i].sharedStateBytes),
    preparedState: memory.range(filters[i].preparedStateBytes),
  }));
  const paths = planPaths(pipeline);
  const workers: WorkerPlan[] = [];
  for (let worker = 0; worker < pipeline.workers; worker++) {
    const ports = portsOf(worker, pipeline.workers, devicePlans, paths);
    workers.push(planWorker(memory, ports, pipeline.workers, devicePlans, filterPlans, filters, paths));
  }
  if (memory.bytes > MOST_BYTES) {
    const gib = (memory.bytes / 2 ** 30).toFixed(1);
    throw new Error(
      `the pipeline needs ${gib} GiB of memory and 4 GiB is the most: use smaller tables or fewer workers`,
    );
  }
  return {
    generation: 0,
    pipeline: pipeline.name,
    file: pipeline.file,
    bytes: memory.bytes,
    pages: memory.pages,
    control,
    deviceInfo,
    devices: devicePlans,
    filters: filterPlans,
    paths,
    workers,
  };
}

function heldBy({ manifest, params }: FilterConfig): number {
  const { holds } = manifest;
  return typeof holds === "number" ? holds : Math.min(params[holds] as number, MOST_HELD_SLOTS);
}

function tablesOf({ manifest, params }: FilterConfig): TablePlan[] {
  return (manifest.tables ?? []).map(({ name, show, keys, values }) => ({
    name,
    show: typeof show === "number" ? show : (params[show] as number),
    keys,
    values: values.map((value) => value.name),
  }));
}

type PortShape = Pick<PortPlan, "device" | "queue" | "path" | "transmits">;

/**
 * Worker w reads the queues q with q % workers = w, and writes to queue w % queues of every device that a path leads
 * to. So with as many queues as workers it owns queue w of every device, and no descriptor is written by two threads.
 */
function portsOf(worker: number, workers: number, devices: DevicePlan[], paths: PathPlan[]): PortShape[] {
  const ports: PortShape[] = [];
  devices.forEach((device, index) => {
    const path = paths.findIndex((candidate) => candidate.from.includes(index));
    const isTarget = paths.some(
      (candidate) => candidate.to.kind === "device" && candidate.to.device === index,
    );
    const txQueue = isTarget ? worker % device.queues : -1;
    for (let queue = 0; queue < device.queues; queue++) {
      const reads = path >= 0 && queue % workers === worker;
      if (reads || queue === txQueue) {
        ports.push({ device: index, queue, path: reads ? path : -1, transmits: queue === txQueue });
      }
    }
  });
  return ports;
}

function planWorker(
  memory: Allocator,
  shapes: PortShape[],
  workers: number,
  devices: DevicePlan[],
  filters: FilterPlan[],
  facts: FilterFacts[],
  paths: PathPlan[],
): WorkerPlan {
  const control = memory.take(CONTROL.BYTES);
  const hasOffloads = devices.some((device) => device.vnetHeader > 0);
  const longest = Math.max(...devices.map((device) => device.mtu), hasOffloads ? LONGEST_IP : 0);
  const bytes = slotBytes(HEADROOM, longest + TAILROOM);
  const moving = slotsOf(shapes, workers, bytes, hasOffloads ? SEGMENT_SLOTS : 0);
  const limits = holdLimits(filters, Math.floor(MOST_HELD_BYTES / workers / bytes));
  // Beside, so that whatever filters hold, as many as before are left to move.
  const slotCount = moving + limits.reduce((sum, limit) => sum + limit, 0);
  // Any batch may come to hold every packet of the worker, so none can overflow.
  const batch = () => memory.take(BATCH.ENTRIES + 4 * slotCount);
  const descriptors = memory.take(DESCRIPTOR.SIZE * slotCount);
  const free = batch();
  const ports = shapes.map((shape): PortPlan => {
    const bufferBytes = devices[shape.device].bufferBytes;
    const txBatch = batch();
    return {
      ...shape,
      counters: portCounters(memory.take(PORT_COUNTERS_BYTES)),
      rxBatch: batch(),
      exitBatch: hasOffloads && shape.transmits ? batch() : txBatch,
      txBatch,
      buffer: bufferBytes > 0 ? memory.range(bufferBytes) : NO_RANGE,
    };
  });
  const instances = filters.map(
    (filter, i): InstancePlan => ({
      context: memory.take(CONTEXT.SIZE),
      workerState: memory.range(facts[i].workerStateBytes),
      counters: memory.take(8 * filter.counters.length),
      outputCounters: memory.take(8 * filter.outputs.length),
      host: memory.take(HOST_COUNTER.BYTES),
      log: filter.logs.length === 0 ? 0 : memory.take(LOG.BYTES),
      hold:
        limits[i] === 0
          ? undefined
          : { limit: limits[i], emitted: batch(), stepTables: memory.take(4 * usesOf(paths, i)) },
      scratch: filter.isolated === undefined ? 0 : memory.take(ISOLATED_SCRATCH.BYTES),
    }),
  );
  const pathPlans = paths.map((path) => ({
    batch: batch(),
    counters: memory.take(24),
    dropCounters: memory.take(8),
    tables: path.steps.map((step) => memory.take(4 * step.outputs.length)),
    resume: path.steps.map((step) => (limits[step.filter] === 0 ? 0 : batch())),
  }));
  const batches = memory.take(16);
  const slots = { address: memory.take(bytes * slotCount), count: slotCount, bytes };
  const holders = slotCount > moving ? memory.take(4 * slotCount) : 0;
  const flows = hasOffloads ? memory.take(4 * COALESCE_FLOWS) : 0;
  return { control, slots, descriptors, free, flows, holders, ports, instances, paths: pathPlans, batches };
}

/** How many packets each filter may hold: what it asks for, or its share of `most` where all ask for more. */
function holdLimits(filters: FilterPlan[], most: number): number[] {
  const asked = filters.reduce((sum, { holds }) => sum + holds, 0);
  const granted = Math.min(most, MOST_HELD_SLOTS);
  return filters.map(({ holds }) =>
    asked <= granted ? holds : Math.max(1, Math.floor((holds * granted) / asked)) * Math.sign(holds),
  );
}

/** At how many steps a filter stands. */
function usesOf(paths: PathPlan[], filter: number): number {
  return paths.flatMap(({ steps }) => steps).filter((step) => step.filter === filter).length;
}

/**
 * How many packets a worker has in hand at most: a burst for each queue read, the burst before it still on its way out,
 * a burst to spare for filters, and segments. Fewer where slots are long and queues many: engines read less at a time then.
 */
function slotsOf(shapes: PortShape[], workers: number, bytes: number, segments: number): number {
  const bursts = 2 * shapes.filter((port) => port.path >= 0).length + 1;
  const affordable = Math.floor(MOST_SLOT_BYTES / workers / bytes);
  return Math.max(Math.min(BATCH_PACKETS * bursts + segments, affordable), BATCH_PACKETS);
}

/** Address of the batch to which a step's output leads, for the tables that core's partition reads. */
export function outputBatch(worker: WorkerPlan, output: number, target: number): number {
  if (output < OUTPUT_DROP) return 0;
  return target < 0 ? worker.free : worker.paths[target].batch;
}
