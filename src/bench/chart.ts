/**
 * Results as a picture: SVG without anything from outside, light and dark alike. In: panels of rows. Out: text. Pure.
 *
 *   title
 *   subtitle
 *   panel's title                          unit
 *   row's label   ████████████▌▓▓▓▓▓▓|--|  text
 *   row's label   o-----o----------o       text
 */
import type { BenchResult, CompareResult, Comparison, MemoryResult, RunResult } from "./results.ts";

interface Row {
  label: string;
  /** Lengths one behind the other, from zero. */
  bars?: number[];
  /** A line with ends, over the bars. */
  range?: [least: number, most: number];
  /** Marks on a line, ascending. */
  marks?: number[];
  text: string;
  /** Among rows that are compared: the one that the picture is about. */
  own?: boolean;
}

interface Panel {
  title: string;
  unit: string;
  logarithmic?: boolean;
  rows: Row[];
}

interface Chart {
  title: string;
  subtitle: string;
  panels: Panel[];
}

const WIDTH = 900;
const MARGIN = 24;
const LABEL = 220;
const TEXT = 190;
const ROW = 26;
const BAR = 16;
const HEAD = 70;
const PANEL_HEAD = 44;
const PANEL_FOOT = 40;
const PLOT = WIDTH - 2 * MARGIN - LABEL - TEXT;
/** Readable beside each other in grey too; repeated when there are more queues. */
const COLOURS = ["#2b6cb0", "#63a4dd", "#1a4a7f", "#9cc5ea"];
const OTHER = "#8a94a0";

export function benchChart({ pipeline, from, to, machine, runs }: BenchResult): string {
  const name = ({ traffic, size, queues: { length } }: RunResult) =>
    `${traffic === "tcp" ? "TCP" : `${size} B`}, ${length} queue${length === 1 ? "" : "s"}`;
  const latencies = runs.flatMap((run) =>
    [
      { kind: "idle", times: run.idle },
      { kind: "load", times: run.load },
    ].map(({ kind, times: { p50, p99, p999 } }): Row => {
      const label = `${name(run)}, ${kind}`;
      if (p50 === undefined || p99 === undefined || p999 === undefined)
        return { label, text: "no probe came" };
      return { label, marks: [p50, p99, p999], text: [p50, p99, p999].map(short).join(" / ") };
    }),
  );
  return svg({
    title: `${pipeline}: ${from} to ${to}`,
    subtitle: subtitle(machine),
    panels: [
      throughputPanel(runs, name),
      processorPanel(runs, name),
      { title: "Latency p50 / p99 / p99.9", unit: "us, logarithmic", logarithmic: true, rows: latencies },
    ],
  });
}

function throughputPanel(runs: RunResult[], name: (run: RunResult) => string): Panel {
  const tcp = runs[0].traffic === "tcp";
  return {
    title: "Throughput, by queue",
    unit: tcp ? "Gb/s on the wire" : "M datagrams/s",
    rows: runs.map((run) => ({
      label: name(run),
      bars: run.queues.map(({ datagrams, gigabits }) => (tcp ? gigabits : datagrams / 1e6)),
      text: `${short(run.sum.datagrams / 1e6)} M, ${run.sum.gigabits.toFixed(2)} Gb/s`,
    })),
  };
}

/** Of a super-packet as of any other; a stream is measured in gigabytes. */
function processorPanel(runs: RunResult[], name: (run: RunResult) => string): Panel {
  const tcp = runs[0].traffic === "tcp";
  return {
    title: tcp ? "Processor time a gigabyte" : "Processor time a packet",
    unit: tcp ? "ms" : "ns",
    rows: runs.map((run) => {
      const cost = run.cpuPerGigabyte ?? run.sum.cpuPerPacket;
      return { label: name(run), bars: [cost], text: `${short(cost)} ${tcp ? "ms" : "ns"}` };
    }),
  };
}

