/** Numbers and tables as people read them. */
import { createRequire } from "node:module";
import { stripVTControlCharacters } from "node:util";
import colors from "picocolors";

const require = createRequire(import.meta.url);

const STEPS: [number, string][] = [
  [1e9, " G"],
  [1e6, " M"],
  [1e3, " k"],
];

/** Characters in a line of a table's text, however narrow the terminal is. */
const LEAST_TEXT = 32;

/** Three digits and a decimal prefix: 1234567 -> "1.23 M". */
export function compact(value: number): string {
  for (const [size, suffix] of STEPS) {
    // From where three digits round up to the prefix: 999,500 is "1.00 M", not "1.00e+3 k".
    if (Math.abs(value) >= size * 0.9995) return (value / size).toPrecision(3) + suffix;
  }
  return Number.isInteger(value) ? String(value) : value.toPrecision(3);
}

/** "1.23 Mp/s", "123 p/s" */
export function packetRate(perSecond: number): string {
  const text = compact(Math.round(perSecond));
  return text.includes(" ") ? `${text}p/s` : `${text} p/s`;
}

/** Whole numbers with thousands separators: 1234567 -> "1,234,567". */
export function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

/** ns a packet; "-" while no batch has been timed. */
export function timing(ns: number): string {
  return ns === 0 ? "-" : ns.toFixed(1);
}

/** Bytes a second to gigabits a second: "0.123". */
export function gigabits(bytesPerSecond: number): string {
  const value = (bytesPerSecond * 8) / 1e9;
  return value >= 100 ? value.toFixed(0) : value.toFixed(3);
}

/** 2048 -> "2 KiB". */
export function binaryBytes(bytes: number): string {
  if (bytes >= 1 << 20) return `${trim(bytes / (1 << 20))} MiB`;
  if (bytes >= 1 << 10) return `${trim(bytes / (1 << 10))} KiB`;
  return `${bytes} B`;
}

function trim(value: number): string {
  return value.toFixed(1).replace(/\.0$/, "");
}

/** Of the terminal that standard output is; where it is none, lines are as long as they are. */
export function terminalWidth(): number {
  return (process.stdout.isTTY && process.stdout.columns) || Number.POSITIVE_INFINITY;
}

/**
 * A text in lines of no more than `width` characters, where its words allow it.
 * @param between what may be cut, and stays at a line's end: " ", or ", " for what belongs together
 * @param indent before every line but the first
 */
export function wrap(text: string, width: number, between = " ", indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(between)) {
    const longer = line === "" ? word : line + between + word;
    const room = width - (lines.length === 0 ? 0 : indent.length) - between.trimEnd().length;
    if (line !== "" && stripVTControlCharacters(longer).length > room) {
      lines.push((line + between).trimEnd());
      line = word;
    } else {
      line = longer;
    }
  }
  return [...lines, line].join(`\n${indent}`);
}

/** A borderless table: the last column, a text, goes over as many lines as the terminal makes of it. */
export function textTable(head: string[], rows: string[][], width = terminalWidth()): string {
  const last = head.length - 1;
  const widths = head
    .slice(0, last)
    .map((one, i) => Math.max(one.length, ...rows.map((row) => row[i].length)));
  const room = Math.max(LEAST_TEXT, width - widths.reduce((sum, one) => sum + one + 2, 0));
  return table(
    head,
    rows.map((row) => [...row.slice(0, last), wrap(row[last], room)]),
    head.length,
  );
}

/** A borderless table: the first `left` columns to the left, numbers to the right. */
export function table(head: string[], rows: string[][], left = 1): string {
  // Loaded with the first table: until then a pipeline starts the faster without it.
  const Table = require("cli-table3") as typeof import("cli-table3");
  const view = new Table({
    head: head.map((text) => colors.bold(text)),
    colAligns: head.map((_, i) => (i < left ? "left" : "right")),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2 },
    chars: {
      top: "",
      "top-mid": "",
      "top-left": "",
      "top-right": "",
      bottom: "",
      "bottom-mid": "",
      "bottom-left": "",
      "bottom-right": "",
      left: "",
      "left-mid": "",
      mid: "",
      "mid-mid": "",
      right: "",
      "right-mid": "",
      middle: "",
    },
  });
  view.push(...rows);
  return view
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}
