/**
 * The sections of a WebAssembly module, as far as checking one needs them (core specification, 5.5). In: bytes that
 * nobody vouches for; every read is bounded and a lie throws.
 */
import { FilterError } from "./error.ts";

export const SECTION = { CUSTOM: 0, IMPORT: 2, MEMORY: 5, START: 8, CODE: 10, DATA: 11 } as const;

export interface Section {
  id: number;
  /** The section's bytes, without id and size. */
  body: Uint8Array;
}

const PREAMBLE = 8;

/** Reads LEB128 numbers, names and bytes one after the other. */
export class Reader {
  private readonly bytes: Uint8Array;
  offset = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get done(): boolean {
    return this.offset >= this.bytes.length;
  }

  u8(): number {
    if (this.offset >= this.bytes.length) throw new FilterError("the module is truncated");
    return this.bytes[this.offset++];
  }

  /** Unsigned LEB128 of at most 32 bits. */
  u32(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.u8();
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new FilterError("the module holds a number longer than 32 bits");
  }

  /** Passes over a LEB128 number of either sign, up to 64 bits. */
  skipNumber(): void {
    for (let i = 0; i < 10; i++) if (this.u8() < 128) return;
    throw new FilterError("the module holds a number longer than 64 bits");
  }

  take(length: number): Uint8Array {
    if (length > this.bytes.length - this.offset) throw new FilterError("the module is truncated");
    this.offset += length;
    return this.bytes.subarray(this.offset - length, this.offset);
  }

  name(): string {
    return new TextDecoder().decode(this.take(this.u32()));
  }
}

/** @throws FilterError when the bytes are no WebAssembly module of version 1 */
export function sections(bytes: Uint8Array): Section[] {
  const reader = new Reader(bytes);
  const preamble = bytes.length >= PREAMBLE ? reader.take(PREAMBLE).join(" ") : "";
  if (preamble !== "0 97 115 109 1 0 0 0") throw new FilterError("it is no WebAssembly module");
  const found: Section[] = [];
  while (!reader.done) {
    const id = reader.u8();
    found.push({ id, body: reader.take(reader.u32()) });
  }
  return found;
}

/** The content of the first custom section of that name. */
export function customSection(bytes: Uint8Array, name: string): string | undefined {
  for (const { id, body } of sections(bytes)) {
    if (id !== SECTION.CUSTOM) continue;
    const reader = new Reader(body);
    if (reader.name() === name) return new TextDecoder().decode(body.subarray(reader.offset));
  }
  return undefined;
}

/** The module with one more custom section at its end. */
export function withCustomSection(bytes: Uint8Array, name: string, content: string): Uint8Array {
  const encoder = new TextEncoder();
  const nameBytes = encoder.encode(name);
  const body = [...leb128(nameBytes.length), ...nameBytes, ...encoder.encode(content)];
  return Uint8Array.from([...bytes, SECTION.CUSTOM, ...leb128(body.length), ...body]);
}

function leb128(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128);
  return [...bytes, value];
}
