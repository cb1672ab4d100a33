/**
 * Filters one behind the other on one memory, as a worker has them, and what must hold whatever comes: none traps, each packet
 * leaves by an output that there is, lies within its slot, and nothing outside of the slots and the filters' own state has
 * been written. Those that hold packets, or make some, have slots for it, fewer than they may ask for; what came in and what was
 * made is what went out, was dropped, or is held, and every slot is in one place.
 */
import { readFileSync } from "node:fs";
import {
  BATCH,
  BATCH_PACKETS,
  CONTEXT,
  DESCRIPTOR,
  DEVICE_INFO,
  HEADROOM,
  OUTPUT_HOLD,
} from "../../src/batches/layout.ts";
import {
  batchAt,
  batchCount,
  batchPop,
  batchPush,
  descriptorReset,
  PacketMemory,
  u64Read,
  u64Write,
} from "../../src/batches/memory.ts";
import { layerAfter } from "../../src/config/conversions.ts";
import type { Manifest } from "../../src/config/types.ts";
import { buildCore } from "../../src/filters/build.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { type FilterInstance, instantiate, SCRATCH_PARAMS, stateSizes } from "../../src/filters/load.ts";
import { encodeParams } from "../../src/params/encode.ts";
import { namedOutputs } from "../../src/params/parse.ts";
import type { ParamValues } from "../../src/params/types.ts";
import type { CoreExports } from "../assembly/core.ts";
import { type FuzzPacket, LONGEST } from "./packets.ts";

const PAGE = 65_536;
const GUARD = 256;
const PATTERN = 0xa5;
const SLOT = HEADROOM + LONGEST + 128;
const DROP = 1;
/** Beside a batch's: so many may be held at a time by all filters together. */
const SPARE = 192;
const SLOTS = BATCH_PACKETS + SPARE;
const MOST_HELD = 64;
/** Of HOLDERS: whose a packet is, and by which output it was emitted. */
const HOLDER_MASK = 0x7fff0000;

export interface Module {
  manifest: Manifest;
  module: WebAssembly.Module;
}
export interface Link extends Module {
  values: ParamValues;
}
/** What must not be. */
export class Violation extends Error {}

export async function loadAll(manifests: Manifest[]): Promise<Module[]> {
  return Promise.all(
    manifests.map(async (manifest) => ({ manifest, module: (await loadFilter(manifest)).module })),
  );
}
export async function loadCore(): Promise<WebAssembly.Module> {
  return new WebAssembly.Module(readFileSync((await buildCore()).wasm));
}

interface Place {
  kind: string;
  filter: FilterInstance;
  context: number;
  outputs: number;
  /** By output: does the next filter see what leaves by it? Not what is dropped, nor what is of another layer then. */
  leads: boolean[];
  /** In HOLDERS; 0: it holds none. */
  id: number;
  emitted: number;
}

export class FuzzChain {
  private readonly m: PacketMemory;
  private readonly core: CoreExports;
  private readonly places: Place[];
  private readonly layer: 2 | 3;
  private readonly batch: number;
  private readonly descriptors: number;
  private readonly slots: number;
  private readonly free: number;
  private readonly holders: number;
  private readonly scratch: number;
  /** What no filter may write: parameters and devices, as they were. */
  private readonly frozen: { at: number; bytes: Buffer };
  private readonly guard = Buffer.alloc(GUARD, PATTERN);
  private now = 3600e9;
  private turn = 0;

