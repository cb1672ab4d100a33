/** Sources and sinks that are no kernel queues, opened on the worker's thread from what open.ts prepared. */
import type { SoftSink, SoftSource } from "../io/types.ts";
import { openDiscardSink } from "./discard/sink.ts";
import { type GeneratorSourceOptions, openGeneratorSource } from "./generator/source.ts";
import { openMemorySink, openMemorySource } from "./memory/queue.ts";
import { breakPcapLock, openPcapSink, type PcapSinkOptions } from "./pcap/sink.ts";
import { openPcapSource, type PcapSourceOptions } from "./pcap/source.ts";
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

/** What a port of a worker that died may hold against the others, let go. Any thread, after that worker has ended. */
export function abandonSoftPort(kind: string, port: Pick<SoftPort, "m" | "lock" | "buffer">): void {
  if (kind === "pcap") breakPcapLock(port);
}
