/**
 * Runs the cases of a filter. Each case has a fresh memory, laid out as a worker's is, with core's dissect before the
 * filter. assembly/README.md has the format.
 */
import { basename } from "node:path";
import { BATCH, CONTEXT, DESCRIPTOR, DEVICE_INFO, HEADROOM } from "../batches/layout.ts";
import {
  batchPop,
  batchPush,
  counterRead,
  descriptorReset,
  PacketMemory,
  u64Read,
  u64Write,
} from "../batches/memory.ts";
import { readTable } from "../batches/table.ts";
import type { FilterConfig } from "../config/types.ts";
import { decodeRow } from "../params/decode.ts";
import { EncodedParams } from "../params/encode.ts";
import { tableLayout } from "../params/layout.ts";
import { formatDuration, readDuration } from "../params/quantities.ts";
import type { Case, Fields } from "./cases.ts";
import { FilterError } from "./error.ts";
import { type Emission, Holding } from "./holding.ts";
import { instantiate, isIsolated, makeInstance, SCRATCH_PARAMS, stateSizes } from "./load.ts";
import { merged } from "./merged.ts";
import { type BuiltPacket, buildPacket } from "./notation.ts";
import { type BenchInstance, Reloading } from "./reloading.ts";

/** Time does not start at zero, so that a filter cannot mistake "never" for "just now". */
const FIRST_NOW = 3600e9;
const FIRST_WALL_CLOCK = 1_700_000_000e9;
/** Where a packet is that the filter has kept, in a case's `out`. */
const HELD = "held";
/** Variables whose names begin so have a value for one packet only. */
const ANEW = "any";
const SLOT_BYTES = 131_072;
/** So that a reload may grow it. */
const MOST_PAGES = 65_536;
/** Guard against a null address: nothing lies below. */
const FIRST_ADDRESS = 65_536;

/** One thing that did not come out as a case says. */
export interface Failure {
  /** In words: which packet or counter, and what is wrong with it. */
  text: string;
  /** The bytes that came out, and those that had to, where they differ. */
  bytes?: { actual: Uint8Array; expected: Uint8Array; layer: 2 | 3 };
}

/**
 * Runs one case.
 * @param core the module of assembly/core
 * @param module the filter's
 * @param isRestless before each call the same parameters are taken over from another place, as by a reload: nothing must come of it
 * @returns what did not come out as the case says, in words; empty: it passes
 */
export function runCase(
  test: Case,
  core: WebAssembly.Module,
  module: WebAssembly.Module,
  isRestless = false,
): string[] {
  return examineCase(test, core, module, () => {}, isRestless).map(({ text, bytes }) =>
    bytes ? `${text}:\n  came out as ${hex(bytes.actual)}\n  not as      ${hex(bytes.expected)}` : text,
  );
}

/** Called before each packet or batch: what watches that calls end, knows by it that the one before has. */
export type Beat = () => void;

/** Runs one case as runCase does, and gives the bytes that differ. */
export function examineCase(
  test: Case,
  core: WebAssembly.Module,
  module: WebAssembly.Module,
  beat: Beat = () => {},
  isRestless = false,
): Failure[] {
  let bench: Bench;
  try {
    bench = new Bench(test, core, module);
    bench.isRestless = isRestless;
  } catch (error) {
    if (!isItsOwn(error)) throw error;
    return [{ text: `before the first packet: ${error.message}` }];
  }
  const failures: Failure[] = [];
  test.packets.forEach((packet, i) => {
    const times = Number(packet["repeat"] ?? 1);
    for (let n = 0; n < times; n++) {
      const where = `packet ${i + 1}${times > 1 ? ` (time ${n + 1})` : ""}`;
      try {
        beat();
        if (n === 0) bench.reload(test.reloads.get(i));
        const found = bench.send(packet);
        failures.push(...found.map((failure) => ({ ...failure, text: `${where}: ${failure.text}` })));
      } catch (error) {
        if (!isItsOwn(error)) throw error;
        failures.push({ text: `${where}: ${error.message}` });
        return;
      }
    }
  });
  bench.filter.counters.forEach((name, index) => {
    const expected = test.counters[name] ?? 0;
    const counted = bench.counter(index);
    if (counted !== expected) failures.push({ text: `counter ${name} is ${counted}, not ${expected}` });
  });
  for (const [name, rows] of Object.entries(test.tables)) {
    const actual = JSON.stringify(bench.table(name));
    const expected = JSON.stringify(rows);
    if (actual !== expected) failures.push({ text: `table ${name} is ${actual}, not ${expected}` });
  }
  return [...failures, ...bench.captureFailures()];
}

