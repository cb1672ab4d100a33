/** Bytes as a filter has written them -> values, for the columns of its tables: what encode.ts does, the other way round. */
import { formatAddress } from "./addresses.ts";
import { IP, layoutOf, PREFIX, recordLayout } from "./layout.ts";
import type { ParamSpec, ParamType } from "./types.ts";

/** Types that can be read back without anything beside their bytes. */
export const READABLE = [
  ...["bool", "u8", "u16", "u32", "u64", "i32", "port", "duration", "size", "enum", "code"],
  ...["ipv4", "ipv6", "ip", "prefix", "mac"],
];
/** Of these a zero is a value, and stays; of others it says that there is none. */
const HAVE_ZERO = ["bool", "enum", "i32"];

/**
 * Values by name, of a record at the start of `bytes`; those that are all zeros are left out, but for words and flags.
 * @returns text for addresses and words, numbers (ns, bytes) otherwise
 */
export function decodeRecord(
  specs: ParamSpec[],
  bytes: Uint8Array,
): Record<string, string | number | boolean> {
  const values: Record<string, string | number | boolean> = {};
  for (const { spec, offset } of recordLayout(specs).fields) {
    const { kind } = spec.type;
    const part = bytes.subarray(offset, offset + layoutOf(spec.type).size);
    if (!HAVE_ZERO.includes(kind) && part.every((byte) => byte === 0)) continue;
    values[spec.name] = decode(spec.type, part);
  }
  return values;
}

/** A row of a filter's table, its numbers by their names. */
export function decodeRow(
  keys: ParamSpec[],
  names: readonly string[],
  row: { key: Uint8Array; values: readonly number[] },
): Record<string, string | number | boolean> {
  return {
    ...decodeRecord(keys, row.key),
    ...Object.fromEntries(names.map((name, i) => [name, row.values[i]])),
  };
}

function decode(type: ParamType, bytes: Uint8Array): string | number | boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (type.kind) {
    case "bool":
      return bytes[0] !== 0;
    case "u8":
      return bytes[0];
    case "enum":
      return type.values[bytes[0]] ?? bytes[0];
    case "code":
      return Object.keys(type.codes).find((word) => type.codes[word] === bytes[0]) ?? bytes[0];
    case "u16":
    case "port":
      return view.getUint16(0, true);
    case "u32":
      return view.getUint32(0, true);
    case "i32":
      return view.getInt32(0, true);
    case "u64":
    case "duration":
    case "size":
      return Number(view.getBigUint64(0, true));
    case "ipv4":
    case "ipv6":
      return addressText([...bytes]);
    case "ip":
      return addressText(inFamily(bytes, bytes[IP.FAMILY]));
    case "prefix": {
      const isIpv4 = bytes[PREFIX.FAMILY] === 4;
      const length = bytes[PREFIX.LENGTH] - (isIpv4 ? 96 : 0);
      return `${addressText(inFamily(bytes, bytes[PREFIX.FAMILY]))}/${length}`;
    }
    case "mac":
      return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
    default:
      throw new RangeError(`a ${type.kind} cannot be read back`);
  }
}

/** Both begin with 16 bytes, in which an IPv4 address is the last four. */
function inFamily(bytes: Uint8Array, family: number): number[] {
  return [...bytes.subarray(family === 4 ? 12 : 0, 16)];
}

function addressText(bytes: number[]): string {
  return formatAddress({ family: bytes.length === 4 ? 4 : 6, bytes });
}
