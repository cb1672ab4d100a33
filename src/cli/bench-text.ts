/** The benchmark's results as people read them. */
import colors from "picocolors";
import type { BenchResult, Latency, Machine, MemoryResult, QueueRates, RunResult } from "../bench/results.ts";
import { balanceText } from "./balance.ts";
import { compact, table, whole } from "./format.ts";

const HEAD = [
  "size",
  "queues",
  "queue",
  "packets/s",
  "datagrams/s",
  "Gb/s",
  "queue drops/s",
  "filter drops/s",
  "read/s",
  "CPU ns/read",
  "CPU",
  "batch",
];
/** Of all queues together. */
const STREAM_HEAD = ["goodput Gb/s", "CPU ms/GB"];
const LATENCY_HEAD = ["size", "queues", "latency", "p50 us", "p99 us", "p99.9 us", "probes", "lost"];

export function benchText({ pipeline, from, to, machine, runs }: BenchResult): string {
  const parts = [
    `${colors.bold(pipeline)}: ${from} -> ${to}, ${machineText(machine)}`,
    table(runs[0].traffic === "tcp" ? [...HEAD, ...STREAM_HEAD] : HEAD, runs.flatMap(rateRows), 3),
    table(LATENCY_HEAD, runs.flatMap(latencyRows), 3),
    ...runs.flatMap(notes),
  ];
  return parts.join("\n\n");
}

/** Ratios are to the same size with the fewest workers. */
export function memoryText({ pipeline, machine, memory, peers = [] }: MemoryResult): string {
  const filters = [...new Set(memory.flatMap((run) => Object.keys(run.filters)))];
  const rows = memory.map((run) => {
    const first = memory.find(({ size }) => size === run.size)!;
    return [
      String(run.size),
      String(run.nanoseconds.length),
      (run.packets / 1e6).toFixed(2),
      `${(run.packets / first.packets).toFixed(2)} x`,
      run.nanoseconds.map((ns) => ns.toFixed(1)).join(" "),
      ...filters.map((id) => run.filters[id]?.toFixed(1) ?? "-"),
      `${(100 * run.passed).toFixed(0)} %`,
    ];
  });
  const head = [
    "size",
    "workers",
    "Mpps",
    "ratio",
    "ns/packet",
    ...filters.map((id) => `${id} ns`),
    "passed",
  ];
  const [{ flows, port }] = memory;
  return [
    `${colors.bold(pipeline)}, the chain in memory: ${flows} flows, port ${port}, ${machineText(machine)}`,
    table(head, rows, 2),
    ...peers.map(({ size, nanoseconds, ratio, skipped }) =>
      nanoseconds === undefined
        ? colors.yellow(`${size} bytes: skipped the chain in C: ${skipped}`)
        : `${size} bytes: the same work in C takes ${nanoseconds.toFixed(1)} ns a packet` +
          (ratio === undefined
            ? ""
            : `, so one worker is ${ratio.median.toFixed(2)} x as fast ` +
              `(${ratio.min.toFixed(2)} - ${ratio.max.toFixed(2)}, by turn)`),
    ),
  ].join("\n\n");
}

export function machineText({ kernel, processor, processors, runtime, date }: Machine): string {
  return `${kernel}, ${processors} x ${processor}, ${runtime}, ${date}`;
}

function rateRows(run: RunResult): string[][] {
  const rows = run.queues.length > 1 ? [...run.queues, run.sum] : run.queues;
  return rows.map((queue, i) => [
    i === 0 ? sizeText(run) : "",
    i === 0 ? String(run.queues.length) : "",
    ...rateCells(queue),
    // A row that is short of cells would get an empty line of its own.
    ...(run.goodput === undefined
      ? []
      : queue !== rows[rows.length - 1]
        ? ["", ""]
        : [run.goodput.toFixed(2), (run.cpuPerGigabyte ?? 0).toFixed(0)]),
  ]);
}

function sizeText({ traffic, size }: RunResult): string {
  return traffic === "tcp" ? "TCP" : String(size);
}

function rateCells(queue: QueueRates): string[] {
  return [
    queue.queue,
    compact(Math.round(queue.packets)),
    compact(Math.round(queue.datagrams)),
    queue.gigabits.toFixed(3),
    ...[queue.drops, queue.filterDrops, queue.read].map((rate) => compact(Math.round(rate))),
    whole(queue.cpuPerPacket),
    `${(100 * queue.busy).toFixed(0)} %`,
    queue.packetsPerBatch.toFixed(1),
  ];
}

function latencyRows(run: RunResult): string[][] {
  const row = (name: string, { p50, p99, p999, sent, received }: Latency) => [
    name,
    ...[p50, p99, p999].map((us) => (us === undefined ? "-" : us.toFixed(1))),
    whole(sent),
    whole(sent - received),
  ];
  return [
    [sizeText(run), String(run.queues.length), ...row("idle", run.idle)],
    ["", "", ...row("under load", run.load)],
  ];
}

/** What a reader must know to trust a run's figures, or not to. */
function notes(run: RunResult): string[] {
  const { size, queues, balance, traffic } = run;
  const of = `${traffic === "tcp" ? "TCP" : `${size} bytes`}, ${queues.length} queue${queues.length === 1 ? "" : "s"}`;
  const found = doubts(run);
  const load =
    run.offered === undefined
      ? `sending over ${run.flows} connection${run.flows === 1 ? "" : "s"} to port ${run.port}, `
      : `offering ${compact(Math.round(run.offered))} datagrams/s in ${run.flows} flows to port ${run.port}, `;
  const sink = run.sink === "streams" ? "" : `${run.sink} sink, `;
  const conditions =
    `${of}: ${run.io} engine, ${run.senders} sender${run.senders === 1 ? "" : "s"} ${load}` +
    `${sink}${run.seconds.toFixed(1)} s; ${balanceText(balance)}`;
  return [[conditions, ...found.map((doubt) => colors.yellow(`  ${doubt}`))].join("\n")];
}

export function doubts(run: RunResult): string[] {
  const { balance, sum, overrun } = run;
  const found: string[] = [];
  if (balance.missing !== 0) found.push(`${whole(balance.missing)} packets are unaccounted for`);
  if (balance.received !== balance.delivered) {
    found.push(
      `the far interface has counted ${whole(balance.received)} packets, the pipeline ${whole(balance.delivered)}`,
    );
  }
  // A stream is never refused: it waits.
  if (run.traffic === "udp" && overrun === 0 && sum.busy < 0.9 * run.queues.length)
    found.push("the senders were the limit, not the pipeline: nothing was refused by its queues");
  if (sum.waiting > 0.1 * run.queues.length) {
    const share = (100 * sum.waiting) / (sum.waiting + sum.busy);
    found.push(
      `the workers waited for a processor for ${share.toFixed(0)} % of the time that they could have run: ` +
        "the machine had other work, or too few processors for these queues",
    );
  }
  for (const filter of Object.keys(run.filters)) {
    const share = (balance.drops[`${filter} drop`] ?? 0) / Math.max(1, balance.in);
    if (share > 0.5) {
      const percent = `${Math.floor(100 * share)} %`;
      found.push(`filter ${filter} dropped ${percent}: this measures its rate, not the pipeline's`);
    }
  }
  if (run.sendFailures > 0)
    found.push(`${whole(run.sendFailures)} sends failed, the last with ${run.sendError}`);
  return found;
}