/** The filter's fault, or its case's. */
function isItsOwn(error: unknown): error is Error {
  return error instanceof FilterError || error instanceof WebAssembly.RuntimeError;
}

interface Core {
  dissect(batch: number, layer: number, rx: number, malformed: number): void;
}

/** One filter on its own: a memory, an instance for each worker, and a slot that packets are put in, one at a time. */
export class Bench {
  private readonly test: Case;
  private readonly m: PacketMemory;
  private readonly core: Core;
  private readonly instances: BenchInstance[];
  private readonly reloading: Reloading;
  /** Before each call, the same parameters are taken over from another place. */
  isRestless = false;
  /** With the parameters that it has now. */
  filter: FilterConfig;
  private readonly batch: number;
  /** Of the packet at hand, and the first of all. */
  private descriptor: number;
  private readonly descriptors: number;
  private readonly free: number;
  /** undefined: the filter holds no packets. */
  private readonly holding: Holding | undefined;
  /** What it has emitted and the case has not looked at yet. */
  private emissions: Emission[] = [];
  private readonly slot: number;
  private readonly slots: number;
  private readonly scratch: number;
  private readonly variables = new Map<string, number>();
  private now = 0;
  /** What left by "next", when the case has a capture to compare it with. */
  private readonly left: Uint8Array[] = [];