  /** @throws WebAssembly.RuntimeError when a filter refuses its parameters by a trap at the start */
  constructor(core: WebAssembly.Module, links: Link[], layer: 2 | 3) {
    this.layer = layer;
    let next = PAGE;
    const take = (bytes: number) => {
      const at = next;
      next += Math.ceil(bytes / 64) * 64;
      return at;
    };
    const plans = links.map(({ manifest, module, values }) => {
      const outputs = ["next", "drop", ...manifest.outputs.map(({ name }) => name)];
      for (const name of namedOutputs(manifest.params, values))
        if (!outputs.includes(name)) outputs.push(name);
      const encode = (at: number) => encodeParams(manifest.params, values, outputs, at);
      const sizes = stateSizes(module, manifest, encode(SCRATCH_PARAMS));
      return { manifest, module, outputs, encode, sizes, values };
    });
    const frozenAt = next;
    const params = plans.map(({ encode }) => take(encode(0).length));
    const devices = take(2 * DEVICE_INFO.SIZE);
    const frozenEnd = next;
    const states = plans.map(({ manifest, sizes, values }) => {
      const counters = manifest.counters.reduce(
        (sum, { each }) => sum + (each === undefined ? 1 : (values[each] as unknown[]).length),
        0,
      );
      return {
        context: take(CONTEXT.SIZE),
        counters: take(8 * counters),
        worker: take(sizes.worker),
        shared: take(sizes.shared),
        prepared: take(sizes.prepared),
        emitted: manifest.holds === 0 ? 0 : take(BATCH.ENTRIES + 4 * SLOTS),
      };
    });
    this.batch = take(BATCH.ENTRIES + 4 * BATCH_PACKETS);
    this.scratch = take(1024);
    this.descriptors = take(DESCRIPTOR.SIZE * SLOTS);
    this.free = take(BATCH.ENTRIES + 4 * SLOTS);
    this.holders = take(4 * SLOTS);
    this.slots = take((SLOT + GUARD) * SLOTS + GUARD) + GUARD;
    const pages = Math.ceil(next / PAGE) + 1;
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.m = new PacketMemory(memory);
    this.core = new WebAssembly.Instance(core, { env: { memory } }).exports as unknown as CoreExports;
    plans.forEach(({ encode }, i) => {
      this.m.u8.set(encode(params[i]), params[i]);
    });
    for (const i of [0, 1]) {
      this.word(devices + i * DEVICE_INFO.SIZE + DEVICE_INFO.MTU, 1500);
      this.word(devices + i * DEVICE_INFO.SIZE + DEVICE_INFO.LAYER, layer);
    }
    this.fillSlots();
    let at: 2 | 3 = layer;
    this.places = plans.map(({ manifest, module, outputs, sizes, values }, i) => {
      const { context, counters, worker, shared, prepared, emitted } = states[i];
      const holds =
        typeof manifest.holds === "number" ? manifest.holds : Number(values[manifest.holds] as number);
      const word = (at: number, value: number) => this.word(context + at, value);
      word(CONTEXT.WORKERS, 1);
      word(CONTEXT.RANDOM, i + 1);
      word(CONTEXT.PARAMS, params[i]);
      word(CONTEXT.WORKER_STATE, worker);
      word(CONTEXT.WORKER_STATE_BYTES, sizes.worker);
      word(CONTEXT.SHARED_STATE, shared);
      word(CONTEXT.PREPARED_STATE, prepared);
      word(CONTEXT.SHARED_STATE_BYTES, sizes.shared);
      word(CONTEXT.COUNTERS, counters);
      word(CONTEXT.OUTPUTS, outputs.length);
      word(CONTEXT.DEVICES, devices);
      word(CONTEXT.DEVICE_COUNT, 2);
      const id = holds === 0 ? 0 : (i + 1) << 16;
      if (id !== 0) {
        word(CONTEXT.FREE, this.free);
        word(CONTEXT.EMITTED, emitted);
        word(CONTEXT.HOLDERS, this.holders);
        word(CONTEXT.DESCRIPTORS, this.descriptors);
        word(CONTEXT.HOLDER, id);
        word(CONTEXT.HOLD_LIMIT, Math.min(holds, MOST_HELD));
        this.word(emitted + BATCH.CAPACITY, SLOTS);
      }
      u64Write(this.m, context + CONTEXT.NOW, this.now);
      const filling = instantiate(module, memory);
      filling.prepare?.(context);
      filling.initShared?.(context);
      const filter = instantiate(module, memory);
      filter.init(context);
      const shape = { manifest, params: values };
      const before = at;
      at = layerAfter(shape, before) ?? before;
      const leads = outputs.map((name) => name !== "drop" && layerAfter(shape, before, name) === at);
      return { kind: manifest.kind, filter, context, outputs: outputs.length, leads, id, emitted };
    });
    // As they are when the first packet comes: initShared may put its own in order (route sorts its routes).
    this.frozen = {
      at: frozenAt,
      bytes: Buffer.from(this.m.u8.slice(frozenAt, frozenEnd)),
    };
  }

