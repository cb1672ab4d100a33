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
 * A list in lines of no more than `width` characters, where its parts allow it.
 * @param between stays at a line's end
 * @param indent before every line but the first
 */
export function wrapList(parts: readonly string[], width: number, between: string, indent: string): string {
  const lines: string[] = [];
  let line = "";
  for (const part of parts) {
    const longer = line === "" ? part : line + between + part;
    const room = width - (lines.length === 0 ? 0 : indent.length) - between.trimEnd().length;
    if (line !== "" && stripVTControlCharacters(longer).length > room) {
      lines.push((line + between).trimEnd());
      line = part;
    } else {
      line = longer;
    }
  }
  return [...lines, line].join(`\n${indent}`);
}

/** A borderless table: the first `left` columns to the left, numbers to the right. */
export function table(head: string[], rows: string[][], left = 1): string {
  // Loaded with the first table: until then a pipeline starts the faster without it.
  const Table = require("cli-table3") as typeof import("cli-table3");
  const view = new Table({
    // A title of nothing has no colour either: blanks before it would not be at the end of the line.
    head: head.map((text) => text && colors.bold(text)),
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

/** Room that a column of words needs beside others, in characters. */
const LEAST_WORDS = 32;

/**
 * A table whose last column is words, in lines of at most `columns` characters: that column goes on below itself, or, where
 * the others leave it no room, each row has the lines it needs.
 * @param columns Infinity: lines are as long as they are, one for each row
 */
export function wordTable(head: string[], rows: string[][], columns: number): string {
  const before = head.length - 1;
  const indent = head
    .slice(0, before)
    .reduce((sum, title, i) => sum + 2 + Math.max(title.length, ...rows.map((row) => row[i].length)), 0);
  // Two more: a table's last column has a margin, too.
  const room = columns - indent - 2;
  if (room === Infinity) return table(head, rows, head.length);
  if (room >= LEAST_WORDS) {
    return table(
      head,
      rows.map((row) => [...row.slice(0, before), wrap(row[before], room)]),
      head.length,
    );
  }
  const blocks = rows.map((row) => {
    const facts = row.slice(0, before).filter((text) => text !== "");
    return [facts.join("  "), `    ${row[before]}`]
      .filter((text) => text.trim() !== "")
      .map((text) => wrap(text, columns, "    "))
      .join("\n");
  });
  const title = head.filter((text) => text !== "").join("  ");
  return [colors.bold(wrap(title, columns, "    ")), ...blocks].join("\n");
}

/** Breaks a line between words, before it is longer than `columns`; a word that is longer stays whole. */
export function wrap(text: string, columns: number, indent = ""): string {
  if (text.length <= columns) return text;
  const lines: string[] = [];
  let line = "";
  // Spaces before a word go with it, so that those at the beginning stay.
  for (const word of text.match(/\s*\S+/g) ?? []) {
    if (line !== "" && line.length + word.length > columns) {
      lines.push(line);
      line = indent + word.trimStart();
    } else line += word;
  }
  return [...lines, line].join("\n");
}
