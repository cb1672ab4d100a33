/** What goes from one host to the other: datagrams that are dropped as they arrive, or TCP streams. Thread: the main one. */
import { type LoadState, LoadThread } from "./load-thread.ts";
import { headerBytes } from "./payload.ts";
import { openSink, type SinkKind } from "./sink.ts";
import type { LoadOptions, Stage } from "./stage.ts";
import { openStreams } from "./streams.ts";

export type Traffic = "udp" | "tcp";

export interface Load {
  sink: SinkKind;
  go(): void;
  /** What the kernel has taken: datagrams, or bytes of streams. */
  sent(): number;
  /** Bytes that have come out of streams. */
  received(): number;
  /** Of each sending thread. */
  senders(): LoadState[];
  /** Resolves when all its threads have ended. */
  end(): Promise<void>;
}

/** @throws SystemError, Error, the signal's reason; nothing is left then */
export function openLoad(stage: Stage, options: LoadOptions): Promise<Load> {
  return options.traffic === "tcp" ? openStreamLoad(stage, options) : openDatagramLoad(stage, options);
}

async function openDatagramLoad({ from, to, target }: Stage, options: LoadOptions): Promise<Load> {
  const sink = openSink(to);
  const payloadBytes = options.size - headerBytes(target.octets);
  const tasks = shares(options.flows, options.senders).map((flows) => ({
    namespace: from.namespace,
    to: target,
    payloadBytes,
    burst: options.burst,
    flows,
  }));
  const senders = await startAll(tasks.map((task) => () => LoadThread.start("sender", task)));
  return {
    sink,
    go: () => goAll(senders),
    sent: () => total(senders),
    received: () => 0,
    senders: () => senders.map((sender) => sender.state()),
    end: () => endAll(senders),
  };
}

/** One thread receives, for it has the least to do. */
async function openStreamLoad({ from, to, target }: Stage, options: LoadOptions): Promise<Load> {
  const sides = { from: from.namespace, to: to.namespace };
  const streams = await openStreams(sides, target, options.flows, options.signal);
  try {
    let taken = 0;
    const parts = shares(options.flows, Math.min(options.senders, options.flows)).map((flows) => {
      taken += flows;
      return streams.near.slice(taken - flows, taken);
    });
    const threads = await startAll([
      () => LoadThread.start("mover", { sockets: streams.far, way: "receive" }),
      ...parts.map((sockets) => () => LoadThread.start("mover", { sockets, way: "send" })),
    ]);
    const [receiver, ...senders] = threads;
    return {
      sink: "streams",
      go: () => goAll(threads),
      sent: () => total(senders),
      received: () => total([receiver]),
      senders: () => senders.map((sender) => sender.state()),
      async end() {
        await endAll(threads);
        streams.close();
      },
    };
  } catch (error) {
    streams.close();
    throw error;
  }
}

async function startAll(starts: (() => Promise<LoadThread>)[]): Promise<LoadThread[]> {
  const threads: LoadThread[] = [];
  try {
    for (const start of starts) threads.push(await start());
  } catch (error) {
    await endAll(threads);
    throw error;
  }
  return threads;
}

function goAll(threads: LoadThread[]): void {
  for (const thread of threads) thread.go();
}

async function endAll(threads: LoadThread[]): Promise<void> {
  await Promise.all(threads.map((thread) => thread.end()));
}

function total(threads: LoadThread[]): number {
  return threads.reduce((sum, thread) => sum + thread.state().count, 0);
}

/** A whole in so many parts, none of them empty. */
function shares(whole: number, parts: number): number[] {
  const upTo = (i: number) => Math.floor((i * whole) / parts);
  return Array.from({ length: parts }, (_, i) => Math.max(1, upTo(i + 1) - upTo(i)));
}
