/** What filters have said, from numbers in memory to text. Thread: the main one. */
import { LOG, readLog } from "../batches/log.ts";
import type { PacketMemory } from "../batches/memory.ts";
import type { Plan } from "../plan/types.ts";

export interface LogEntry {
  /** The filter's name in the pipeline. */
  filter: string;
  worker: number;
  /** ms since the epoch. */
  time: number;
  /** The message's name in filter.yaml; "lost": some found no room. */
  message: string;
  text: string;
}

/** Reads the logs of all filters of a pipeline, again and again. */
export class LogReader {
  private readonly m: PacketMemory;
  private readonly plan: Plan;
  /** By worker and filter: records that were lost when it was last said. */
  private readonly lost = new Map<string, number>();
  /** Some filter may say something. */
  readonly hasLogs: boolean;

  constructor(m: PacketMemory, plan: Plan) {
    this.m = m;
    this.plan = plan;
    this.hasLogs = plan.filters.some(({ logs }) => logs.length > 0);
  }

  /** @returns what was said since the last time, in the order of time */
  read(): LogEntry[] {
    const entries: LogEntry[] = [];
    this.plan.workers.forEach(({ instances }, worker) => {
      this.plan.filters.forEach(({ id, logs }, f) => {
        const { log } = instances[f];
        if (log === 0) return;
        const { records, lost } = readLog(this.m, log);
        for (const { time, message, a, b } of records) {
          const said = logs[message] ?? { name: String(message), text: "no such message: {a}, {b}" };
          entries.push({
            filter: id,
            worker,
            time: time / 1e6,
            message: said.name,
            text: fill(said.text, a, b),
          });
        }
        const key = `${worker} ${f}`;
        const more = lost - (this.lost.get(key) ?? 0);
        if (more === 0) return;
        this.lost.set(key, lost);
        const time = entries.at(-1)?.time ?? Date.now();
        const text = `${more} more that found no room: it says more than ${LOG.RECORDS} in a tenth of a second`;
        entries.push({ filter: id, worker, time, message: "lost", text });
      });
    });
    return entries.sort((x, y) => x.time - y.time);
  }
}

/** Puts numbers into a text: {a}, {b}, and {a:ipv4}, {a:hex}, {a:duration} (ns). */
function fill(text: string, a: bigint, b: bigint): string {
  return text.replace(
    /\{([ab])(?::(ipv4|hex|duration))?\}/g,
    (_, which: string, format: string | undefined) => {
      const value = which === "a" ? a : b;
      if (format === "ipv4") return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join(".");
      if (format === "hex") return `0x${value.toString(16)}`;
      return format === "duration" ? `${Number(value) / 1e9} s` : value.toString();
    },
  );
}
