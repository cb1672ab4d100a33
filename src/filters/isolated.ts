/**
 * A filter with a memory of its own (`isolation: memory`): it may have an allocator, data and a start function, and can
 * touch nothing but its memory and copies of the packets at hand. It looks like any other instance from outside:
 * process() copies packets in, calls it once, and copies them back, descriptors' fields held against their slots.
 *
 * The host's part of the filter's memory is asked for once, before init: from its allocate(bytes), if it exports that, or
 * else with memory.grow; an allocator of the filter must then leave alone what was not there when the module began.
 *
 *   +---------+--------+-------+----------+---------+--------+---------+-------------+-------+
 *   | context | params | state | counters | devices | vector | scratch | descriptors | slots |
 *   +---------+--------+-------+----------+---------+--------+---------+-------------+-------+
 */
import {
  ABI_VERSION,
  BATCH_PACKETS,
  CONTEXT,
  DESCRIPTOR,
  DEVICE_INFO,
  PACKET_FLAG,
} from "../batches/layout.ts";
import { LOG } from "../batches/log.ts";
import type { PacketMemory } from "../batches/memory.ts";
import { type CopyBetween, copyBetween } from "./between.ts";
import { FilterError } from "./error.ts";
import type { FilterInstance, InstanceShape } from "./load.ts";

const PAGE = 65536;
/** What a filter may lower `data` to, from its slot: room for a header that a device wants. */
const LEAST_HEADROOM = 12;
/** An output that no filter has: partition counts the packet as a drop, and as a bad output. */
const BAD_OUTPUT = 254;

interface Exports extends FilterInstance {
  memory: WebAssembly.Memory;
  /** C has no constant to export. */
  abi: WebAssembly.Global | (() => unknown);
  allocate?(bytes: number): number;
  /** What `progress` is, in memory: C has no variable to export. */
  progressAddress?: WebAssembly.Global;
}

export class IsolatedInstance implements FilterInstance {
  /** As a global of a module is: where in the host's vector it was when it trapped; undefined: not known. */
  readonly progress = { value: undefined as number | undefined } as unknown as WebAssembly.Global;
  readonly touched?: WebAssembly.Global;
  readonly tick?: (context: number) => void;
  private readonly m: PacketMemory;
  private readonly shape: InstanceShape;
  private readonly exports: Exports;
  /** Views of the filter's memory; a filter that grows it detaches them. */
  private u8: Uint8Array;
  private u32: Uint32Array;
  private readonly at: Record<
    "context" | "params" | "state" | "counters" | "devices" | "log" | "vector" | "scratch",
    number
  >;
  private descriptors: number;
  private slots: number;
  private readonly copyIn: CopyBetween;
  private readonly copyOut: CopyBetween;
  private context = 0;

  /** @throws FilterError when the module has no room for the host's part; a trap of its start function */
  constructor(module: WebAssembly.Module, m: PacketMemory, shape: InstanceShape) {
    this.m = m;
    this.shape = shape;
    this.exports = new WebAssembly.Instance(module, {}).exports as unknown as Exports;
    const { memory, abi } = this.exports;
    const version: unknown = typeof abi === "function" ? abi() : abi.value;
    if (version !== ABI_VERSION) {
      throw new FilterError(
        `it was built for ABI ${version}, this pktflow speaks ${ABI_VERSION}: build it again`,
      );
    }
    let next = 0;
    const take = (bytes: number) => {
      const address = next;
      next += Math.ceil(bytes / 64) * 64;
      return address;
    };
    this.at = {
      context: take(CONTEXT.SIZE),
      params: take(shape.paramsBytes),
      state: take(shape.workerStateBytes),
      counters: take(8 * shape.counters),
      devices: take(DEVICE_INFO.SIZE * shape.devices),
      log: take(LOG.BYTES),
      vector: take(4 * BATCH_PACKETS),
      scratch: take(64),
    };
    this.descriptors = take(DESCRIPTOR.SIZE * BATCH_PACKETS);
    this.slots = take(shape.slotBytes * BATCH_PACKETS + 64);
    const start = this.allocate(next);
    for (const name of Object.keys(this.at) as (keyof typeof this.at)[]) this.at[name] += start;
    this.descriptors += start;
    this.slots += start;
    this.u8 = new Uint8Array(memory.buffer);
    this.u8.fill(0, start, start + next);
    this.u32 = new Uint32Array(memory.buffer);
    this.copyIn = copyBetween(memory, m.memory, "from");
    this.copyOut = copyBetween(m.memory, memory, "to");
    if (this.exports.touched !== undefined) this.touched = this.progress;
    if (this.exports.tick !== undefined) this.tick = (context) => this.runTick(context);
  }