  /**
   * Sends a batch through all filters; what one drops or holds, the next does not see, and what one emits it does.
   * @param seconds how much later than the last batch: those that asked to be woken until then are, before
   * @returns how many came out at the end
   * @throws Violation
   */
  send(packets: FuzzPacket[], seconds: number): number {
    const { m } = this;
    let out = 0;
    // Each of them may ask again: a bounded number of times, for some do at once.
    const end = this.now + seconds * 1e9;
    for (let turns = 0; turns < 20; turns++) {
      const due = Math.min(...this.places.map(({ context }) => this.dueOf(context)));
      if (due > end) break;
      this.now = Math.max(this.now, due);
      out += this.along((place) => this.wakePlace(place), []);
    }
    this.now = end;
    const taken = packets.map((packet) => this.put(packet));
    this.word(this.batch + BATCH.COUNT, taken.length);
    taken.forEach((descriptor, i) => {
      this.word(this.batch + BATCH.ENTRIES + 4 * i, descriptor);
    });
    this.core.dissect(this.batch, this.layer, this.scratch, this.scratch + 64);
    out += this.along(() => {}, taken);
    this.check();
    if (m.u32[this.free >>> 2] + this.held !== SLOTS) throw new Violation("a slot is lost, or in two places");
    return out;
  }

  /** How many packets filters hold now. */
  get held(): number {
    return this.places.reduce((sum, { context }) => sum + this.m.u32[(context + CONTEXT.HELD) >>> 2], 0);
  }

  /** Through all filters, in order; what leaves the last one is gone. @param before done to each before its packets come */
  private along(before: (place: Place) => void, packets: number[]): number {
    let left = packets;
    for (const place of this.places) left = this.through(place, before, left);
    for (const descriptor of left) batchPush(this.m, this.free, descriptor);
    return left.length;
  }

  private wakePlace({ filter, context }: Place): void {
    if (this.dueOf(context) > this.now) return;
    u64Write(this.m, context + CONTEXT.DUE, 0);
    filter.wake?.(context);
  }

  private through(place: Place, before: (place: Place) => void, descriptors: number[]): number[] {
    const { m } = this;
    const { kind, filter, context } = place;
    u64Write(m, context + CONTEXT.NOW, this.now);
    u64Write(m, context + CONTEXT.WALL_CLOCK, this.now);
    const held = m.u32[(context + CONTEXT.HELD) >>> 2];
    const fresh = u64Read(m, context + CONTEXT.FRESH);
    const left: number[] = [];
    let came = 0;
    let dropped = 0;
    let aside = 0;
    const leave = (descriptor: number, output: number) => {
      if (output >= place.outputs)
        throw new Violation(`${kind} sent a packet to output ${output} of ${place.outputs}`);
      this.checkPacket(descriptor, kind);
      if (place.leads[output]) {
        left.push(descriptor);
        return;
      }
      if (output === DROP) dropped++;
      else aside++;
      batchPush(m, this.free, descriptor);
    };
    const takeEmitted = () => {
      if (place.id === 0) return;
      for (let i = 0; i < batchCount(m, place.emitted); i++) {
        const descriptor = batchAt(m, place.emitted, i);
        const at = this.holderOf(descriptor);
        if ((m.u32[at] & HOLDER_MASK) !== place.id)
          throw new Violation(`${kind} emitted what it does not hold`);
        const output = (m.u32[at] >>> 8) & 255;
        m.u32[at] = 0;
        leave(descriptor, output);
      }
      m.u32[place.emitted >>> 2] = 0;
    };
    try {
      before(place);
      takeEmitted();
      // A batch is 64 packets at most: what the filter before has emitted may be more.
      for (let from = 0; from < descriptors.length; from += BATCH_PACKETS) {
        const batch = descriptors.slice(from, from + BATCH_PACKETS);
        came += batch.length;
        batch.forEach((descriptor, i) => {
          this.word(this.batch + BATCH.ENTRIES + 4 * i, descriptor);
          m.u8[descriptor + DESCRIPTOR.OUTPUT] = 255;
        });
        this.word(this.batch + BATCH.COUNT, batch.length);
        filter.process(this.batch + BATCH.ENTRIES, batch.length);
        for (const descriptor of batch) {
          const output = m.u8[descriptor + DESCRIPTOR.OUTPUT];
          const isHeld = place.id !== 0 && (m.u32[this.holderOf(descriptor)] & HOLDER_MASK) === place.id;
          if (output !== OUTPUT_HOLD || !isHeld) leave(descriptor, output);
        }
        takeEmitted();
      }
      filter.tick?.(context);
      takeEmitted();
    } catch (error) {
      if (error instanceof Violation) throw error;
      throw new Violation(`${kind} trapped: ${(error as Error).message}`);
    }
    const made = u64Read(m, context + CONTEXT.FRESH) - fresh;
    const kept = m.u32[(context + CONTEXT.HELD) >>> 2] - held;
    if (came + made !== left.length + aside + dropped + kept) {
      const parts = `${came} + ${made} made, out ${left.length + aside} + ${dropped} dropped + ${kept} held`;
      throw new Violation(`${kind} does not conserve packets: in ${parts}`);
    }
    if (u64Read(m, context + CONTEXT.BAD_OUTPUTS) !== 0)
      throw new Violation(`${kind} emitted what it does not hold`);
    return left;
  }