export function compareChart({ pipeline, machine, peers }: CompareResult): string {
  return svg({
    title: `${pipeline} and its peers`,
    subtitle: subtitle(machine),
    panels: peers.map(({ traffic, size, queues, pairs, contenders }) => {
      const load = { udp: `UDP, ${size} B`, tcp: "TCP", ping: "round trip" }[traffic];
      const [unit, per, symbol] = UNITS[traffic];
      return {
        title: `${load}, ${queues} queue${queues === 1 ? "" : "s"}, median and range of ${pairs} turn${pairs === 1 ? "" : "s"}`,
        unit,
        rows: contenders.map(({ name, datagrams, goodput, roundTrip, ratio, above }, i) => {
          const by = above === undefined ? `${ratio.median.toFixed(2)} x` : `+ ${above.median.toFixed(1)} us`;
          const beside = `, pktflow ${by.replace("+ -", "- ")}`;
          const { median, min, max } = (datagrams ?? goodput ?? roundTrip)!;
          return {
            label: name,
            bars: [median / per],
            range: [min / per, max / per] as [number, number],
            text: `${short(median / per)} ${symbol}${i === 0 ? "" : beside}`,
            own: i === 0,
          };
        }),
      };
    }),
  });
}

/** Unit of the axis, what one of it is, and its short name. */
const UNITS: Record<Comparison["traffic"], [unit: string, per: number, short: string]> = {
  udp: ["M datagrams/s", 1e6, "M"],
  tcp: ["Gb/s received", 1, "Gb/s"],
  ping: ["us, p50: less is better", 1, "us"],
};

export function memoryChart({ pipeline, machine, memory }: MemoryResult): string {
  return svg({
    title: `${pipeline}: the chain in memory`,
    subtitle: subtitle(machine),
    panels: [
      {
        title: "Throughput, by worker",
        unit: "M packets/s",
        rows: memory.map(({ size, nanoseconds, packets }) => ({
          label: `${size} B, ${nanoseconds.length} worker${nanoseconds.length === 1 ? "" : "s"}`,
          bars: nanoseconds.map((ns) => 1e3 / ns),
          text: `${short(packets / 1e6)} M`,
        })),
      },
    ],
  });
}

function subtitle({ kernel, processor, processors, runtime, date }: BenchResult["machine"]): string {
  return `${kernel}, ${processors} x ${processor}, ${runtime}, ${date}`;
}

/** Three digits at most, without an exponent. */
function short(value: number): string {
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value
    .toFixed(Math.min(digits, 6))
    .replace(/(\.\d*?)0+$/, "$1")
    .replace(/\.$/, "");
}

