/**
 * Runs a filter's cases.yaml: packets in, and the outputs, bytes and counters that must come out. Each case has a fresh
 * memory, laid out as a worker's is, with core's dissect before the filter. assembly/README.md has the format.
 */
import { join } from "node:path";
import { BATCH, CONTEXT, DESCRIPTOR, DEVICE_INFO, HEADROOM } from "../batches/layout.ts";
import { counterRead, descriptorReset, PacketMemory, u64Write } from "../batches/memory.ts";
import { ConfigError, Diagnostics } from "../config/diagnostics.ts";
import { readDocument } from "../config/document.ts";
import { readFilters } from "../config/filters.ts";
import { readText } from "../config/manifest.ts";
import { Source, type Span } from "../config/source.ts";
import { entry, type MapNode, type Node, plain } from "../config/tree.ts";
import type { FilterConfig } from "../config/types.ts";
import { encodeParams } from "../params/encode.ts";
import { readDuration } from "../params/quantities.ts";
import { BUILTIN } from "./build.ts";
import { FilterError } from "./error.ts";
import { type FilterInstance, instantiate, SCRATCH_PARAMS, stateSizes } from "./load.ts";
import { buildPacket, fieldsOf } from "./notation.ts";

export interface Case {
  purpose: string;
  file: string;
  /** Line of the case in its file. */
  line: number;
  filter: FilterConfig;
  layer: 2 | 3;
  workers: number;
  devices: { mtu: number; layer: 2 | 3 }[];
  packets: Fields[];
  counters: Record<string, number>;
}
type Fields = Record<string, unknown>;

const CASE_KEYS = ["purpose", "params", "layer", "workers", "devices", "packets", "counters"];
const PACKET_KEYS = [
  ...["in", "at", "device", "queue", "worker", "mark", "repeat", "gso"],
  ...["out", "bytes", "changed", "mark-out"],
];
/** Time does not start at zero, so that a filter cannot mistake "never" for "just now". */
const FIRST_NOW = 3600e9;
const FIRST_WALL_CLOCK = 1_700_000_000e9;
/** Variables whose names begin so have a value for one packet only. */
const ANEW = "any";
const SLOT_BYTES = 131_072;
/** Guard against a null address: nothing lies below. */
const FIRST_ADDRESS = 65_536;

/**
 * Reads a filter's cases.yaml.
 * @param folder absolute path of the filter's folder
 * @throws ConfigError when the file, or the parameters of a case, are not right
 */
export function readCases(folder: string): Case[] {
  const file = join(folder, "cases.yaml");
  const diagnostics = new Diagnostics();
  const root = readDocument(new Source(file, readText(file)), {}, diagnostics);
  if (root?.kind !== "list") {
    if (root) diagnostics.error(root.span, "wrong-type", "a cases.yaml is a list of cases");
    throw new ConfigError(diagnostics.sorted());
  }
  const cases = root.items.flatMap((node) => readCase(node, folder, diagnostics) ?? []);
  if (!diagnostics.empty) throw new ConfigError(diagnostics.sorted());
  return cases;
}

function readCase(node: Node, folder: string, diagnostics: Diagnostics): Case | undefined {
  if (node.kind !== "map") {
    diagnostics.error(node.span, "wrong-type", "a case is a map");
    return undefined;
  }
  const filter = readParams(node, folder, diagnostics);
  if (filter === undefined) return undefined;
  try {
    const fields = fieldsOf(plain(node), "a case", CASE_KEYS);
    const layer = fields["layer"] === 2 ? 2 : 3;
    const devices = (fields["devices"] ?? [{}, {}]) as Fields[];
    const packets = (fields["packets"] ?? []) as unknown[];
    if (typeof fields["purpose"] !== "string") throw new FilterError("a case wants a purpose");
    if (packets.length === 0) throw new FilterError("a case without packets shows nothing");
    return {
      purpose: fields["purpose"],
      file: node.span.source.file,
      line: lineOf(node.span),
      filter,
      layer,
      workers: Number(fields["workers"] ?? 1),
      devices: devices.map((device) => ({ mtu: 1500, layer, ...device })),
      packets: packets.map((packet) => fieldsOf(packet, "a packet of a case", PACKET_KEYS)),
      counters: fieldsOf(fields["counters"] ?? {}, "counters", filter.counters) as Record<string, number>,
    };
  } catch (error) {
    if (!(error instanceof FilterError)) throw error;
    diagnostics.error(node.span, "bad-case", error.message);
    return undefined;
  }
}