  private dueOf(context: number): number {
    const due = u64Read(this.m, context + CONTEXT.DUE);
    return due === 0 ? Number.POSITIVE_INFINITY : due;
  }

  private holderOf(descriptor: number): number {
    return (this.holders >>> 2) + (descriptor - this.descriptors) / DESCRIPTOR.SIZE;
  }

  private fillSlots(): void {
    const { m } = this;
    m.u8.fill(PATTERN, this.slots - GUARD, this.slots + (SLOT + GUARD) * SLOTS);
    this.word(this.free + BATCH.CAPACITY, SLOTS);
    for (let i = 0; i < SLOTS; i++) {
      const descriptor = this.descriptors + i * DESCRIPTOR.SIZE;
      this.word(descriptor + DESCRIPTOR.SLOT, this.slots + i * (SLOT + GUARD));
      this.word(descriptor + DESCRIPTOR.CAPACITY, SLOT);
      batchPush(m, this.free, descriptor);
    }
  }

  /** @returns its descriptor */
  private put({ bytes, partial, gso }: FuzzPacket): number {
    const { m } = this;
    const descriptor = batchPop(m, this.free);
    const slot = m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2];
    m.u8.set(bytes, slot + HEADROOM);
    descriptorReset(m, descriptor, slot + HEADROOM, bytes.length, this.turn++ & 1);
    if (!partial) return descriptor;
    m.u8[descriptor + DESCRIPTOR.VNET_FLAGS] = 1;
    m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_START) >>> 1] = partial.start;
    m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_OFFSET) >>> 1] = partial.field - partial.start;
    if (!gso) return descriptor;
    // Types that are not the packet's are taken off by dissect.
    m.u8[descriptor + DESCRIPTOR.VNET_GSO_TYPE] = gso.type;
    m.u16[(descriptor + DESCRIPTOR.VNET_GSO_SIZE) >>> 1] = gso.size;
    return descriptor;
  }

  /** A packet that leaves a filter lies within its slot. */
  private checkPacket(descriptor: number, kind: string): void {
    const { m } = this;
    const i = (descriptor - this.descriptors) / DESCRIPTOR.SIZE;
    const slot = this.slots + i * (SLOT + GUARD);
    const data = m.u32[(descriptor + DESCRIPTOR.DATA) >>> 2];
    const end = data + m.u32[(descriptor + DESCRIPTOR.LENGTH) >>> 2];
    const own = m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2];
    if (own !== slot || m.u32[(descriptor + DESCRIPTOR.CAPACITY) >>> 2] !== SLOT) {
      throw new Violation(`${kind}: a packet has another slot`);
    }
    if (data < slot || end > slot + SLOT) throw new Violation(`${kind}: a packet lies outside of its slot`);
  }

  private check(): void {
    const { m, frozen } = this;
    for (let i = 0; i < SLOTS; i++) {
      const slot = this.slots + i * (SLOT + GUARD);
      for (const at of [slot - GUARD, slot + SLOT]) {
        if (this.guard.compare(m.u8, at, at + GUARD) !== 0) {
          throw new Violation("beside a packet's slot something was written");
        }
      }
    }
    const { at, bytes } = frozen;
    if (bytes.compare(m.u8, at, at + bytes.length) !== 0) throw new Violation("parameters were written");
  }

  private word(address: number, value: number): void {
    this.m.u32[address >>> 2] = value;
  }
}
