/** Two packets side by side: the fields that differ by name, and the lines of bytes that differ, marked. */
import { type PacketField, packetFields } from "./fields.ts";

const BYTES_A_LINE = 16;
/** A packet that came out as something else altogether is not printed line by line to its end. */
const MOST_LINES = 12;

export interface FieldDifference {
  name: string;
  /** "-": the packet has no such field. */
  expected: string;
  actual: string;
}

/** The fields of two packets that are not the same, in the order of the packets' bytes. */
export function differentFields(actual: Uint8Array, expected: Uint8Array, layer: 2 | 3): FieldDifference[] {
  const got = named(packetFields(actual, layer));
  const wanted = named(packetFields(expected, layer));
  const names = [...new Set([...wanted.keys(), ...got.keys()])];
  const found: FieldDifference[] = [];
  for (const name of names) {
    const a = got.get(name);
    const b = wanted.get(name);
    if (a && b && sameBytes(actual.subarray(a.start, a.end), expected.subarray(b.start, b.end))) continue;
    found.push({ name, expected: b?.text ?? "-", actual: a?.text ?? "-" });
  }
  return found;
}

/** Several tags or headers of one name are told apart by a number. */
function named(fields: PacketField[]): Map<string, PacketField> {
  const byName = new Map<string, PacketField>();
  for (const field of fields) {
    let name = field.name;
    for (let i = 2; byName.has(name); i++) name = `${field.name} ${i}`;
    byName.set(name, field);
  }
  return byName;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

/**
 * Lines of the packets' bytes, only those that differ: offset, expected, got, and carets under the bytes that differ.
 *   0000  expected  45 00 00 21 ...
 *              got  45 00 00 21 ...
 *                      ^^
 */
export function differentBytes(actual: Uint8Array, expected: Uint8Array): string[] {
  const lines: string[] = [];
  let shown = 0;
  for (let at = 0; at < Math.max(actual.length, expected.length); at += BYTES_A_LINE) {
    const got = actual.subarray(at, at + BYTES_A_LINE);
    const wanted = expected.subarray(at, at + BYTES_A_LINE);
    if (sameBytes(got, wanted)) continue;
    if (shown++ === MOST_LINES) return [...lines, "…"];
    const width = Math.max(got.length, wanted.length);
    const marks = Array.from({ length: width }, (_, i) => (got[i] === wanted[i] ? "  " : "^^"));
    lines.push(
      `${at.toString(16).padStart(4, "0")}  expected  ${hexLine(wanted)}`.trimEnd(),
      `           got  ${hexLine(got)}`.trimEnd(),
      `                ${marks.join(" ")}`.trimEnd(),
    );
  }
  return lines;
}

function hexLine(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}
