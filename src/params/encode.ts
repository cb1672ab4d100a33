/** Checked parameter values -> the bytes that a filter reads (layout.ts draws them). Runs once at start, not per packet. */
import { mappedBytes, parseAddress, splitPrefix } from "./addresses.ts";
import {
  ACTION,
  alignUp,
  BLOCK_ALIGN,
  blockLayout,
  type Field,
  IP,
  layoutOf,
  PORT_RANGE,
  PREFIX,
  RATE,
  RATE_UNITS,
  REFERENCE,
  recordLayout,
} from "./layout.ts";
import { markOf } from "./parse.ts";
import { NOBODY } from "./sets.ts";
import type { ParamSpec, ParamType, ParamValue, ParamValues, PortRange, Rate } from "./types.ts";

/**
 * The parameter block that is to lie at address `base` (a multiple of 8) of a Wasm memory.
 * @param values as parseParams() gives them; what is absent (a null default) is left zero
 * @param outputs FilterConfig.outputs: an output is encoded as its index here
 */
export function encodeParams(
  specs: ParamSpec[],
  values: ParamValues,
  outputs: string[],
  base: number,
): Uint8Array {
  return writerFor(outputs, base).write(specs, values);
}

function checkBase(base: number): void {
  if (base % BLOCK_ALIGN !== 0) throw new RangeError(`parameters cannot lie at ${base}: not a multiple of 8`);
}

function writerFor(outputs: string[], base: number): Writer {
  checkBase(base);
  return new Writer(base, (name) => {
    const index = outputs.indexOf(name);
    if (index < 0)
      throw new RangeError(`no output is called ${JSON.stringify(name)} (${outputs.join(", ")})`);
    return index;
  });
}

/** Moves a block to another address: cheaper than to encode a hundred thousand rules again. */
export class EncodedParams {
  readonly bytes: Uint8Array;
  #base: number;
  readonly #references: number[];

  /** The parameters as encodeParams() gives them. */
  constructor(specs: ParamSpec[], values: ParamValues, outputs: string[], base: number) {
    const writer = writerFor(outputs, base);
    this.bytes = writer.write(specs, values);
    this.#base = base;
    this.#references = writer.references;
  }

  /** Offsets at which absolute addresses stand. */
  get references(): readonly number[] {
    return this.#references;
  }

  /** The same bytes, changed in place for address `base`. */
  at(base: number): Uint8Array {
    checkBase(base);
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    for (const offset of this.#references) {
      view.setUint32(offset, view.getUint32(offset, true) - this.#base + base, true);
    }
    this.#base = base;
    return this.bytes;
  }
}

/** Bytes of the block that encodeParams() makes of the same values, wherever it lies. */
export function paramsSize(specs: ParamSpec[], values: ParamValues): number {
  return new Writer(0, () => 0).write(specs, values).length;
}

const ENCODER = new TextEncoder();
/** A shorter list is not worth being looked for. */
const SHARED = 8;

class Writer {
  readonly #base: number;
  readonly #output: (name: string) => number;
  #view = new DataView(new ArrayBuffer(1024));
  /** Where absolute addresses stand. */
  readonly references: number[] = [];
  /** Where lists lie that several parameters may share: those of sets. */
  readonly #lists = new Map<ParamValue[], number>();
  /** Bytes taken: what comes next goes here. */
  #end = 0;

  constructor(base: number, output: (name: string) => number) {
    this.#base = base;
    this.#output = output;
  }

