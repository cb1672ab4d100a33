/** The benchmark's results as people read them. */
import colors from "picocolors";
import type {
  BenchResult,
  CompareResult,
  Comparison,
  Latency,
  Machine,
  MemoryResult,
  QueueRates,
  RunResult,
} from "../bench/results.ts";
import { compact, table, whole } from "./format.ts";

const HEAD = [
  "size",
  "queues",
  "queue",
  "packets/s",
  "datagrams/s",
  "Gb/s",
  "drops/s",
  "CPU ns/packet",
  "CPU",
  "batch",
];
const LATENCY_HEAD = ["size", "queues", "latency", "p50 us", "p99 us", "p99.9 us", "probes", "lost"];

export function benchText({ pipeline, from, to, machine, runs }: BenchResult): string {
  const parts = [
    `${colors.bold(pipeline)}: ${from} -> ${to}, ${machineText(machine)}`,
    table(HEAD, runs.flatMap(rateRows), 3),
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
          (ratio === undefined ? "" : `, so one worker is ${ratio.toFixed(2)} x as fast`),
    ),
  ].join("\n\n");
}

export function machineText({ kernel, processor, processors, runtime, date }: Machine): string {
  return `${kernel}, ${processors} x ${processor}, ${runtime}, ${date}`;
}

function rateRows(run: RunResult): string[][] {
  const rows = run.queues.length > 1 ? [...run.queues, run.sum] : run.queues;
  return rows.map((queue, i) => [
    i === 0 ? String(run.size) : "",
    i === 0 ? String(run.queues.length) : "",
    ...rateCells(queue),
  ]);
}

function rateCells(queue: QueueRates): string[] {
  return [
    queue.queue,
    compact(Math.round(queue.packets)),
    compact(Math.round(queue.datagrams)),
    queue.gigabits.toFixed(3),
    compact(Math.round(queue.drops)),
    whole(queue.cpuPerPacket),
    `${(100 * queue.busy).toFixed(0)} %`,
    queue.packetsPerBatch.toFixed(1),
  ];
}

function latencyRows({ size, queues, idle, load }: RunResult): string[][] {
  const row = (name: string, { p50, p99, p999, sent, received }: Latency) => [
    name,
    ...[p50, p99, p999].map((us) => (us === undefined ? "-" : us.toFixed(1))),
    whole(sent),
    whole(sent - received),
  ];
  return [
    [String(size), String(queues.length), ...row("idle", idle)],
    ["", "", ...row("under load", load)],
  ];
}

/** What a reader must know to trust a run's figures, or not to. */
function notes(run: RunResult): string[] {
  const { size, queues, balance } = run;
  const of = `${size} bytes, ${queues.length} queue${queues.length === 1 ? "" : "s"}`;
  const found = doubts(run);
  const conditions =
    `${of}: ${run.io} engine, ${run.senders} sender${run.senders === 1 ? "" : "s"} offering ` +
    `${compact(Math.round(run.offered))} datagrams/s in ${run.flows} flows to port ${run.port}, ` +
    `${run.sink} sink, ${run.seconds.toFixed(1)} s; in ${whole(balance.in)} = out ${whole(balance.out)} + drops ` +
    whole(Object.values(balance.drops).reduce((a, b) => a + b, 0));
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
  if (overrun === 0 && sum.busy < 0.9 * run.queues.length)
    found.push("the senders were the limit, not the pipeline: nothing was refused by its queues");
  if (sum.waiting > 0.1 * run.queues.length) {
    const share = (100 * sum.waiting) / (sum.waiting + sum.busy);
    found.push(
      `the workers waited for a processor for ${share.toFixed(0)} % of the time that they could have run: ` +
        "the machine had other work, or too few processors for these queues",
    );
  }
  if (run.sendFailures > 0)
    found.push(`${whole(run.sendFailures)} sends failed, the last with ${run.sendError}`);
  return found;
}

export function compareText({ pipeline, machine, peers }: CompareResult): string {
  return [
    `${colors.bold(pipeline)} and its peers: ${machineText(machine)}`,
    ...peers.map(comparisonText),
  ].join("\n\n");
}

function comparisonText({ size, queues, pairs, seconds, contenders, skipped }: Comparison): string {
  const rows = contenders.map(({ name, what, datagrams, gigabits, cpu, idle, load, ratio, cpuRatio }, i) => [
    name,
    what,
    compact(Math.round(datagrams.median)),
    `${compact(Math.round(datagrams.min))} - ${compact(Math.round(datagrams.max))}`,
    gigabits.toFixed(3),
    cpu === undefined ? "-" : whole(cpu),
    idle?.toFixed(1) ?? "-",
    load?.toFixed(1) ?? "-",
    i === 0 ? "" : `${ratio.median.toFixed(2)} (${ratio.min.toFixed(2)} - ${ratio.max.toFixed(2)})`,
    i === 0 || cpuRatio === undefined ? "" : cpuRatio.median.toFixed(2),
  ]);
  const head = [
    ...["", "", "datagrams/s", "min - max", "Gb/s", "CPU ns/datagram", "idle p50 us", "load p50 us"],
    ...["pktflow by it", "by CPU"],
  ];
  const title =
    `${size} bytes, ${queues} queue${queues === 1 ? "" : "s"}, ` +
    `medians of ${pairs} turn${pairs === 1 ? "" : "s"} of ${seconds} s`;
  const missing = skipped.map(({ name, why }) => colors.yellow(`skipped ${name}: ${why}`));
  return [title, table(head, rows, 2), ...missing].join("\n");
}
