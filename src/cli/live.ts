/** What a running pipeline shows: a table that renews itself on a terminal, a line every few seconds elsewhere. */
import { stripVTControlCharacters } from "node:util";
import { conservation, type QueueReport, type Report } from "../control/report.ts";
import { filterTables } from "./filter-tables.ts";
import { compact, gigabits, packetRate, table, timing, whole } from "./format.ts";

const TABLE_PERIOD = 1000;
const LINE_PERIOD = 5000;

export interface LiveView {
  /** Stops renewing and takes the table off the screen, so that the summary can stand in its place. */
  stop(): void;
}

export function startLiveView(out: NodeJS.WriteStream, read: () => Report): LiveView {
  const display = displayOn(out);
  const show = () => display.show(read());
  show();
  const timer = setInterval(show, out.isTTY ? TABLE_PERIOD : LINE_PERIOD);
  return {
    stop() {
      clearInterval(timer);
      display.erase();
    },
  };
}

/** Where one report after another is shown, as rates since the one before. */
export interface Display {
  show(report: Report): void;
  /** Takes off the screen what can be taken off. */
  erase(): void;
}

/** A table that is drawn over itself on a terminal, elsewhere a line for each report but the first. */
export function displayOn(out: NodeJS.WriteStream): Display {
  return out.isTTY ? tableDisplay(out) : lineDisplay(out);
}

function tableDisplay(out: NodeJS.WriteStream): Display {
  let previous: Report | undefined;
  let lines = 0;
  const erase = () => {
    // To the first column too: a terminal shows ^C where the cursor was.
    if (lines > 0) out.write(`\r\x1b[${lines}A\x1b[J`);
    lines = 0;
  };
  return {
    show(report) {
      const text = rateTable(previous ?? report, report);
      previous = report;
      erase();
      const shown = fitting(text.split("\n"), out.rows || 24, out.columns || 80);
      out.write(shown.join("\n") + "\n");
      lines = shown.length;
    },
    erase,
  };
}

function lineDisplay(out: NodeJS.WriteStream): Display {
  let previous: Report | undefined;
  return {
    show(report) {
      if (previous !== undefined) out.write(rateLine(previous, report) + "\n");
      previous = report;
    },
    erase() {},
  };
}

/**
 * What of a table has room on a terminal, whose last line is the cursor's: what is higher, or wraps, cannot be erased by
 * moving up. The last line says how many more there are.
 */
export function fitting(lines: string[], rows: number, columns: number): string[] {
  const room = Math.max(1, rows - 1);
  const shown = lines.length <= room ? lines : lines.slice(0, room - 1);
  const more = lines.slice(shown.length).filter((line) => line !== "").length;
  return [...shown, ...(more > 0 ? [`… ${more} more lines`] : [])].map((line) => cut(line, columns));
}

function cut(line: string, columns: number): string {
  const bare = stripVTControlCharacters(line);
  return bare.length > columns ? `${bare.slice(0, Math.max(0, columns - 1))}…` : line;
}

function dropsOf(queue: QueueReport): number {
  return Object.values(queue.drops).reduce((a, b) => a + b, 0);
}

/** Rates between two reports, a row a device and queue. */
export function rateTable(before: Report, now: Report): string {
  const seconds = Math.max(now.seconds - before.seconds, 1e-9);
  const rows: string[][] = [];
  for (const [id, device] of Object.entries(now.devices)) {
    device.queues.forEach((queue, q) => {
      const old = before.devices[id].queues[q];
      const rate = (a: number, b: number) => compact(Math.round((a - b) / seconds));
      rows.push([
        id,
        String(q),
        rate(queue.rx.packets, old.rx.packets),
        gigabits((queue.rx.bytes - old.rx.bytes) / seconds),
        rate(queue.tx.packets, old.tx.packets),
        gigabits((queue.tx.bytes - old.tx.bytes) / seconds),
        compact(dropsOf(queue)),
      ]);
    });
  }
  const title = `${now.pipeline}  ${now.seconds.toFixed(0)} s  ${now.workers} worker${now.workers === 1 ? "" : "s"}  ${now.io}`;
  const head = ["device", "queue", "in p/s", "in Gb/s", "out p/s", "out Gb/s", "drops"];
  const filters = Object.entries(now.filters).map(([id, filter]) => [
    id,
    compact(Math.round((filter.packets - before.filters[id].packets) / seconds)),
    compact((filter.outputs["drop"] ?? 0) + filter.trapped),
    timing(filter.nsPerPacket),
  ]);
  const parts = [title, table(head, rows)];
  if (filters.length > 0) parts.push(table(["filter", "p/s", "drops", "ns/packet"], filters));
  parts.push(...filterTables(now));
  return parts.join("\n\n");
}

/** The same in one line, for logs. */
export function rateLine(before: Report, now: Report): string {
  const seconds = Math.max(now.seconds - before.seconds, 1e-9);
  const total = (report: Report, field: (queue: QueueReport) => number) =>
    Object.values(report.devices)
      .flatMap((device) => device.queues)
      .reduce((sum, queue) => sum + field(queue), 0);
  const rate = (field: (queue: QueueReport) => number) =>
    (total(now, field) - total(before, field)) / seconds;
  const drops = Object.values(conservation(now).drops).reduce((a, b) => a + b, 0);
  return (
    `${now.pipeline}: ${now.seconds.toFixed(0)} s  ` +
    `in ${packetRate(rate((q) => q.rx.packets))} ${gigabits(rate((q) => q.rx.bytes))} Gb/s  ` +
    `out ${packetRate(rate((q) => q.tx.packets))} ${gigabits(rate((q) => q.tx.bytes))} Gb/s  ` +
    `drops ${whole(drops)}`
  );
}