  write(specs: ParamSpec[], values: ParamValues): Uint8Array {
    const block = blockLayout(specs);
    this.#record(block.fields, values, this.#take(block.size, block.align));
    this.#take(0, BLOCK_ALIGN);
    return new Uint8Array(this.#view.buffer, 0, this.#end).slice();
  }

  /** Offset of fresh, zeroed, aligned room. */
  #take(bytes: number, align: number): number {
    const offset = alignUp(this.#end, align);
    this.#end = offset + bytes;
    if (this.#end > this.#view.byteLength) {
      const larger = new Uint8Array(Math.max(this.#end, 2 * this.#view.byteLength));
      larger.set(new Uint8Array(this.#view.buffer));
      this.#view = new DataView(larger.buffer);
    }
    return offset;
  }

  #record(fields: Field[], values: ParamValues, at: number): void {
    for (const { spec, offset } of fields) {
      const value = values[spec.name];
      if (value !== undefined) this.#value(spec.type, value, at + offset);
    }
  }

  #value(type: ParamType, value: ParamValue, at: number): void {
    switch (type.kind) {
      case "bool":
        this.#view.setUint8(at, value ? 1 : 0);
        break;
      case "u8":
      case "code":
        this.#view.setUint8(at, value as number);
        break;
      case "enum":
        this.#view.setUint8(at, type.values.indexOf(value as string));
        break;
      case "output":
        this.#view.setUint8(at, this.#output(value as string));
        break;
      case "action":
        this.#action(value as string, at);
        break;
      case "u16":
      case "port":
        this.#view.setUint16(at, value as number, true);
        break;
      case "port-range":
        this.#view.setUint16(at + PORT_RANGE.FIRST, (value as PortRange).first, true);
        this.#view.setUint16(at + PORT_RANGE.LAST, (value as PortRange).last, true);
        break;
      case "u32":
        this.#view.setUint32(at, value as number, true);
        break;
      case "i32":
        this.#view.setInt32(at, value as number, true);
        break;
      case "u64":
      case "duration":
      case "size":
        this.#view.setBigUint64(at, BigInt(value as number), true);
        break;
      case "f64":
        this.#view.setFloat64(at, value as number, true);
        break;
      case "rate":
        this.#view.setBigUint64(at + RATE.VALUE, BigInt((value as Rate).value), true);
        this.#view.setUint8(at + RATE.UNIT, RATE_UNITS.indexOf((value as Rate).unit));
        break;
      case "ipv4":
      case "ipv6":
      case "ip":
        this.#address(type.kind, value as string, at);
        break;
      case "prefix":
      case "interface-address":
        this.#prefix(value as string, at);
        break;
      case "mac":
        this.#bytes(
          (value as string).split(":").map((digits) => Number.parseInt(digits, 16)),
          at,
        );
        break;
      case "string":
      case "domains":
        this.#text(value as string, at);
        break;
      case "sets":
        break;
      case "list":
        this.#list(type.of, value as ParamValue[], at);
        break;
      case "record":
        this.#record(recordLayout(type.fields).fields, value as ParamValues, at);
        break;
    }
  }

  #action(text: string, at: number): void {
    const mark = markOf(text);
    if (mark === undefined) {
      this.#view.setUint8(at + ACTION.OUTPUT, this.#output(text));
      return;
    }
    this.#view.setUint8(at + ACTION.IS_MARK, 1);
    this.#view.setUint32(at + ACTION.MARK, mark, true);
  }

  #address(kind: "ipv4" | "ipv6" | "ip", text: string, at: number): void {
    const address = parseAddress(text);
    if (!address) throw new RangeError(`not a checked address: ${text}`);
    if (kind !== "ip") {
      this.#bytes(address.bytes, at);
      return;
    }
    this.#bytes(mappedBytes(address), at + IP.ADDRESS);
    this.#view.setUint8(at + IP.FAMILY, address.family);
  }

  #prefix(text: string, at: number): void {
    if (text === NOBODY) return;
    const { address, length } = splitPrefix(text);
    this.#bytes(mappedBytes(address), at + PREFIX.ADDRESS);
    this.#view.setUint8(at + PREFIX.LENGTH, address.family === 4 ? length + 96 : length);
    this.#view.setUint8(at + PREFIX.FAMILY, address.family);
  }

  #text(text: string, at: number): void {
    const start = this.#take(text.length, 1);
    const bytes = new Uint8Array(this.#view.buffer, start, text.length);
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) {
        const all = ENCODER.encode(text);
        this.#take(all.length - text.length, 1);
        this.#bytes(all, start);
        this.#reference(at, start, all.length);
        return;
      }
      bytes[i] = code;
    }
    this.#reference(at, start, text.length);
  }

  #list(of: ParamType, elements: ParamValue[], at: number): void {
    if (elements.length === 0) return;
    const twin = elements.length < SHARED ? undefined : this.#lists.get(elements);
    if (twin !== undefined) {
      this.#reference(at, twin, elements.length);
      return;
    }
    const { size, align } = layoutOf(of);
    const start = this.#take(size * elements.length, align);
    for (let i = 0; i < elements.length; i++) this.#value(of, elements[i], start + i * size);
    if (elements.length >= SHARED) this.#lists.set(elements, start);
    this.#reference(at, start, elements.length);
  }

  #reference(at: number, start: number, count: number): void {
    this.references.push(at + REFERENCE.ADDRESS);
    this.#view.setUint32(at + REFERENCE.ADDRESS, this.#base + start, true);
    this.#view.setUint32(at + REFERENCE.COUNT, count, true);
  }

  #bytes(bytes: ArrayLike<number>, at: number): void {
    for (let i = 0; i < bytes.length; i++) this.#view.setUint8(at + i, bytes[i]);
  }
}
