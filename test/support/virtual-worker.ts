/**
 * One worker's chain on a memory of its own, with packets handed in and taken out by the test, and time that passes when
 * the test says so: what the loop does, without devices and without a clock. The plan, the memory and the chain are the real
 * ones.
 */
import { BATCH, DESCRIPTOR, HEADROOM } from "../../src/batches/layout.ts";
import {
  batchAt,
  batchCount,
  batchMove,
  batchPop,
  batchPush,
  descriptorReset,
  type PacketMemory,
  u64Write,
} from "../../src/batches/memory.ts";
import { parsePipeline } from "../../src/config/pipeline.ts";
import { type Conservation, conservation, makeReport, type Report } from "../../src/control/report.ts";
import { factsBeforeOpening } from "../../src/devices/facts.ts";
import { coreBytes } from "../../src/filters/library.ts";
import { makePlan } from "../../src/plan/plan.ts";
import type { Plan, WorkerPlan } from "../../src/plan/types.ts";
import { Chain } from "../../src/workers/chain.ts";
import { type Core, instantiateCore } from "../../src/workers/core.ts";
import { fillMemory, loadFilters } from "../../src/workers/prepare.ts";

export interface Departure {
  device: string;
  bytes: Uint8Array;
  /** ns since the start. */
  at: number;
}
export interface Arrival {
  mark?: number;
  /** So long ago, ns, as the host tells the filter; it does not say unless this does. */
  ago?: number;
  /** The kernel vouches for its transport checksum. */
  valid?: boolean;
  /** It is a super-packet with a partial checksum at these offsets: bytes of data in each segment. */
  gso?: { size: number; type: number; start: number; field: number };
}

/** VIRTIO_NET_HDR_F_DATA_VALID. */
const VNET_DATA_VALID = 2;
/** Time does not start at zero. */
const START = 3600e9;
const TICK = 100e6;

export class VirtualWorker {
  readonly m: PacketMemory;
  readonly plan: Plan;
  readonly chain: Chain;
  readonly worker: WorkerPlan;
  private readonly core: Core;
  private now = START;
  private nextTick = START;
  /** What has left, in order. */
  readonly left: Departure[] = [];

  private constructor(m: PacketMemory, plan: Plan, core: Core, modules: WebAssembly.Module[]) {
    this.m = m;
    this.plan = plan;
    this.worker = plan.workers[0];
    this.core = core;
    this.chain = new Chain(m, plan, this.worker, core, modules);
  }

  /** @param text a pipeline of tun devices; only its first worker works */
  static async make(text: string, file = "test.yaml"): Promise<VirtualWorker> {
    const pipeline = parsePipeline(text, file);
    const filters = await loadFilters(pipeline);
    const plan = makePlan(pipeline, pipeline.devices.map(factsBeforeOpening), filters.facts);
    const m = await fillMemory(pipeline, plan, filters);
    const core = instantiateCore(coreBytes(), m.memory);
    return new VirtualWorker(
      m,
      plan,
      core,
      filters.loaded.map(({ module }) => module),
    );
  }

  /** ns since the start. */
  get time(): number {
    return this.now - START;
  }

  /** Hands in packets at once, as one burst or several; false: one found no free slot, as on a device that is not read. */
  send(device: string, packets: Uint8Array[], arrival: Arrival = {}): boolean {
    const { m } = this;
    const port = this.portOf(device, ({ path }) => path >= 0);
    const index = this.plan.devices.findIndex(({ id }) => id === device);
    let all = true;
    for (let from = 0; from < packets.length; from += 64) {
      for (const bytes of packets.slice(from, from + 64)) {
        const d = batchPop(m, this.worker.free);
        if (d === 0) {
          all = false;
          break;
        }
        const data = m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
        m.u8.set(bytes, data);
        descriptorReset(m, d, data, bytes.length, index);
        m.u32[(d + DESCRIPTOR.MARK) >>> 2] = arrival.mark ?? 0;
        if (arrival.ago !== undefined) u64Write(m, d + DESCRIPTOR.TIMESTAMP, this.now - arrival.ago);
        if (arrival.valid) m.u8[d + DESCRIPTOR.VNET_FLAGS] = VNET_DATA_VALID;
        if (arrival.gso) {
          const { size, type, start, field } = arrival.gso;
          m.u8[d + DESCRIPTOR.VNET_FLAGS] = 1;
          m.u8[d + DESCRIPTOR.VNET_GSO_TYPE] = type;
          m.u16[(d + DESCRIPTOR.VNET_GSO_SIZE) >>> 1] = size;
          m.u16[(d + DESCRIPTOR.VNET_CSUM_START) >>> 1] = start;
          m.u16[(d + DESCRIPTOR.VNET_CSUM_OFFSET) >>> 1] = field - start;
        }
        batchPush(m, port.rxBatch, d);
      }
      this.core.dissect(
        port.rxBatch,
        this.plan.devices[index].layer,
        port.counters.rxPackets,
        port.counters.malformed,
        this.chain.entryCountersOf(port.path),
      );
      batchMove(m, port.rxBatch, this.chain.batchOf(port.path));
      this.run();
    }
    return all;
  }

  /** Lets time pass: filters are woken and ticked when it is their turn. */
  advance(ns: number): void {
    const end = this.now + ns;
    for (;;) {
      const next = Math.min(this.chain.due, this.nextTick);
      if (next > end) break;
      this.now = Math.max(this.now, next);
      this.chain.setTime(this.now, this.now);
      if (next === this.nextTick) {
        this.nextTick += TICK;
        this.chain.tick(this.now);
      } else {
        this.chain.wake(this.now);
      }
      this.run();
    }
    this.now = end;
  }

  report(): Report {
    return makeReport(this.m, this.plan, this.time / 1e9);
  }

  balance(): Conservation {
    return conservation(this.report());
  }

  /** Descriptors on the free list, and how many there are. */
  get free(): { now: number; all: number } {
    return { now: batchCount(this.m, this.worker.free), all: this.worker.slots.count };
  }

  private run(): void {
    this.chain.setTime(this.now, this.now);
    this.chain.run(this.now);
    for (const port of this.worker.ports) {
      if (batchCount(this.m, port.exitBatch) > 0) this.leave(port);
    }
  }

  private leave(port: WorkerPlan["ports"][number]): void {
    const { m } = this;
    for (let i = 0; i < batchCount(m, port.exitBatch); i++) {
      const d = batchAt(m, port.exitBatch, i);
      const data = m.u32[(d + DESCRIPTOR.DATA) >>> 2];
      const bytes = m.u8.slice(data, data + m.u32[(d + DESCRIPTOR.LENGTH) >>> 2]);
      this.left.push({ device: this.plan.devices[port.device].id, bytes, at: this.time });
      m.u32[port.counters.txPackets >>> 2]++;
    }
    batchMove(m, port.exitBatch, this.worker.free);
    if (m.u32[(port.exitBatch + BATCH.COUNT) >>> 2] !== 0) throw new Error("a batch was not emptied");
  }

  private portOf(device: string, is: (port: WorkerPlan["ports"][number]) => boolean) {
    const index = this.plan.devices.findIndex(({ id }) => id === device);
    return this.worker.ports.find((port) => port.device === index && is(port))!;
  }
}
