/**
 * Load from one host to another, whatever forwards between them: probes without load, load, probes under load.
 * Thread: the main one; senders and prober have threads of their own.
 */
import type { Endpoint } from "../sys/datagrams.ts";
import { getLinkStats, type LinkStats } from "../sys/links.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { withNetlink } from "../sys/netlink.ts";
import { headerBytes, PROBE_WORD } from "./payload.ts";
import { PHASE, ProberThread } from "./prober-thread.ts";
import { type Latency, latency } from "./results.ts";
import { type SenderState, SenderThread } from "./sender-thread.ts";
import { openSink, type SinkKind } from "./sink.ts";
import { NoTraffic } from "./traffic.ts";

/** Code is compiled, tables fill. ms */
const WARM_UP = 500;
/** Probes without load. ms */
const IDLE = 500;
/** Between two probes, ns. */
const PROBE_PERIOD = 1e6;

/** Where a host meets what forwards. */
export interface Side {
  /** Descriptor of the host's network namespace. */
  namespace: number;
  /** Name of its interface. */
  device: string;
}

export interface Stage {
  from: Side;
  to: Side;
  target: Endpoint;
}

export interface LoadOptions {
  /** Bytes of the IP packets. */
  size: number;
  flows: number;
  /** Datagrams of a flow in a row. */
  burst: number;
  senders: number;
  /** Of the load after the warm-up, ms. */
  duration: number;
  signal: AbortSignal;
}

/** What everybody can count, at one moment. */
export interface StageCounts {
  /** ms */
  time: number;
  near: LinkStats;
  far: LinkStats;
  /** Datagrams that the senders have handed to the kernel. */
  sent: number;
}

export interface LoadResult<T> {
  sink: SinkKind;
  /** At the end of the warm-up, and of the load. */
  before: StageCounts & T;
  after: StageCounts & T;
  senders: SenderState[];
  idle: Latency;
  load: Latency;
}

/**
 * @param count what the caller counts beside, at the same moments
 * @param ended rejects when what forwards has ended by itself
 * @param onLoad is called when the load runs and the warm-up is over
 * @throws NoTraffic, SystemError, the signal's reason, what `ended` rejects with; all threads have ended then
 */
export async function underLoad<T extends object>(
  stage: Stage,
  options: LoadOptions,
  count: () => T,
  ended: Promise<never>,
  onLoad: () => void = () => {},
): Promise<LoadResult<T>> {
  const { size, signal } = options;
  const { from, to, target } = stage;
  // Between the moments at which it is waited for, and when all is over, it may reject as it likes.
  ended.catch(() => {});
  const payloadBytes = size - headerBytes(target.octets);
  if (payloadBytes < 4 * PROBE_WORD.WORDS) {
    const least = size - payloadBytes + 4 * PROBE_WORD.WORDS;
    throw new NoTraffic(`size ${size} has no room for a probe: ${least} bytes are the least here`);
  }
  const sink = openSink(to);
  const senders: SenderThread[] = [];
  const sides = { from: from.namespace, to: to.namespace };
  const prober = await ProberThread.start({ ...sides, target, payloadBytes, period: PROBE_PERIOD });
  const counts = (): StageCounts & T => ({
    time: performance.now(),
    near: statistics(from),
    far: statistics(to),
    sent: senders.reduce((sum, sender) => sum + sender.state().sent, 0),
    ...count(),
  });
  try {
    for (let i = 0; i < options.senders; i++) {
      const task = { namespace: from.namespace, to: target, payloadBytes, burst: options.burst };
      senders.push(await SenderThread.start({ ...task, flows: share(options.flows, options.senders, i) }));
    }
    prober.phase(PHASE.IDLE);
    await Promise.race([pause(IDLE, signal), ended]);
    prober.phase(PHASE.OFF);
    for (const sender of senders) sender.go();
    await Promise.race([pause(WARM_UP, signal), ended]);
    prober.phase(PHASE.LOAD);
    const before = counts();
    onLoad();
    await Promise.race([pause(options.duration, signal), ended]);
    const after = counts();
    prober.phase(PHASE.OFF);
    for (const sender of senders) await sender.end();
    const phases = await prober.end();
    const times = (phase: number) => latency(phases[phase].samples, phases[phase].sent);
    return {
      sink,
      before,
      after,
      senders: senders.map((sender) => sender.state()),
      idle: times(PHASE.IDLE),
      load: times(PHASE.LOAD),
    };
  } finally {
    await Promise.all(senders.map((sender) => sender.end()));
    await prober.close();
  }
}

/** What the kernel has counted of a host's interface. */
export function statistics({ namespace, device }: Side): LinkStats {
  return withNamespace(namespace, () => withNetlink((netlink) => getLinkStats(netlink, device)));
}

/** The i-th of `parts` parts of a whole. */
function share(whole: number, parts: number, i: number): number {
  return Math.max(1, Math.floor(((i + 1) * whole) / parts) - Math.floor((i * whole) / parts));
}

/** @throws the signal's reason */
export async function pause(ms: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
  signal?.throwIfAborted();
}