  /** @param slots packets of a batch of time() */
  constructor(test: Case, core: WebAssembly.Module, module: WebAssembly.Module, slots = 1) {
    this.test = test;
    this.filter = test.filter;
    this.slots = slots;
    const { manifest, outputs, counters } = test.filter;
    const params = new EncodedParams(manifest.params, test.filter.params, outputs, SCRATCH_PARAMS);
    const state = stateSizes(module, manifest, params.bytes);
    let next = FIRST_ADDRESS;
    const take = (bytes: number) => {
      const address = next;
      next += Math.ceil(bytes / 64) * 64;
      return address;
    };
    const paramsAt = take(params.bytes.length);
    const shared = take(state.shared);
    const prepared = take(state.prepared);
    const devices = take(test.devices.length * DEVICE_INFO.SIZE);
    const workers = Array.from({ length: test.workers }, () => ({
      context: take(CONTEXT.SIZE),
      state: take(state.worker),
      counters: take(counters.length * 8),
      outputs: take(outputs.length * 8),
    }));
    const held = heldBy(test.filter);
    const all = held === 0 ? slots : slots + test.slots;
    const free = take(BATCH.ENTRIES + 4 * all);
    this.free = free;
    const [emitted, holders] = [take(BATCH.ENTRIES + 4 * all), take(4 * all)];
    this.batch = take(BATCH.ENTRIES + 4 * slots);
    this.scratch = take(1024);
    this.descriptors = take(DESCRIPTOR.SIZE * all);
    this.descriptor = this.descriptors;
    this.slot = take(SLOT_BYTES * all);
    const pages = Math.ceil(next / 65_536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: MOST_PAGES, shared: true });
    this.m = new PacketMemory(memory);
    this.core = new WebAssembly.Instance(core, { env: { memory } }).exports as unknown as Core;
    this.m.u8.set(params.at(paramsAt), paramsAt);
    test.devices.forEach((device, i) => {
      this.word(devices + i * DEVICE_INFO.SIZE + DEVICE_INFO.MTU, device.mtu);
      this.word(devices + i * DEVICE_INFO.SIZE + DEVICE_INFO.LAYER, device.layer);
    });
    workers.forEach((worker, i) => {
      const { context } = worker;
      this.word(context + CONTEXT.WORKER, i);
      this.word(context + CONTEXT.WORKERS, workers.length);
      this.word(context + CONTEXT.RANDOM, i + 1);
      this.word(context + CONTEXT.PARAMS, paramsAt);
      this.word(context + CONTEXT.WORKER_STATE, worker.state);
      this.word(context + CONTEXT.WORKER_STATE_BYTES, state.worker);
      this.word(context + CONTEXT.SHARED_STATE, shared);
      this.word(context + CONTEXT.PREPARED_STATE, prepared);
      this.word(context + CONTEXT.SHARED_STATE_BYTES, state.shared);
      this.word(context + CONTEXT.COUNTERS, worker.counters);
      this.word(context + CONTEXT.OUTPUTS, outputs.length);
      this.word(context + CONTEXT.OUTPUT_COUNTERS, worker.outputs);
      this.word(context + CONTEXT.FREE, free);
      this.word(context + CONTEXT.DEVICES, devices);
      this.word(context + CONTEXT.DEVICE_COUNT, test.devices.length);
      u64Write(this.m, context + CONTEXT.NOW, FIRST_NOW);
      u64Write(this.m, context + CONTEXT.WALL_CLOCK, FIRST_WALL_CLOCK);
    });
    for (let i = 0; i < all; i++) {
      this.word(this.descriptors + i * DESCRIPTOR.SIZE + DESCRIPTOR.SLOT, this.slot + i * SLOT_BYTES);
      this.word(this.descriptors + i * DESCRIPTOR.SIZE + DESCRIPTOR.CAPACITY, SLOT_BYTES);
    }
    if (held > 0) {
      this.holding = new Holding(this.m, {
        emitted,
        holders,
        descriptors: this.descriptors,
        free,
        slots: all,
      });
      for (const { context } of workers) this.holding.allow(context, held);
    }
    if (!isIsolated(module)) {
      const filling = instantiate(module, memory);
      filling.prepare?.(workers[0].context);
      filling.initShared?.(workers[0].context);
    }
    const shape = {
      slotBytes: SLOT_BYTES,
      paramsBytes: params.bytes.length,
      references: params.references,
      workerStateBytes: state.worker,
      counters: counters.length,
      devices: test.devices.length,
      scratch: this.scratch + 512,
    };
    this.reloading = new Reloading(this.m, module, shape);
    this.instances = workers.map(({ context, counters }) => {
      const filter = makeInstance(module, this.m, shape);
      filter.init(context);
      return { filter, context, counters };
    });
  }

  /** Other parameters from here on, as a reload of a pipeline gives them; undefined: the same. */
  reload(config: FilterConfig | undefined): void {
    if (config === undefined) return;
    for (const { context } of this.instances) this.setTime(context);
    this.reloading.reload(this.instances, this.filter, config);
    this.filter = config;
    this.emitted();
  }

  private stir(): void {
    if (this.isRestless) this.reload(this.filter);
  }

  /** The counter's sum over the workers. */
  counter(index: number): number {
    return this.instances.reduce((sum, { counters }) => sum + counterRead(this.m, counters + index * 8), 0);
  }

  /** Between two packets: how many are lost or double. */
  get missing(): number {
    return this.holding?.missing(this.instances.map(({ context }) => context)) ?? 0;
  }

  /** A table's rows as the report shows them. */
  table(name: string): Fields[] {
    const { manifest, params } = this.filter;
    const index = (manifest.tables ?? []).findIndex((table) => table.name === name);
    const { keys, values, show } = (manifest.tables ?? [])[index];
    const shape = { keyBytes: tableLayout(keys, 0).keyBytes, values: values.length, index };
    const contexts = this.instances.map(({ context }) => context);
    const most = typeof show === "number" ? show : (params[show] as number);
    const names = values.map((value) => value.name);
    return readTable(this.m, contexts, shape, most).rows.map((row) => decodeRow(keys, names, row));
  }

  /** Sends a packet through the filter. @returns what came out otherwise than the case says */
  send(packet: Fields): Failure[] {
    const { m } = this;
    if (packet["at"] !== undefined) this.advance(packet["at"]);
    const worker = this.instances[Number(packet["worker"] ?? 0)];
    if (worker === undefined) throw new FilterError(`the case has ${this.instances.length} workers`);
    const device = Number(packet["device"] ?? 0);
    if (!(device in this.test.devices)) throw new FilterError(`the case has no device ${device}`);
    const raw = (packet["in"] as { raw?: Uint8Array } | undefined)?.raw;
    if (packet["in"] === undefined) return this.compareEmissions(packet);
    const built = raw ? plainPacket(raw) : buildPacket(packet["in"], this.variables);
    const unknown = built.places.find(({ name }) => !this.variables.has(name));
    if (unknown) throw new FilterError(`$${unknown.name} has no value yet`);

    if (this.holding) this.descriptor = batchPop(m, this.free);
    const { descriptor } = this;
    if (descriptor === 0)
      throw new FilterError(`the filter holds all ${this.test.slots} packets that the case allows`);
    this.place(descriptor, built, packet, device);
    this.word(this.batch + BATCH.COUNT, 1);
    this.word(this.batch + BATCH.ENTRIES, descriptor);
    this.core.dissect(this.batch, this.test.devices[device].layer, this.scratch, this.scratch + 64);
    // What a filter forgets to set must not pass for next.
    m.u8[descriptor + DESCRIPTOR.OUTPUT] = 255;
    this.stir();
    worker.filter.process(this.batch + BATCH.ENTRIES, 1);
    const failures = raw ? this.collect() : this.compare(packet, built.bytes);
    if (!this.holding) return failures;
    if (!this.holding.isHeld(descriptor)) batchPush(m, this.free, descriptor);
    this.emitted();
    return [...failures, ...this.compareEmissions(packet)];
  }

  /** Puts a packet into a slot, its descriptor as a device leaves it. */
  private place(descriptor: number, { bytes, partial }: BuiltPacket, packet: Fields, device: number): void {
    const { m } = this;
    const data = m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
    m.u8.set(bytes, data);
    descriptorReset(m, descriptor, data, bytes.length, device | (Number(packet["queue"] ?? 0) << 8));
    this.word(descriptor + DESCRIPTOR.MARK, Number(packet["mark"] ?? 0));
    if (partial) {
      m.u8[descriptor + DESCRIPTOR.VNET_FLAGS] = 1;
      m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_START) >>> 1] = partial.start;
      m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_OFFSET) >>> 1] = partial.field - partial.start;
    }
    if (packet["gso"] !== undefined) {
      m.u8[descriptor + DESCRIPTOR.VNET_GSO_TYPE] = gsoType(packet["in"] as Fields);
      m.u16[(descriptor + DESCRIPTOR.VNET_GSO_SIZE) >>> 1] = Number(packet["gso"]);
    }
  }

  /**
   * Times process() alone over batches of `slots` packets, taken in turn from those given and made anew each time.
   * @param packets of the case, as they are before anything has happened
   * @returns ns a batch, for each of `rounds` batches
   */
  time(packets: BuiltPacket[], rounds: number, beat: Beat = () => {}): number[] {
    const [{ filter, context }] = this.instances;
    const times: number[] = [];
    this.word(this.batch + BATCH.COUNT, this.slots);
    for (let round = 0; round < rounds; round++) {
      beat();
      for (let i = 0; i < this.slots; i++) {
        const descriptor = this.descriptors + i * DESCRIPTOR.SIZE;
        this.place(descriptor, packets[i % packets.length], {}, 0);
        this.word(this.batch + BATCH.ENTRIES + 4 * i, descriptor);
      }
      this.core.dissect(this.batch, this.test.layer, this.scratch, this.scratch + 64);
      const start = performance.now();
      filter.process(this.batch + BATCH.ENTRIES, this.slots);
      times.push((performance.now() - start) * 1e6);
      if (!this.holding) continue;
      // A second later all has left, and the next batch finds as much room as this one.
      this.now += 1e9;
      this.setTime(context);
      filter.wake?.(context);
      this.holding.forget(context, this.slots);
    }
    return times;
  }

  /** Of a packet from a capture, only where it left is looked at now. */
  private collect(): Failure[] {
    const output = this.m.u8[this.descriptor + DESCRIPTOR.OUTPUT];
    const bytes = this.bytesOut();
    if (bytes === undefined) return [{ text: "its data lies outside its slot" }];
    if (!(output in this.test.filter.outputs)) {
      return [{ text: `left by output ${output}, which the filter does not have` }];
    }
    if (output === 0) this.left.push(bytes);
    return [];
  }

  /** How what left by "next" differs from the case's pcap-out, up to the first packet that does. */
  captureFailures(): Failure[] {
    const { captured, layer } = this.test;
    if (captured === undefined) return [];
    const file = basename(captured.file);
    for (const [i, actual] of this.left.entries()) {
      const expected = captured.packets[i];
      if (expected === undefined) break;
      const [differs] = difference(actual, expected, layer);
      if (differs)
        return [
          { ...differs, text: `packet ${i + 1} of those that left by next, and of ${file}: ${differs.text}` },
        ];
    }
    if (this.left.length === captured.packets.length) return [];
    return [{ text: `${this.left.length} packets left by next, and ${file} has ${captured.packets.length}` }];
  }

  /** The packet's bytes; undefined: the filter has moved it out of its slot. */
  private bytesOut(): Uint8Array | undefined {
    const { m, descriptor } = this;
    const data = m.u32[(descriptor + DESCRIPTOR.DATA) >>> 2];
    const length = m.u32[(descriptor + DESCRIPTOR.LENGTH) >>> 2];
    const slot = m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2];
    if (data < slot || data + length > slot + SLOT_BYTES) return undefined;
    return m.u8.slice(data, data + length);
  }

  private compare(packet: Fields, sent: Uint8Array): Failure[] {
    const { m, descriptor } = this;
    const failures: Failure[] = [];
    const output = m.u8[descriptor + DESCRIPTOR.OUTPUT];
    const isHeld = this.holding?.isHeld(descriptor) === true;
    const name = isHeld
      ? HELD
      : (this.test.filter.outputs[output] ?? `output ${output}, which the filter does not have`);
    const expected = packet["out"] ?? "next";
    if (name !== expected) failures.push({ text: `left by ${name}, not by ${expected}` });
    const mark = m.u32[(descriptor + DESCRIPTOR.MARK) >>> 2];
    const wanted = packet["mark-out"];
    if (wanted !== undefined && mark !== wanted) failures.push({ text: `has mark ${mark}, not ${wanted}` });
    const bytes = this.bytesOut();
    if (bytes === undefined) return [...failures, { text: "its data lies outside its slot" }];
    // What becomes of a dropped packet's bytes is nobody's business, unless the case says so.
    const matters =
      (name !== "drop" && name !== HELD) || packet["bytes"] !== undefined || packet["changed"] !== undefined;
    if (matters)
      failures.push(...difference(bytes, this.expectedBytes(packet, sent, bytes), this.test.layer));
    return failures;
  }

  /** Variables that the expectation names for the first time take their value from what came out. */
  private expectedBytes(packet: Fields, sent: Uint8Array, actual: Uint8Array): Uint8Array {
    const { bytes, changed } = packet;
    if (changed === undefined && (bytes === undefined || bytes === "unchanged")) return sent;
    const notation =
      changed !== undefined
        ? merged(packet["in"] as Fields, changed as Fields)
        : typeof bytes === "string"
          ? { hex: bytes }
          : bytes;
    for (const name of this.variables.keys()) if (name.startsWith(ANEW)) this.variables.delete(name);
    for (const { name, offset, width } of buildPacket(notation, this.variables).places) {
      if (this.variables.has(name)) continue;
      let value = 0;
      for (let i = 0; i < width; i++) value = value * 256 + (actual[offset + i] ?? 0);
      this.variables.set(name, value);
    }
    return buildPacket(notation, this.variables).bytes;
  }

  private advance(at: unknown): void {
    const reading = readDuration(at, {});
    if (!("value" in reading)) throw new FilterError(`at ${reading.refusal.message}`);
    if (reading.value < this.now) throw new FilterError(`at ${at}: time does not go back`);
    this.wakeUntil(reading.value);
    this.now = reading.value;
    for (const { filter, context } of this.instances) {
      this.setTime(context);
      filter.tick?.(context);
      this.emitted();
      this.stir();
    }
  }

  private setTime(context: number): void {
    u64Write(this.m, context + CONTEXT.NOW, FIRST_NOW + this.now);
    u64Write(this.m, context + CONTEXT.WALL_CLOCK, FIRST_WALL_CLOCK + this.now);
  }

  /** Wakes every instance that is due up to a time, each when it is. */
  private wakeUntil(time: number): void {
    const due = (context: number) => {
      const at = u64Read(this.m, context + CONTEXT.DUE);
      return at === 0 ? Number.POSITIVE_INFINITY : Math.max(at - FIRST_NOW, this.now);
    };
    for (;;) {
      const [first] = [...this.instances].sort((a, b) => due(a.context) - due(b.context));
      if (due(first.context) > time) return;
      this.now = due(first.context);
      this.setTime(first.context);
      u64Write(this.m, first.context + CONTEXT.DUE, 0);
      this.stir();
      first.filter.wake?.(first.context);
      this.emitted();
    }
  }

  private emitted(): void {
    if (this.holding) this.emissions.push(...this.holding.take(this.now));
  }

  /** What the filter has emitted since the packet before, against what this one says under `emits`. */
  private compareEmissions(packet: Fields): Failure[] {
    const { emissions } = this;
    this.emissions = [];
    const wanted = (packet["emits"] ?? []) as Fields[];
    const failures: Failure[] = [];
    if (emissions.length !== wanted.length) {
      failures.push({ text: `emits ${emissions.length} packets, not ${wanted.length}` });
    }
    wanted.slice(0, emissions.length).forEach((one, i) => {
      const { output, bytes, at } = emissions[i];
      const where = `emission ${i + 1}: `;
      const name = this.test.filter.outputs[output];
      const expected = one["out"] ?? "next";
      if (name !== expected) failures.push({ text: `${where}left by ${name}, not by ${expected}` });
      const time = one["at"] === undefined ? undefined : readDuration(one["at"], {});
      if (time && "value" in time && time.value !== at) {
        failures.push({
          text: `${where}left at ${formatDuration(at)}, not at ${formatDuration(time.value)}`,
        });
      }
      const like = this.test.packets[Number(one["packet"] ?? 0) - 1]?.["in"];
      const notation = { ...one, in: like };
      const sent = like === undefined ? new Uint8Array() : buildPacket(like, this.variables).bytes;
      for (const failure of difference(bytes, this.expectedBytes(notation, sent, bytes), this.test.layer))
        failures.push({ ...failure, text: `${where}${failure.text}` });
    });
    return failures;
  }

  private word(address: number, value: number): void {
    this.m.u32[address >>> 2] = value;
  }
}

function heldBy({ manifest, params }: Case["filter"]): number {
  return typeof manifest.holds === "number" ? manifest.holds : (params[manifest.holds] as number);
}

function difference(actual: Uint8Array, expected: Uint8Array, layer: 2 | 3): Failure[] {
  if (actual.length === expected.length && actual.every((byte, i) => byte === expected[i])) return [];
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  const text = `differs from byte ${at < 0 ? expected.length : at}`;
  return [{ text, bytes: { actual, expected, layer } }];
}

function plainPacket(bytes: Uint8Array): BuiltPacket {
  return { bytes, places: [], partial: undefined };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** VIRTIO_NET_HDR_GSO_UDP_L4, _TCPV4 or _TCPV6. */
function gsoType(packet: Fields): number {
  if (packet["udp"] !== undefined) return 5;
  return packet["ipv4"] !== undefined ? 1 : 4;
}