  /** @returns the address of the host's part, a multiple of 64 */
  private allocate(bytes: number): number {
    const { memory, allocate } = this.exports;
    const room = bytes + 64;
    const pages = Math.ceil(room / PAGE);
    try {
      const address = allocate === undefined ? memory.grow(pages) * PAGE : allocate(room) >>> 0;
      if (address > 0 && address + room <= memory.buffer.byteLength) return Math.ceil(address / 64) * 64;
    } catch (error) {
      if (!(error instanceof RangeError || error instanceof WebAssembly.RuntimeError)) throw error;
    }
    throw new FilterError(
      `its memory's maximum leaves no room for packets: ${pages} pages of 64 KiB are needed`,
    );
  }

  init(context: number): void {
    this.context = context;
    const { m, shape, at, u32 } = this;
    const words = (to: number, from: number, bytes: number) => {
      for (let i = 0; i < bytes; i += 4) u32[(to + i) >>> 2] = m.u32[(from + i) >>> 2];
    };
    const shared = (offset: number) => m.u32[(context + offset) >>> 2];
    const own = (offset: number, value: number) => {
      u32[(at.context + offset) >>> 2] = value;
    };
    words(at.context, context, CONTEXT.PARAMS);
    const params = shared(CONTEXT.PARAMS);
    words(at.params, params, shape.paramsBytes);
    for (const offset of shape.references) u32[(at.params + offset) >>> 2] += at.params - params;
    words(at.devices, shared(CONTEXT.DEVICES), DEVICE_INFO.SIZE * shape.devices);
    words(at.counters, shared(CONTEXT.COUNTERS), 8 * shape.counters);
    own(CONTEXT.PARAMS, at.params);
    own(CONTEXT.WORKER_STATE, at.state);
    own(CONTEXT.WORKER_STATE_BYTES, shape.workerStateBytes);
    own(CONTEXT.COUNTERS, at.counters);
    own(CONTEXT.OUTPUTS, shared(CONTEXT.OUTPUTS));
    own(CONTEXT.DEVICES, at.devices);
    own(CONTEXT.LOG, shared(CONTEXT.LOG) === 0 ? 0 : at.log);
    this.exports.init(at.context);
    this.bringCounters();
  }

  process(vector: number, count: number): void {
    this.progress.value = undefined;
    this.setTime();
    for (let first = 0; first < count; first += BATCH_PACKETS) {
      const chunk = Math.min(count - first, BATCH_PACKETS);
      const from = vector + 4 * first;
      for (let i = 0; i < chunk; i++) this.bring(this.m.u32[(from >>> 2) + i], i);
      try {
        this.exports.process(this.at.vector, chunk);
      } catch (error) {
        this.renewViews();
        const done = this.done(chunk);
        if (done >= 0) {
          // Of batch(), the last one too: it may have an output.
          const last = this.touched === undefined ? done : done + 1;
          for (let i = 0; i < last; i++) this.take(this.m.u32[(from >>> 2) + i], i);
          this.progress.value = from + 4 * done;
        }
        this.bringCounters();
        throw error;
      }
      this.renewViews();
      for (let i = 0; i < chunk; i++) this.take(this.m.u32[(from >>> 2) + i], i);
    }
    this.bringCounters();
  }

  private runTick(_context: number): void {
    this.setTime();
    this.exports.tick!(this.at.context);
    this.renewViews();
    this.bringCounters();
  }

  /** A packet into the filter's memory. */
  private bring(d: number, i: number): void {
    const { u32, m } = this;
    const own = this.descriptors + i * DESCRIPTOR.SIZE;
    const slot = this.slots + i * this.shape.slotBytes;
    const from = d >>> 2;
    const to = own >>> 2;
    for (let word = 0; word < DESCRIPTOR.SIZE / 4; word++) u32[to + word] = m.u32[from + word];
    const data = m.u32[from + (DESCRIPTOR.DATA >>> 2)];
    const length = m.u32[from + (DESCRIPTOR.LENGTH >>> 2)];
    const place = slot + data - m.u32[from + (DESCRIPTOR.SLOT >>> 2)];
    u32[to + (DESCRIPTOR.DATA >>> 2)] = place;
    u32[to + (DESCRIPTOR.SLOT >>> 2)] = slot;
    u32[(this.at.vector >>> 2) + i] = own;
    this.copyIn(place, data, length, this.at.scratch);
  }

