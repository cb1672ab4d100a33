/** Integers at any address, in either byte order, without a DataView or an object. */

export function readU16(u8: Uint8Array, at: number, bigEndian: boolean): number {
  return bigEndian ? (u8[at] << 8) | u8[at + 1] : u8[at] | (u8[at + 1] << 8);
}

export function readU32(u8: Uint8Array, at: number, bigEndian: boolean): number {
  return bigEndian
    ? ((u8[at] << 24) | (u8[at + 1] << 16) | (u8[at + 2] << 8) | u8[at + 3]) >>> 0
    : (u8[at] | (u8[at + 1] << 8) | (u8[at + 2] << 16) | (u8[at + 3] << 24)) >>> 0;
}

/** Little-endian. */
export function writeU16(u8: Uint8Array, at: number, value: number): void {
  u8[at] = value;
  u8[at + 1] = value >>> 8;
}

/** Little-endian. */
export function writeU32(u8: Uint8Array, at: number, value: number): void {
  u8[at] = value;
  u8[at + 1] = value >>> 8;
  u8[at + 2] = value >>> 16;
  u8[at + 3] = value >>> 24;
}
