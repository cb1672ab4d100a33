/**
 * Does a module's code grow memory? AssemblyScript's allocators do, and nothing else in a filter would. Looking for the
 * opcode means passing over every instruction's immediates (core specification, 5.4). In: bytes that nobody vouches for.
 */
import { Reader } from "./binary.ts";
import { FilterError } from "./error.ts";

const MEMORY_GROW = 0x40;
const PREFIX = { MISC: 0xfc, SIMD: 0xfd, ATOMIC: 0xfe } as const;

/** @param code the body of the code section @throws FilterError for an instruction that is not known here */
export function growsMemory(code: Uint8Array): boolean {
  const section = new Reader(code);
  for (let functions = section.u32(); functions > 0; functions--) {
    const body = section.take(section.u32());
    const reader = new Reader(body);
    for (let groups = reader.u32(); groups > 0; groups--) {
      reader.u32();
      skipValueType(reader);
    }
    while (!reader.done) if (skipInstruction(reader)) return true;
  }
  return false;
}

/** A value type is one byte, but for references to types, which the filters' features do not have. */
function skipValueType(reader: Reader): void {
  reader.u8();
}

/** @returns whether it was memory.grow */
function skipInstruction(reader: Reader): boolean {
  const opcode = reader.u8();
  if (opcode === MEMORY_GROW) return true;
  const immediates = IMMEDIATES[opcode];
  if (immediates !== undefined) immediates(reader);
  else if (opcode === PREFIX.MISC) skipMisc(reader);
  else if (opcode === PREFIX.SIMD) skipSimd(reader);
  else if (opcode === PREFIX.ATOMIC) skipAtomic(reader);
  else if (!isPlain(opcode)) {
    throw new FilterError(`the module has an instruction that is not known here: 0x${opcode.toString(16)}`);
  }
  return false;
}

/** unreachable, nop, else, end, return, drop, select, and all of comparison, arithmetic and conversion. */
function isPlain(opcode: number): boolean {
  return [0x00, 0x01, 0x05, 0x0b, 0x0f, 0x1a, 0x1b].includes(opcode) || (opcode >= 0x45 && opcode <= 0xc4);
}

type Skip = (reader: Reader) => void;
const number: Skip = (reader) => reader.skipNumber();
const memoryArgument: Skip = (reader) => {
  // Bit 6 of the alignment: a memory index follows. A filter has one memory, so it is never needed.
  reader.skipNumber();
  reader.skipNumber();
};

const IMMEDIATES: Record<number, Skip> = {
  // block, loop, if: a block type; br, br_if, call, return_call: an index
  ...each([0x02, 0x03, 0x04, 0x0c, 0x0d, 0x10, 0x12], number),
  // br_table
  14: (reader) => {
    for (let labels = reader.u32() + 1; labels > 0; labels--) reader.skipNumber();
  },
  // call_indirect, return_call_indirect: type and table
  ...each([0x11, 0x13], memoryArgument),
  // select with types
  28: (reader) => {
    for (let types = reader.u32(); types > 0; types--) skipValueType(reader);
  },
  // local.get, .set, .tee, global.get, .set, table.get, .set
  ...each([0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26], number),
  // loads and stores
  ...each(range(0x28, 0x3e), memoryArgument),
  // memory.size, i32.const, i64.const
  ...each([0x3f, 0x41, 0x42], number),
  67: (reader) => reader.take(4),
  68: (reader) => reader.take(8),
  // ref.null, ref.is_null, ref.func
  208: number,
  209: () => {},
  210: number,
};

/** Saturating conversions, bulk memory and tables. */
function skipMisc(reader: Reader): void {
  const opcode = reader.u32();
  if (opcode <= 7) return;
  const indices = { 8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1 }[opcode];
  if (indices === undefined) throw new FilterError(`the module has an unknown instruction: 0xfc ${opcode}`);
  for (let i = 0; i < indices; i++) reader.skipNumber();
}

function skipSimd(reader: Reader): void {
  const opcode = reader.u32();
  // Loads and stores; those of one lane name it; constants and shuffles are 16 bytes; lanes one byte.
  if (opcode <= 11 || opcode === 92 || opcode === 93) memoryArgument(reader);
  else if (opcode >= 84 && opcode <= 91) {
    memoryArgument(reader);
    reader.u8();
  } else if (opcode === 12 || opcode === 13) reader.take(16);
  else if (opcode >= 21 && opcode <= 34) reader.u8();
}

function skipAtomic(reader: Reader): void {
  // atomic.fence has a reserved byte.
  if (reader.u32() === 3) reader.u8();
  else memoryArgument(reader);
}

function each(opcodes: number[], skip: Skip): Record<number, Skip> {
  return Object.fromEntries(opcodes.map((opcode) => [opcode, skip]));
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}
