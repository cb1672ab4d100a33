/** Sources and sinks that are no kernel queues, opened on the worker's thread from what open.ts prepared. */
import type { SoftSink, SoftSource } from "../io/types.ts";
import { openDiscardSink } from "./discard/sink.ts";
import { type GeneratorSourceOptions, openGeneratorSource } from "./generator/source.ts";
import { openMemorySink, openMemorySource } from "./memory/queue.ts";
import {
  breakPcapLock,
  isWithinRecord,
  openPcapSink,
  type PcapSinkOptions,
  pcapRecordsWaiting,
} from "./pcap/sink.ts";
import { abandonPcapSource, openPcapSource, type PcapSourceOptions } from "./pcap/source.ts";
import type { Measure, SoftPort } from "./port.ts";

/** Plain data for a device's source and sink, of the kind's own making; undefined: it has none. */
export interface SoftOptions {
  source?: unknown;
  sink?: unknown;
}

export function openSoftSource(kind: string, port: SoftPort, options: SoftOptions): SoftSource {
  if (kind === "pcap") return openPcapSource(port, options.source as PcapSourceOptions);
  if (kind === "generator") return openGeneratorSource(port, options.source as GeneratorSourceOptions);
  if (kind === "memory") return openMemorySource(port);
  throw new Error(`device kind "${kind}" has no source`);
}

export function openSoftSink(kind: string, port: SoftPort, options: SoftOptions, measure: Measure): SoftSink {
  if (kind === "pcap") return openPcapSink(port, options.sink as PcapSinkOptions);
  if (kind === "discard") return openDiscardSink(port, measure);
  if (kind === "memory") return openMemorySink(port);
  throw new Error(`device kind "${kind}" has no sink`);
}

type Remains = Pick<SoftPort, "m" | "lock" | "buffer">;

/** Packets that wait in a port's buffer of a worker that has ended, for the next one to send. */
export function waitingInSoftPort(kind: string, port: Remains, options: SoftOptions): number {
  return kind === "pcap" && options.sink !== undefined ? pcapRecordsWaiting(port) : 0;
}

/**
 * Closes what the source of a worker that has ended had open.
 * @returns why no other worker can go on with the port; undefined: one can
 */
export function leaveSoftSource(kind: string, port: Remains, options: SoftOptions): string | undefined {
  if (kind !== "pcap" || options.source === undefined) return undefined;
  const goesOn = abandonPcapSource(port, options.source as PcapSourceOptions);
  return goesOn ? undefined : "what it had read of a pipe is gone with it";
}

/** What a port of a worker that died may hold against the others, let go. Any thread, after that worker has ended. */
export function abandonSoftPort(kind: string, port: Remains): void {
  if (kind === "pcap") breakPcapLock(port);
}

/** Does whoever comes next on the port have to go on with what the one before has begun, and holds the device for? */
export function hasBegun(kind: string, port: Remains, options: SoftOptions): boolean {
  return kind === "pcap" && options.sink !== undefined && isWithinRecord(port);
}
