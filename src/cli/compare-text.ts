/** The pipeline and its peers side by side, as people read it. */
import colors from "picocolors";
import type { CompareResult, Comparison, Contender, Spread } from "../bench/results.ts";
import { machineText } from "./bench-text.ts";
import { compact, table, whole } from "./format.ts";

export function compareText({ pipeline, machine, peers }: CompareResult): string {
  return [
    `${colors.bold(pipeline)}${peers.some(({ contenders }) => contenders.length > 1) ? " and its peers" : ""}: ${machineText(machine)}`,
    ...peers.map(comparisonText),
  ].join("\n\n");
}

interface Column {
  head: string;
  cell(contender: Contender, first: boolean): string;
}

const fixed = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? "-";
const rounded = (value: number | undefined) => (value === undefined ? "-" : compact(Math.round(value)));
const range = (spread: Spread | undefined, text: (value: number) => string) =>
  spread === undefined ? "-" : `${text(spread.min)} - ${text(spread.max)}`;
const withRange = (spread: Spread, digits: number) =>
  `${fixed(spread.median, digits)} (${range(spread, (value) => fixed(value, digits))})`;

const BY_IT: Column = {
  head: "pktflow by it",
  cell: ({ ratio }, first) => (first ? "" : withRange(ratio, 2)),
};
const BY_CPU: Column = {
  head: "by CPU",
  cell: ({ cpuRatio }, first) => (first || cpuRatio === undefined ? "" : cpuRatio.median.toFixed(2)),
};
const ABOVE: Column = {
  head: "pktflow above it, us",
  cell: ({ above }, first) => (first || above === undefined ? "" : withRange(above, 1)),
};
/** Say nothing where there is nobody else. */
const BESIDE = [BY_IT, BY_CPU, ABOVE];
const LATENCY: Column[] = [
  { head: "idle p50 us", cell: ({ idle }) => fixed(idle, 1) },
  { head: "load p50 us", cell: ({ load }) => fixed(load, 1) },
];

const COLUMNS: Record<Comparison["traffic"], Column[]> = {
  udp: [
    { head: "datagrams/s", cell: ({ datagrams }) => rounded(datagrams?.median) },
    { head: "min - max", cell: ({ datagrams }) => range(datagrams, rounded) },
    { head: "Gb/s", cell: ({ gigabits }) => fixed(gigabits, 3) },
    { head: "CPU ns/datagram", cell: ({ cpu }) => (cpu === undefined ? "-" : whole(cpu)) },
    ...LATENCY,
    BY_IT,
    BY_CPU,
  ],
  tcp: [
    { head: "goodput Gb/s", cell: ({ goodput }) => fixed(goodput?.median, 2) },
    { head: "min - max", cell: ({ goodput }) => range(goodput, (value) => fixed(value, 2)) },
    { head: "CPU ms/GB", cell: ({ cpuPerGigabyte }) => fixed(cpuPerGigabyte, 0) },
    ...LATENCY,
    BY_IT,
    BY_CPU,
  ],
  ping: [
    { head: "round trip p50 us", cell: ({ roundTrip }) => fixed(roundTrip?.median, 1) },
    { head: "min - max", cell: ({ roundTrip }) => range(roundTrip, (value) => fixed(value, 1)) },
    { head: "p99 us", cell: ({ roundTripP99 }) => fixed(roundTripP99, 1) },
    { head: "in a row, p50 us", cell: ({ roundTripBusy }) => fixed(roundTripBusy, 1) },
    ABOVE,
    BY_IT,
  ],
};

const LOAD: Record<Comparison["traffic"], (comparison: Comparison) => string> = {
  udp: ({ size, flows }) => `UDP, ${size} bytes, ${whole(flows)} flow${flows === 1 ? "" : "s"}`,
  tcp: ({ flows }) => `TCP, ${flows} connection${flows === 1 ? "" : "s"}`,
  ping: ({ size }) => `ping, ${size} bytes`,
};

function comparisonText(comparison: Comparison): string {
  const { traffic, queues, pairs, seconds, contenders, skipped } = comparison;
  const isAlone = contenders.length === 1;
  const columns = COLUMNS[traffic].filter((column) => !isAlone || !BESIDE.includes(column));
  const rows = contenders.map((one, i) => [
    one.name,
    one.what,
    ...columns.map(({ cell }) => cell(one, i === 0)),
  ]);
  const title =
    `${LOAD[traffic](comparison)}, ${queues} queue${queues === 1 ? "" : "s"}, ` +
    (pairs === 1 ? `one turn of ${seconds} s` : `medians of ${pairs} turns of ${seconds} s`);
  const missing = skipped.map(({ name, why }) => colors.yellow(`skipped ${name}: ${why}`));
  return [title, table(["", "", ...columns.map(({ head }) => head)], rows, 2), ...missing].join("\n");
}
