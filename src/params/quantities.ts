/** Numbers with and without units: how they are written in the pipeline file, and what they are in the program. */
import { type Reading, refuse } from "./refusal.ts";
import type { PortRange, Rate } from "./types.ts";

/** Inclusive bounds in the value's own unit (ns, bytes). */
export interface Bounds {
  /** See ParamSpec. */
  sets?: string;
  family?: 4 | 6;
  min?: number;
  max?: number;
}

const INTEGERS = {
  u8: [0, 0xff],
  u16: [0, 0xffff],
  u32: [0, 0xffff_ffff],
  /** Numbers are doubles here: what lies beyond 2^53 could not be told from its neighbour. */
  u64: [0, Number.MAX_SAFE_INTEGER],
  i32: [-0x8000_0000, 0x7fff_ffff],
} as const;
export type IntegerKind = keyof typeof INTEGERS;

const SIZE_UNITS: Record<string, number> = {
  "": 1,
  B: 1,
  kB: 1e3,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
};

/** Longest first: that is the order in which they may follow each other ("2h4m"). */
const DURATION_UNITS: [string, number][] = [
  ["d", 86_400e9],
  ["h", 3_600e9],
  ["m", 60e9],
  ["s", 1e9],
  ["ms", 1e6],
  ["us", 1e3],
  ["ns", 1],
];

const RATE_UNITS: Record<string, [Rate["unit"], number]> = {
  bit: ["bit", 1],
  kbit: ["bit", 1e3],
  Mbit: ["bit", 1e6],
  Gbit: ["bit", 1e9],
  Tbit: ["bit", 1e12],
  pps: ["packet", 1],
  kpps: ["packet", 1e3],
  Mpps: ["packet", 1e6],
  Gpps: ["packet", 1e9],
};

export function readInteger(kind: IntegerKind, value: unknown, bounds: Bounds): Reading<number> {
  const [least, most] = INTEGERS[kind];
  const min = Math.max(least, bounds.min ?? least);
  const max = Math.min(most, bounds.max ?? most);
  if (typeof value !== "number")
    return refuse("wrong-type", "a number", value, quotedNumber(value, min, max));
  if (!Number.isInteger(value)) return refuse("bad-value", "a whole number", value);
  if (value < min || value > max) return refuse("out-of-range", `${min} to ${max}`, value);
  return { value: value === 0 ? 0 : value };
}

/** A share may be written as a percentage: `5%` is 5 where the range is 0 to 100, and 0.05 where it is 0 to 1. */
export function readFloat(value: unknown, bounds: Bounds): Reading<number> {
  const percent = typeof value === "string" ? /^(\d+(?:\.\d+)?) ?%$/.exec(value)?.[1] : undefined;
  if (percent !== undefined && isShare(bounds)) {
    return within(bounds.max === 1 ? Number(percent) / 100 : Number(percent), bounds, value, String);
  }
  if (typeof value !== "number") return refuse("wrong-type", "a number", value, percent);
  if (!Number.isFinite(value)) return refuse("bad-value", "a finite number", value);
  return within(value, bounds, value, String);
}

/** Can a number of this range be a part of a whole? */
export function isShare(bounds: Bounds): bounds is { min: 0; max: 1 | 100 } {
  return bounds.min === 0 && (bounds.max === 1 || bounds.max === 100);
}

/** Bytes: `1500`, `64KiB`, `1MB`, `1.5GiB` (as long as that is a whole number of bytes). */
export function readSize(value: unknown, bounds: Bounds): Reading<number> {
  const wants = "a size (1500, 64KiB, 1MB)";
  if (typeof value !== "number" && typeof value !== "string") return refuse("wrong-type", wants, value);
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]*)$/.exec(String(value));
  if (!match) return refuse("bad-value", wants, value);
  const [, digits, unit] = match;
  if (!Object.hasOwn(SIZE_UNITS, unit)) {
    const meant = Object.keys(SIZE_UNITS).find((name) => isNickname(unit, name));
    return refuse("bad-value", wants, value, meant && digits + meant);
  }
  const bytes = exact(digits, SIZE_UNITS[unit]);
  if (bytes === undefined) return refuse("bad-value", "a whole number of bytes", value);
  return within(bytes, bounds, value, formatSize);
}

/** ns: `500us`, `10s`, `2h4m`, `1.5s`; only 0 needs no unit. */
export function readDuration(value: unknown, bounds: Bounds): Reading<number> {
  const wants = "a duration (500us, 10s, 2h4m)";
  if (value === 0 || value === "0") return within(0, bounds, value, formatDuration);
  if (typeof value === "number") {
    return refuse("bad-value", wants, value, value > 0 && Number.isFinite(value) ? `${value}s` : undefined);
  }
  if (typeof value !== "string") return refuse("wrong-type", wants, value);
  if (!/^(?:\d+(?:\.\d+)?[a-zµ]+)+$/.test(value)) return refuse("bad-value", wants, value);
  let total = 0;
  let longest = -1;
  for (const [, digits, word] of value.matchAll(/(\d+(?:\.\d+)?)([a-zµ]+)/g)) {
    const unit = DURATION_UNITS.findIndex(([name]) => name === word.replace("µ", "u"));
    if (unit <= longest) return refuse("bad-value", wants, value);
    longest = unit;
    const part = exact(digits, DURATION_UNITS[unit][1]);
    if (part === undefined) return refuse("bad-value", "a whole number of nanoseconds", value);
    total += part;
  }
  return within(total, bounds, value, formatDuration);
}

