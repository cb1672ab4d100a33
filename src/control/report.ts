/**
 * The report of a pipeline, running or ended, read from its counters. Thread: any; it asks no worker. What is written
 * here is the public format of `run --report` and `stats --json`.
 */
import { ENGINES, WORKER_CONTROL } from "../batches/control.ts";
import { DROP_REASONS, HOST_COUNTER, OFFLOAD_COUNTERS, type OffloadCounter } from "../batches/counters.ts";
import { CONTEXT, MALFORMED, OUTPUT_DROP } from "../batches/layout.ts";
import { counterRead, type PacketMemory } from "../batches/memory.ts";
import { readTable } from "../batches/table.ts";
import { readReason } from "../batches/trap-reason.ts";
import { decodeRow } from "../params/decode.ts";
import { tableLayout } from "../params/layout.ts";
import type { Plan, PortPlan, TablePlan } from "../plan/types.ts";

export interface Traffic {
  packets: number;
  bytes: number;
  /** What the packets are on the wire: a GSO super-packet carries several. */
  datagrams: number;
}

export interface QueueReport {
  rx: Traffic;
  tx: Traffic;
  /** Packets that the device did not take, by reason. */
  drops: Record<string, number>;
  /** Packets that came in with lengths or versions that contradict their bytes, by reason; they are not drops. */
  malformed: Record<string, number>;
  /**
   * Of what left by it: packets that cutting super-packets has added, packets that became segments of others, checksums
   * completed, and packets that the kernel refused to finish.
   */
  offload: Record<OffloadCounter, number>;
}

export interface FilterReport {
  packets: number;
  /** Packets by output; a packet that left by `drop` is gone. */
  outputs: Record<string, number>;
  counters: Record<string, number>;
  /** What it keeps in tables, by their names; absent: it keeps none. */
  tables?: Record<string, TableReport>;
  /** Mean over the batches that were timed; 0: they had fewer than 1,000 packets yet, which says more of the start than of the filter. */
  nsPerPacket: number;
  /** How often it trapped, or had to be ended, and the packets that were dropped for it. */
  traps: number;
  trapped: number;
  /** Packets that it has in hand, fresh ones among them, and how many it has made out of nothing so far. */
  held: number;
  fresh: number;
  /** Why it trapped last; "": it never did. */
  lastTrap: string;
  /** Packets among the dropped ones for which it chose an output that it does not have. */
  badOutputs: number;
}

export interface TableReport {
  /** The columns that say what a row is of, in the manifest's order; the others count. */
  keys: string[];
  /** The largest first. Of a key, what is not given is left out; numbers are always there. */
  rows: Record<string, string | number | boolean>[];
  /** What is not among these rows has no more than this in the column that orders them. */
  others: number;
}

export interface PathReport {
  packets: number;
  bytes: number;
  /** Packets that reached the end of a path with `to: drop`. */
  dropped: number;
}

export interface Report {
  pipeline: string;
  seconds: number;
  io: string;
  workers: number;
  devices: Record<string, { queues: QueueReport[] }>;
  filters: Record<string, FilterReport>;
  paths: Record<string, PathReport>;
  batches: { count: number; packetsPerBatch: number };
  /** Workers that were ended in a filter that did not end, and replaced. */
  replacedWorkers: number;
}

/** @param seconds since the pipeline started */
export function makeReport(m: PacketMemory, plan: Plan, seconds: number): Report {
  return {
    pipeline: plan.pipeline,
    seconds: Math.round(seconds * 1000) / 1000,
    io: engineName(m, plan),
    workers: plan.workers.length,
    devices: Object.fromEntries(plan.devices.map((device, i) => [device.id, { queues: queues(m, plan, i) }])),
    filters: Object.fromEntries(plan.filters.map((filter, i) => [filter.id, filterReport(m, plan, i)])),
    paths: Object.fromEntries(plan.paths.map((path, i) => [path.id, pathReport(m, plan, i)])),
    batches: batchReport(m, plan),
    replacedWorkers: 0,
  };
}

function engineName(m: PacketMemory, plan: Plan): string {
  const engine = m.i32[(plan.workers[0].control + WORKER_CONTROL.ENGINE) >>> 2];
  return ENGINES[engine & 0xff] ?? "none";
}

function queues(m: PacketMemory, plan: Plan, device: number): QueueReport[] {
  const reports: QueueReport[] = [];
  for (let queue = 0; queue < plan.devices[device].queues; queue++) {
    // The worker that reads a queue is not always the one that writes to it.
    const ports = plan.workers.flatMap((worker) =>
      worker.ports.filter((port) => port.device === device && port.queue === queue),
    );
    const sum = (address: (port: PortPlan) => number) =>
      ports.reduce((total, port) => total + counterRead(m, address(port)), 0);
    reports.push({
      rx: {
        packets: sum((port) => port.counters.rxPackets),
        bytes: sum((port) => port.counters.rxBytes),
        datagrams: sum((port) => port.counters.rxDatagrams),
      },
      tx: {
        packets: sum((port) => port.counters.txPackets),
        bytes: sum((port) => port.counters.txBytes),
        datagrams: sum((port) => port.counters.txDatagrams),
      },
      drops: Object.fromEntries(
        DROP_REASONS.map((reason, i) => [reason, sum((port) => port.counters.drops + 8 * i)]),
      ),
      malformed: Object.fromEntries(
        MALFORMED.map((reason, i): [string, number] => [
          reason,
          sum((port) => port.counters.malformed + 8 * i),
        ]).filter(([, count]) => count > 0),
      ),
      offload: Object.fromEntries(
        OFFLOAD_COUNTERS.map((name, i) => [name, sum((port) => port.counters.offload + 8 * i)]),
      ) as Record<OffloadCounter, number>,
    });
  }
  return reports;
}