function svg({ title, subtitle: under, panels }: Chart): string {
  let y = HEAD;
  const parts = panels.map((panel) => {
    const text = drawPanel(panel, y);
    y += PANEL_HEAD + panel.rows.length * ROW + PANEL_FOOT;
    return text;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${y}" width="${WIDTH}" height="${y}" ` +
      'font-family="system-ui, sans-serif" font-size="13">',
    "<style>.b{fill:#fff}.t{fill:#1f2933}.s{fill:#66717d}.g{stroke:#dfe4ea}.l{stroke:#1f2933}" +
      "@media (prefers-color-scheme:dark){.b{fill:#14181d}.t{fill:#e6eaee}.s{fill:#98a3ae}.g{stroke:#333b44}.l{stroke:#e6eaee}}" +
      "</style>",
    `<rect class="b" width="${WIDTH}" height="${y}"/>`,
    label(MARGIN, 34, title, { size: 20, weight: 600 }),
    label(MARGIN, 54, under, { css: "s" }),
    ...parts,
    "</svg>",
    "",
  ].join("\n");
}

function drawPanel({ title, unit, logarithmic, rows }: Panel, top: number): string {
  const left = MARGIN + LABEL;
  const values = rows.flatMap(({ bars = [], range = [], marks = [] }) => [
    bars.reduce((sum, bar) => sum + bar, 0),
    ...range,
    ...marks,
  ]);
  const ticks = logarithmic === true ? decades(values) : steps(Math.max(...values, 0));
  const [least, most] = [ticks[0], ticks[ticks.length - 1]];
  const x = (value: number) => {
    const share =
      logarithmic === true
        ? Math.log(Math.max(value, least) / least) / Math.log(most / least)
        : (value - least) / (most - least);
    return round(left + share * PLOT);
  };
  const bottom = top + PANEL_HEAD + rows.length * ROW;
  return [
    label(MARGIN, top + 24, title, { weight: 600 }),
    label(left + PLOT, top + 24, unit, { css: "s", anchor: "end" }),
    ...ticks.flatMap((tick) => [
      `<line class="g" x1="${x(tick)}" x2="${x(tick)}" y1="${top + PANEL_HEAD - 8}" y2="${bottom}"/>`,
      label(x(tick), bottom + 16, short(tick), { css: "s", anchor: "middle", size: 11 }),
    ]),
    ...rows.flatMap((row, i) => drawRow(row, top + PANEL_HEAD + i * ROW, x)),
  ].join("\n");
}

function drawRow(
  { label: name, bars = [], range, marks, text, own }: Row,
  top: number,
  x: (v: number) => number,
) {
  const middle = top + BAR / 2;
  const parts = [label(MARGIN + LABEL - 10, middle + 4, name, { anchor: "end" })];
  let at = 0;
  bars.forEach((bar, i) => {
    const fill = own === false ? OTHER : COLOURS[i % COLOURS.length];
    const width = round(Math.max(0, x(at + bar) - x(at) - (i < bars.length - 1 ? 1 : 0)));
    parts.push(`<rect x="${x(at)}" y="${top}" width="${width}" height="${BAR}" fill="${fill}"/>`);
    at += bar;
  });
  if (range !== undefined) {
    const [from, to] = range.map(x);
    parts.push(
      `<path class="l" fill="none" d="M${from} ${middle - 4}v8M${from} ${middle}H${to}M${to} ${middle - 4}v8"/>`,
    );
  }
  if (marks !== undefined) {
    parts.push(
      `<line stroke="${OTHER}" stroke-width="2" x1="${x(marks[0])}" x2="${x(marks[marks.length - 1])}" y1="${middle}" y2="${middle}"/>`,
      ...marks.map(
        (mark, i) =>
          `<circle cx="${x(mark)}" cy="${middle}" r="5" fill="${COLOURS[(i + 1) % COLOURS.length]}"/>`,
      ),
    );
  }
  parts.push(label(MARGIN + LABEL + PLOT + 14, middle + 4, text, { size: 12 }));
  return parts;
}

/** Round numbers from zero to at least `most`: 4 to 8 of them. */
function steps(most: number): number[] {
  if (most <= 0) return [0, 1];
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, i) => i * step);
}

/** Powers of ten around all values. */
function decades(values: number[]): number[] {
  const positive = values.filter((value) => value > 0);
  if (positive.length === 0) return [1, 10];
  const first = Math.floor(Math.log10(Math.min(...positive)));
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(...positive))));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}

interface LabelStyle {
  css?: "t" | "s";
  anchor?: "start" | "middle" | "end";
  size?: number;
  weight?: number;
}

function label(
  x: number,
  y: number,
  text: string,
  { css = "t", anchor, size, weight }: LabelStyle = {},
): string {
  const attributes = [
    `class="${css}" x="${x}" y="${y}"`,
    ...(anchor === undefined ? [] : [`text-anchor="${anchor}"`]),
    ...(size === undefined ? [] : [`font-size="${size}"`]),
    ...(weight === undefined ? [] : [`font-weight="${weight}"`]),
  ];
  return `<text ${attributes.join(" ")}>${escaped(text)}</text>`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