/** ns, for durations that stand outside of a pipeline file, such as options; undefined: not a duration. */
export function parseDuration(text: string): number | undefined {
  const reading = readDuration(text, {});
  return "value" in reading ? reading.value : undefined;
}

/** Bits or packets a second: `10Mbit`, `100kpps`. */
export function readRate(value: unknown, bounds: Bounds): Reading<Rate> {
  const wants = "a rate (10Mbit, 100kpps)";
  if (typeof value !== "string")
    return refuse(typeof value === "number" ? "bad-value" : "wrong-type", wants, value);
  const match = /^(\d+(?:\.\d+)?) ?([A-Za-z]+)$/.exec(value);
  if (!match) return refuse("bad-value", wants, value);
  const [, digits, word] = match;
  if (!Object.hasOwn(RATE_UNITS, word)) {
    const meant = Object.keys(RATE_UNITS).find((name) => name.toLowerCase() === word.toLowerCase());
    return refuse("bad-value", wants, value, meant && digits + meant);
  }
  const [unit, factor] = RATE_UNITS[word];
  const perSecond = exact(digits, factor);
  if (perSecond === undefined) return refuse("bad-value", `a whole number of ${unit}s a second`, value);
  const checked = within(perSecond, bounds, value, (number) => `${number} ${unit}s a second`);
  return "value" in checked ? { value: { value: checked.value, unit } } : checked;
}

export function readPort(value: unknown, bounds: Bounds): Reading<number> {
  const range = readPortRange(value, bounds);
  if ("value" in range && range.value.first === range.value.last) return { value: range.value.first };
  return "value" in range ? refuse("bad-value", "one port (80)", value) : range;
}

/** `80` or `8000-8999`, both ends included. */
export function readPortRange(value: unknown, bounds: Bounds): Reading<PortRange> {
  const wants = "a port (80) or a range of ports (8000-8999)";
  if (typeof value !== "number" && typeof value !== "string") return refuse("wrong-type", wants, value);
  const match = /^(\d{1,9})(?: ?- ?(\d{1,9}))?$/.exec(String(value));
  if (!match) return refuse("bad-value", wants, value);
  const first = Number(match[1]);
  const last = Number(match[2] ?? match[1]);
  const min = bounds.min ?? 0;
  const max = Math.min(0xffff, bounds.max ?? 0xffff);
  if (Math.min(first, last) < min || Math.max(first, last) > max) {
    return refuse("out-of-range", `ports ${min} to ${max}`, value);
  }
  if (first > last) return refuse("bad-value", "the lower port first", value, `${last}-${first}`);
  return { value: { first, last } };
}

/** The shortest way to write ns exactly: "1h30m". */
export function formatDuration(ns: number): string {
  let text = "";
  let rest = ns;
  for (const [name, factor] of DURATION_UNITS) {
    const count = Math.floor(rest / factor);
    if (count > 0) text += count + name;
    rest -= count * factor;
  }
  return text || "0s";
}

export function formatSize(bytes: number): string {
  for (const unit of ["TiB", "GiB", "MiB", "KiB"]) {
    if (bytes > 0 && bytes % SIZE_UNITS[unit] === 0) return bytes / SIZE_UNITS[unit] + unit;
  }
  return String(bytes);
}

function within(
  number: number,
  bounds: Bounds,
  has: unknown,
  format: (value: number) => string,
): Reading<number> {
  const min = bounds.min ?? Number.NEGATIVE_INFINITY;
  const max = bounds.max ?? Number.POSITIVE_INFINITY;
  if (number >= min && number <= max && Math.abs(number) <= Number.MAX_VALUE) {
    if (format === String || Number.isSafeInteger(number)) return { value: number };
    return refuse("out-of-range", `at most ${format(Number.MAX_SAFE_INTEGER)}`, has);
  }
  const wants =
    bounds.max === undefined
      ? `at least ${format(min)}`
      : bounds.min === undefined
        ? `at most ${format(max)}`
        : `${format(min)} to ${format(max)}`;
  return refuse("out-of-range", wants, has);
}

/** digits * factor if that is a whole number, however the digits are written: 0.1MB is exactly 100000. */
function exact(digits: string, factor: number): number | undefined {
  const [whole, fraction = ""] = digits.split(".");
  if (whole.length + fraction.length > 40) return Number.POSITIVE_INFINITY;
  const product = BigInt(whole + fraction) * BigInt(factor);
  const scale = 10n ** BigInt(fraction.length);
  return product % scale === 0n ? Number(product / scale) : undefined;
}

/** "kib" for KiB, "mb" for MB, and "k" or "M" alone, which other programs take for powers of two. */
function isNickname(word: string, unit: string): boolean {
  const letter = unit.endsWith("iB") && unit[0].toLowerCase() === word.toLowerCase();
  return letter || unit.toLowerCase() === word.toLowerCase();
}

function quotedNumber(value: unknown, min: number, max: number): string | undefined {
  if (typeof value !== "string" || !/^-?\d+$/.test(value)) return undefined;
  const number = Number(value);
  return number >= min && number <= max ? String(number) : undefined;
}