  /** A packet back into its slot, if it is still within one; what dissect had proved of it no longer counts. */
  private take(d: number, i: number): void {
    const { u32, u8, m } = this;
    const own = this.descriptors + i * DESCRIPTOR.SIZE;
    const from = own >>> 2;
    const to = d >>> 2;
    const offset = u32[from + (DESCRIPTOR.DATA >>> 2)] - (this.slots + i * this.shape.slotBytes);
    const length = u32[from + (DESCRIPTOR.LENGTH >>> 2)];
    const capacity = m.u32[to + (DESCRIPTOR.CAPACITY >>> 2)];
    let output = u8[own + DESCRIPTOR.OUTPUT];
    if (offset < LEAST_HEADROOM || length === 0 || offset + length > capacity) output = BAD_OUTPUT;
    else {
      const data = m.u32[to + (DESCRIPTOR.SLOT >>> 2)] + offset;
      this.copyOut(data, u32[from + (DESCRIPTOR.DATA >>> 2)], length, this.shape.scratch);
      m.u32[to + (DESCRIPTOR.DATA >>> 2)] = data;
      m.u32[to + (DESCRIPTOR.LENGTH >>> 2)] = length;
    }
    m.u32[to + (DESCRIPTOR.MARK >>> 2)] = u32[from + (DESCRIPTOR.MARK >>> 2)];
    m.u32[to + 2] = 0; // l3, l4
    m.u32[to + 3] = 0; // payload, protocol
    m.u8[d + DESCRIPTOR.OUTPUT] = output;
    m.u32[to + (DESCRIPTOR.FLAGS >>> 2)] &= PACKET_FLAG.CSUM_PARTIAL | PACKET_FLAG.CSUM_VALID;
    m.u16[(d + DESCRIPTOR.ERROR) >>> 1] = 0;
  }

  /** How many packets of a chunk were done when it trapped; -1: the module does not say. */
  private done(chunk: number): number {
    const { progress, touched, progressAddress } = this.exports;
    const address: unknown = progressAddress?.value;
    const value: unknown =
      typeof address === "number" ? this.u32[address >>> 2] : ((progress ?? touched)?.value as unknown);
    if (typeof value !== "number") return -1;
    const index = ((value >>> 0) - this.at.vector) / 4;
    return Number.isInteger(index) && index >= 0 && index < chunk ? index : -1;
  }

  private setTime(): void {
    this.renewViews();
    const { u32, m } = this;
    const own = this.at.context >>> 2;
    const shared = this.context >>> 2;
    for (let word = CONTEXT.NOW >>> 2; word < CONTEXT.RANDOM >>> 2; word++)
      u32[own + word] = m.u32[shared + word];
  }

  /** The filter's counters to where the report reads them. */
  private bringCounters(): void {
    // Any call may have grown the memory, init() too.
    this.renewViews();
    this.bringLog();
    const to = this.m.u32[(this.context + CONTEXT.COUNTERS) >>> 2] >>> 2;
    const from = this.at.counters >>> 2;
    for (let word = 0; word < 2 * this.shape.counters; word++) this.m.u32[to + word] = this.u32[from + word];
  }

  /** What the filter has said to where the main thread reads it; what finds no room there waits here. */
  private bringLog(): void {
    const { m, u32 } = this;
    const ring = m.u32[(this.context + CONTEXT.LOG) >>> 2] >>> 2;
    const own = this.at.log >>> 2;
    if (ring === 0 || u32[own] === u32[own + (LOG.TAIL >>> 2)]) return;
    let head = m.u32[ring];
    let tail = u32[own + (LOG.TAIL >>> 2)];
    while (tail !== u32[own] && head - Atomics.load(m.u32, ring + (LOG.TAIL >>> 2)) < LOG.RECORDS) {
      const from = own + ((LOG.ENTRIES + (tail % LOG.RECORDS) * LOG.RECORD) >>> 2);
      const to = ring + ((LOG.ENTRIES + (head % LOG.RECORDS) * LOG.RECORD) >>> 2);
      for (let word = 0; word < LOG.RECORD / 4; word++) m.u32[to + word] = u32[from + word];
      tail = (tail + 1) >>> 0;
      head = (head + 1) >>> 0;
    }
    u32[own + (LOG.TAIL >>> 2)] = tail;
    m.u32[ring + (LOG.LOST >>> 2)] = u32[own + (LOG.LOST >>> 2)];
    Atomics.store(m.u32, ring, head);
  }

  private renewViews(): void {
    if (this.u8.length > 0) return;
    this.u8 = new Uint8Array(this.exports.memory.buffer);
    this.u32 = new Uint32Array(this.exports.memory.buffer);
  }
}