/** The case's parameters, read as those of a filter in a pipeline. */
function readParams(node: MapNode, folder: string, diagnostics: Diagnostics): FilterConfig | undefined {
  const params = entry(node, "params")?.value;
  const { span } = params ?? node;
  const kind = { key: "kind", keySpan: span, value: { kind: "scalar", value: folder, span } as Node };
  const given = params?.kind === "map" ? params.entries : [];
  const map: MapNode = { kind: "map", entries: [kind, ...given], span };
  const section: Node = { kind: "map", entries: [{ key: "filter", keySpan: span, value: map }], span };
  const places = { pipelineFile: join(folder, "cases.yaml"), filtersDirectory: BUILTIN };
  return readFilters(section, places, diagnostics).get("filter")?.config;
}

function lineOf({ source, start }: Span): number {
  return source.locate(start).line;
}

/**
 * Runs one case.
 * @param core the module of assembly/core
 * @param module the filter's
 * @returns what did not come out as the case says, in words; empty: it passes
 */
export function runCase(test: Case, core: WebAssembly.Module, module: WebAssembly.Module): string[] {
  const bench = new Bench(test, core, module);
  const failures: string[] = [];
  test.packets.forEach((packet, i) => {
    const times = Number(packet["repeat"] ?? 1);
    for (let n = 0; n < times; n++) {
      const where = `packet ${i + 1}${times > 1 ? ` (time ${n + 1})` : ""}`;
      try {
        failures.push(...bench.send(packet).map((failure) => `${where}: ${failure}`));
      } catch (error) {
        if (!(error instanceof FilterError || error instanceof WebAssembly.RuntimeError)) throw error;
        failures.push(`${where}: ${error.message}`);
        return;
      }
    }
  });
  test.filter.counters.forEach((name, index) => {
    const expected = test.counters[name] ?? 0;
    const counted = bench.counter(index);
    if (counted !== expected) failures.push(`counter ${name} is ${counted}, not ${expected}`);
  });
  return failures;
}

interface Core {
  dissect(batch: number, layer: number, rx: number, malformed: number): void;
}

/** One filter on its own: a memory, an instance for each worker, and one slot that every packet is put in. */
class Bench {
  private readonly test: Case;
  private readonly m: PacketMemory;
  private readonly core: Core;
  private readonly instances: { filter: FilterInstance; context: number; counters: number }[];
  private readonly batch: number;
  private readonly descriptor: number;
  private readonly slot: number;
  private readonly scratch: number;
  private readonly variables = new Map<string, number>();
  private now = 0;

