/**
 * The plan: a pipeline laid out over workers and memory. Plain data, so that it is cloned to every worker.
 * Every address in the pipeline's memory is decided here and nowhere else.
 */
import type { PortCounters } from "../batches/counters.ts";
import type { OnTrap } from "../config/types.ts";
import type { ParamSpec } from "../params/types.ts";

/** What the plan must know of a device, found out by opening it (or, for `check`, from its configuration). */
export interface DeviceFacts {
  /** 2: packets start with Ethernet; 3: with IP; 0: not known before it is opened. */
  layer: 0 | 2 | 3;
  /** Longest packet without the Ethernet header, bytes. */
  mtu: number;
  queues: number;
  /** Packets come by file descriptors of the kernel (tun, tap); otherwise by a SoftSource or SoftSink. */
  kernel: boolean;
  /** The source ends by itself. */
  finite: boolean;
  /** File buffer a port of it needs in memory, bytes. */
  bufferBytes: number;
  /** OFFLOAD bits: what packets that come from it or go to it may leave undone. */
  offloads: number;
  /** Bytes of the struct virtio_net_hdr before each packet; 0: there is none. */
  vnetHeader: number;
}

/** What the plan must know of a filter: sizes that depend on its parameters, bytes. */
export interface FilterFacts {
  paramsBytes: number;
  workerStateBytes: number;
  sharedStateBytes: number;
  preparedStateBytes: number;
  /** With a memory of its own: offsets in the parameters at which addresses stand; undefined: it has none. */
  isolated?: readonly number[];
}

export interface Range {
  address: number;
  bytes: number;
}

export interface DevicePlan extends DeviceFacts {
  id: string;
  kind: string;
  /** An i32 that ports of a soft device lock when they share a file. */
  lock: number;
}

export interface TablePlan {
  name: string;
  show: number;
  keys: ParamSpec[];
  /** Names of its numbers. */
  values: string[];
}

export interface FilterPlan {
  id: string;
  kind: string;
  onTrap: OnTrap;
  /** As in FilterFacts. */
  isolated?: readonly number[];
  outputs: string[];
  counters: string[];
  /** Messages that it may say. */
  logs: { name: string; text: string }[];
  /** What it keeps for the report: TableSpec, with the number of rows that the report shows. */
  tables: TablePlan[];
  /** Most packets that it asks to hold at a time on a worker; 0: none. */
  holds: number;
  params: Range;
  sharedState: Range;
  preparedState: Range;
}

/** Where a step's output leads: a path's index, or -1 for drop. Entries 0 (next) and 1 (drop) are always -1. */
export interface StepPlan {
  filter: number;
  outputs: number[];
}

export interface PathPlan {
  id: string;
  from: number[];
  steps: StepPlan[];
  to: { kind: "device"; device: number } | { kind: "path"; path: number } | { kind: "drop" };
}

/** One queue of one device as one worker sees it. */
export interface PortPlan {
  device: number;
  queue: number;
  /** This worker reads the queue; on the path with this index the packets start. -1: it only writes. */
  path: number;
  /** This worker writes to the queue. */
  transmits: boolean;
  counters: PortCounters;
  rxBatch: number;
  /** Where paths put what leaves by it; core's finish moves it to txBatch. The same as txBatch if there is nothing to finish. */
  exitBatch: number;
  txBatch: number;
  buffer: Range;
}

/** What an instance needs to hold packets. */
export interface HoldPlan {
  /** Most at a time: what it asks for, or less where slots are long. */
  limit: number;
  /** Batch of what it emits. */
  emitted: number;
  /** Addresses of its steps' tables, u32 each, in the order of paths and steps. */
  stepTables: number;
}

/** One filter instance on one worker. */
export interface InstancePlan {
  context: number;
  workerState: Range;
  counters: number;
  outputCounters: number;
  /** What the host counts itself: HOST_COUNTER in batches/counters.ts. */
  host: number;
  /** LOG of what it says; 0: nothing. */
  log: number;
  /** Of a filter that holds packets; undefined: it does not. */
  hold: HoldPlan | undefined;
  /** ISOLATED_SCRATCH of an isolated filter; 0 otherwise. */
  scratch: number;
}

export interface WorkerPlan {
  /** Address of its control words (WORKER_CONTROL in batches/control.ts). */
  control: number;
  slots: { address: number; count: number; bytes: number };
  descriptors: number;
  free: number;
  /** COALESCE_FLOWS u32 for core's finish; 0: it is never called. */
  flows: number;
  /** Who holds each descriptor, u32 each: CONTEXT.HOLDERS; 0: no filter may. */
  holders: number;
  ports: PortPlan[];
  instances: InstancePlan[];
  /**
   * By path: the batch in which its packets stand, its counters (packets, bytes, datagrams; u64), per step its table, and
   * the batch behind it in which packets go on that a filter has emitted; 0: the filter holds none.
   */
  paths: { batch: number; counters: number; dropCounters: number; tables: number[]; resume: number[] }[];
  /** u64 each: batches that were not empty, packets in them. */
  batches: number;
}

export interface Plan {
  /** How often the pipeline has been reloaded before this plan held. */
  generation: number;
  pipeline: string;
  file: string;
  /** Size of the shared memory. */
  bytes: number;
  pages: number;
  /** Pipeline-wide control words (PIPELINE_CONTROL in batches/control.ts). */
  control: number;
  deviceInfo: number;
  devices: DevicePlan[];
  filters: FilterPlan[];
  /** In the order in which they run: a path comes after every path that leads to it. */
  paths: PathPlan[];
  workers: WorkerPlan[];
}