/** Packets that a filter was timed with before its time is told. */
const FEWEST_SAMPLED = 1000;

function filterReport(m: PacketMemory, plan: Plan, index: number): FilterReport {
  const filter = plan.filters[index];
  const instances = plan.workers.map((worker) => worker.instances[index]);
  const sum = (address: (instance: (typeof instances)[number]) => number) =>
    instances.reduce((total, instance) => total + counterRead(m, address(instance)), 0);
  const outputs = filter.outputs.map((_, i) => sum((instance) => instance.outputCounters + 8 * i));
  const sampledNs = sum((instance) => instance.host + HOST_COUNTER.SAMPLED_NS);
  const sampledPackets = sum((instance) => instance.host + HOST_COUNTER.SAMPLED_PACKETS);
  const trapped = sum((instance) => instance.host + HOST_COUNTER.TRAPPED);
  const held = instances.reduce((total, { context }) => total + m.u32[(context + CONTEXT.HELD) >>> 2], 0);
  const fresh = sum((instance) => instance.context + CONTEXT.FRESH);
  return {
    packets: outputs.reduce((a, b) => a + b, 0) + trapped + held - fresh,
    outputs: Object.fromEntries(filter.outputs.map((name, i) => [name, outputs[i]])),
    counters: Object.fromEntries(
      filter.counters.map((name, i) => [name, sum((instance) => instance.counters + 8 * i)]),
    ),
    ...(filter.tables.length === 0 ? {} : { tables: tablesOf(m, filter.tables, instances) }),
    nsPerPacket: sampledPackets < FEWEST_SAMPLED ? 0 : Math.round((sampledNs / sampledPackets) * 10) / 10,
    traps: sum((instance) => instance.host + HOST_COUNTER.TRAPS),
    trapped,
    held,
    fresh,
    lastTrap: instances.map((instance) => readReason(m, instance.host)).find((text) => text !== "") ?? "",
    badOutputs: sum((instance) => instance.context + CONTEXT.BAD_OUTPUTS),
  };
}

function tablesOf(m: PacketMemory, tables: TablePlan[], instances: { context: number }[]) {
  const contexts = instances.map(({ context }) => context);
  return Object.fromEntries(
    tables.map(({ name, show, keys, values }, i): [string, TableReport] => {
      const shape = { keyBytes: tableLayout(keys, 0).keyBytes, values: values.length, index: i };
      const { rows, others } = readTable(m, contexts, shape, show);
      return [
        name,
        { keys: keys.map((key) => key.name), rows: rows.map((row) => decodeRow(keys, values, row)), others },
      ];
    }),
  );
}

function pathReport(m: PacketMemory, plan: Plan, index: number): PathReport {
  const paths = plan.workers.map((worker) => worker.paths[index]);
  const sum = (address: (path: (typeof paths)[number]) => number) =>
    paths.reduce((total, path) => total + counterRead(m, address(path)), 0);
  return {
    packets: sum((path) => path.counters),
    bytes: sum((path) => path.counters + 8),
    dropped: sum((path) => path.dropCounters),
  };
}

function batchReport(m: PacketMemory, plan: Plan): Report["batches"] {
  const count = plan.workers.reduce((total, worker) => total + counterRead(m, worker.batches), 0);
  const packets = plan.workers.reduce((total, worker) => total + counterRead(m, worker.batches + 8), 0);
  return { count, packetsPerBatch: count === 0 ? 0 : Math.round((packets / count) * 100) / 100 };
}

/**
 * Where every packet went. After a run `in` plus `segmented` and `fresh` equals `out` plus `coalesced`, `held` and all
 * drops; a difference while it runs is in flight.
 */
export interface Conservation {
  in: number;
  out: number;
  /** Packets that came into being as super-packets were cut. */
  segmented: number;
  /** Packets that went into others. */
  coalesced: number;
  /** Packets that filters have made. */
  fresh: number;
  /** Packets that filters have in hand. */
  held: number;
  /** "lan would-block", "firewall drop", "path bounce": packets. */
  drops: Record<string, number>;
  /** in + segmented + fresh - out - coalesced - held - drops. */
  missing: number;
}

export function conservation(report: Report): Conservation {
  const drops: Record<string, number> = {};
  const count = (what: string, packets: number) => {
    if (packets > 0) drops[what] = (drops[what] ?? 0) + packets;
  };
  let received = 0;
  let sent = 0;
  let segmented = 0;
  let coalesced = 0;
  let fresh = 0;
  let held = 0;
  for (const [id, device] of Object.entries(report.devices)) {
    for (const queue of device.queues) {
      received += queue.rx.packets;
      sent += queue.tx.packets;
      segmented += queue.offload.segmented;
      coalesced += queue.offload.coalesced;
      for (const [reason, packets] of Object.entries(queue.drops)) count(`${id} ${reason}`, packets);
    }
  }
  for (const [id, filter] of Object.entries(report.filters)) {
    count(`${id} drop`, Object.values(filter.outputs)[OUTPUT_DROP]);
    count(`${id} trapped`, filter.trapped);
    fresh += filter.fresh;
    held += filter.held;
  }
  for (const [id, path] of Object.entries(report.paths)) count(`path ${id}`, path.dropped);
  const dropped = Object.values(drops).reduce((a, b) => a + b, 0);
  const missing = received + segmented + fresh - sent - coalesced - held - dropped;
  return { in: received, out: sent, segmented, coalesced, fresh, held, drops, missing };
}