  constructor(test: Case, core: WebAssembly.Module, module: WebAssembly.Module) {
    this.test = test;
    const { manifest, params, outputs, counters } = test.filter;
    const encode = (address: number) => encodeParams(manifest.params, params, outputs, address);
    const state = stateSizes(module, manifest, encode(SCRATCH_PARAMS));
    let next = FIRST_ADDRESS;
    const take = (bytes: number) => {
      const address = next;
      next += Math.ceil(bytes / 64) * 64;
      return address;
    };
    const paramsAt = take(encode(0).length);
    const shared = take(state.shared);
    const devices = take(test.devices.length * DEVICE_INFO.SIZE);
    const workers = Array.from({ length: test.workers }, () => ({
      context: take(CONTEXT.SIZE),
      state: take(state.worker),
      counters: take(counters.length * 8),
      outputs: take(outputs.length * 8),
    }));
    const free = take(BATCH.ENTRIES);
    this.batch = take(BATCH.ENTRIES + 4);
    this.scratch = take(1024);
    this.descriptor = take(DESCRIPTOR.SIZE);
    this.slot = take(SLOT_BYTES);
    const pages = Math.ceil(next / 65_536);
    const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.m = new PacketMemory(memory);
    this.core = new WebAssembly.Instance(core, { env: { memory } }).exports as unknown as Core;
    this.m.u8.set(encode(paramsAt), paramsAt);
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
      this.word(context + CONTEXT.SHARED_STATE_BYTES, state.shared);
      this.word(context + CONTEXT.COUNTERS, worker.counters);
      this.word(context + CONTEXT.OUTPUTS, outputs.length);
      this.word(context + CONTEXT.OUTPUT_COUNTERS, worker.outputs);
      this.word(context + CONTEXT.FREE, free);
      this.word(context + CONTEXT.DEVICES, devices);
      u64Write(this.m, context + CONTEXT.NOW, FIRST_NOW);
      u64Write(this.m, context + CONTEXT.WALL_CLOCK, FIRST_WALL_CLOCK);
    });
    instantiate(module, memory).initShared?.(workers[0].context);
    this.instances = workers.map(({ context, counters }) => {
      const filter = instantiate(module, memory);
      filter.init(context);
      return { filter, context, counters };
    });
  }

  /** The counter's sum over the workers. */
  counter(index: number): number {
    return this.instances.reduce((sum, { counters }) => sum + counterRead(this.m, counters + index * 8), 0);
  }

  /** Sends a packet through the filter. @returns what came out otherwise than the case says */
  send(packet: Fields): string[] {
    const { m, descriptor } = this;
    if (packet["at"] !== undefined) this.advance(packet["at"]);
    const worker = this.instances[Number(packet["worker"] ?? 0)];
    if (worker === undefined) throw new FilterError(`the case has ${this.instances.length} workers`);
    const device = Number(packet["device"] ?? 0);
    if (!(device in this.test.devices)) throw new FilterError(`the case has no device ${device}`);
    const built = buildPacket(packet["in"], this.variables);
    const unknown = built.places.find(({ name }) => !this.variables.has(name));
    if (unknown) throw new FilterError(`$${unknown.name} has no value yet`);

    this.word(descriptor + DESCRIPTOR.SLOT, this.slot);
    this.word(descriptor + DESCRIPTOR.CAPACITY, SLOT_BYTES);
    const data = this.slot + HEADROOM;
    m.u8.set(built.bytes, data);
    descriptorReset(m, descriptor, data, built.bytes.length, device | (Number(packet["queue"] ?? 0) << 8));
    this.word(descriptor + DESCRIPTOR.MARK, Number(packet["mark"] ?? 0));
    if (built.partial) {
      const { start, field } = built.partial;
      m.u8[descriptor + DESCRIPTOR.VNET_FLAGS] = 1;
      m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_START) >>> 1] = start;
      m.u16[(descriptor + DESCRIPTOR.VNET_CSUM_OFFSET) >>> 1] = field - start;
    }
    if (packet["gso"] !== undefined) {
      m.u8[descriptor + DESCRIPTOR.VNET_GSO_TYPE] = gsoType(packet["in"] as Fields);
      m.u16[(descriptor + DESCRIPTOR.VNET_GSO_SIZE) >>> 1] = Number(packet["gso"]);
    }
    this.word(this.batch + BATCH.COUNT, 1);
    this.word(this.batch + BATCH.ENTRIES, descriptor);
    this.core.dissect(this.batch, this.test.layer, this.scratch, this.scratch + 64);
    // What a filter forgets to set must not pass for next.
    m.u8[descriptor + DESCRIPTOR.OUTPUT] = 255;
    worker.filter.process(this.batch + BATCH.ENTRIES, 1);
    return this.compare(packet, built.bytes);
  }

  private compare(packet: Fields, sent: Uint8Array): string[] {
    const { m, descriptor } = this;
    const failures: string[] = [];
    const output = m.u8[descriptor + DESCRIPTOR.OUTPUT];
    const name = this.test.filter.outputs[output] ?? `output ${output}, which the filter does not have`;
    const expected = packet["out"] ?? "next";
    if (name !== expected) failures.push(`left by ${name}, not by ${expected}`);
    const mark = m.u32[(descriptor + DESCRIPTOR.MARK) >>> 2];
    const wanted = packet["mark-out"];
    if (wanted !== undefined && mark !== wanted) failures.push(`has mark ${mark}, not ${wanted}`);
    const data = m.u32[(descriptor + DESCRIPTOR.DATA) >>> 2];
    const length = m.u32[(descriptor + DESCRIPTOR.LENGTH) >>> 2];
    if (data < this.slot || data + length > this.slot + SLOT_BYTES) {
      return [...failures, "its data lies outside its slot"];
    }
    const bytes = m.u8.slice(data, data + length);
    // What becomes of a dropped packet's bytes is nobody's business, unless the case says so.
    const matters = name !== "drop" || packet["bytes"] !== undefined || packet["changed"] !== undefined;
    if (matters) failures.push(...difference(bytes, this.expectedBytes(packet, sent, bytes)));
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
    this.now = reading.value;
    for (const { filter, context } of this.instances) {
      u64Write(this.m, context + CONTEXT.NOW, FIRST_NOW + this.now);
      u64Write(this.m, context + CONTEXT.WALL_CLOCK, FIRST_WALL_CLOCK + this.now);
      filter.tick?.(context);
    }
  }

  private word(address: number, value: number): void {
    this.m.u32[address >>> 2] = value;
  }
}

/** A map with the values of another put over it, maps in maps too. */
function merged(base: Fields, over: Fields): Fields {
  const result: Fields = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isMap(below) && isMap(value) ? merged(below, value) : value;
  }
  return result;
}

function isMap(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function difference(actual: Uint8Array, expected: Uint8Array): string[] {
  if (actual.length === expected.length && actual.every((byte, i) => byte === expected[i])) return [];
  const lines = [`came out as ${hex(actual)}`, `not as      ${hex(expected)}`];
  const at = expected.findIndex((byte, i) => byte !== actual[i]);
  return [`differs from byte ${at < 0 ? expected.length : at}:\n  ${lines.join("\n  ")}`];
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** VIRTIO_NET_HDR_GSO_UDP_L4, _TCPV4 or _TCPV6. */
function gsoType(packet: Fields): number {
  if (packet["udp"] !== undefined) return 5;
  return packet["ipv4"] !== undefined ? 1 : 4;
}
