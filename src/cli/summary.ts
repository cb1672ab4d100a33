/** The summary of a run, at its end or before: each queue, each filter, and where every packet went. */
import colors from "picocolors";
import { conservation, type Report } from "../control/report.ts";
import { balanceText } from "./balance.ts";
import { filterTables } from "./filter-tables.ts";
import { compact, gigabits, table, terminalWidth, timing, whole, wrapList } from "./format.ts";

/** @param isRunning packets are under way, and some move while the counters are read */
export function summary(report: Report, isRunning = false): string {
  const sections = [
    title(report),
    queueTable(report),
    filterTable(report),
    ...filterTables(report),
    counterLines(report),
    isRunning ? balanceSoFar(report) : balance(report),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

function title(report: Report): string {
  return (
    `${colors.bold(report.pipeline)}: ${report.seconds.toFixed(2)} s, ` +
    `${report.workers} worker${report.workers === 1 ? "" : "s"}, ${report.io} engine, ` +
    `${report.batches.packetsPerBatch.toFixed(1)} packets a batch`
  );
}

/** A row a device and queue: totals of the whole run. */
export function queueTable(report: Report): string {
  const rows: string[][] = [];
  for (const [id, device] of Object.entries(report.devices)) {
    device.queues.forEach((queue, q) => {
      const drops = Object.values(queue.drops).reduce((a, b) => a + b, 0);
      const perSecond = Math.max(queue.rx.packets, queue.tx.packets) / Math.max(report.seconds, 1e-9);
      rows.push([
        id,
        String(q),
        whole(queue.rx.packets),
        whole(queue.rx.bytes),
        whole(queue.tx.packets),
        whole(queue.tx.bytes),
        whole(drops),
        compact(Math.round(perSecond)),
        gigabits(Math.max(queue.rx.bytes, queue.tx.bytes) / Math.max(report.seconds, 1e-9)),
      ]);
    });
  }
  return table(["device", "queue", "in", "bytes", "out", "bytes", "drops", "p/s", "Gb/s"], rows);
}

function filterTable(report: Report): string {
  const rows = Object.entries(report.filters).map(([id, filter]) => {
    const named = Object.entries(filter.outputs)
      .slice(2)
      .map(([name, packets]) => `${name} ${whole(packets)}`)
      .join(", ");
    return [
      id,
      whole(filter.packets),
      whole(filter.outputs["next"]),
      whole(filter.outputs["drop"] + filter.trapped),
      timing(filter.nsPerPacket),
      named,
    ];
  });
  return rows.length === 0
    ? ""
    : table(["filter", "packets", "next", "drop", "ns/packet", "other outputs"], rows);
}

function counterLines(report: Report): string {
  const lines: string[] = [];
  for (const [id, device] of Object.entries(report.devices)) {
    const malformed: Record<string, number> = {};
    for (const queue of device.queues) {
      for (const [reason, n] of Object.entries(queue.malformed))
        malformed[reason] = (malformed[reason] ?? 0) + n;
    }
    lines.push(...countersOf(`${id} malformed`, malformed));
  }
  for (const [id, filter] of Object.entries(report.filters)) {
    lines.push(...countersOf(id, filter.counters));
    if (filter.traps > 0) {
      const lost =
        filter.trapped === 0
          ? "no packet"
          : filter.trapped === 1
            ? "1 packet"
            : `${whole(filter.trapped)} packets`;
      const times = filter.traps === 1 ? "once" : `${whole(filter.traps)} times`;
      lines.push(colors.red(`${id}: trapped ${times}, ${lost} lost; last: ${filter.lastTrap}`));
    }
  }
  if (report.replacedWorkers > 0) lines.push(colors.red(`workers replaced: ${report.replacedWorkers}`));
  return lines.join("\n");
}

function countersOf(name: string, counters: Record<string, number>): string[] {
  const parts = Object.entries(counters)
    .filter(([, value]) => value > 0)
    .map(([counter, value]) => `${counter} ${whole(value)}`);
  return parts.length === 0
    ? []
    : [`${name}: ${wrapList(parts, terminalWidth() - name.length - 2, ", ", "  ")}`];
}

function balance(report: Report): string {
  const found = conservation(report);
  const line = balanceText(found);
  return found.missing === 0 ? line : colors.red(`${line}: ${whole(found.missing)} unaccounted for`);
}

function balanceSoFar(report: Report): string {
  const found = conservation(report);
  const { missing } = found;
  if (missing === 0) return balanceText(found);
  const what = missing > 0 ? "under way" : "more came out while this was read";
  return `${balanceText(found)}, ${whole(Math.abs(missing))} ${what}`;
}
