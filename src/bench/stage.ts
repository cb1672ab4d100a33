/**
 * Load from one host to another, whatever forwards between them: probes without load, load, probes under load.
 * Thread: the main one; senders and prober have threads of their own.
 */

import { getLinkStats, type LinkStats } from "../sys/links.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { withNetlink } from "../sys/netlink.ts";
import type { Endpoint } from "../sys/socket.ts";
import { type Load, openLoad, type Traffic } from "./load.ts";
import type { LoadState } from "./load-thread.ts";
import { headerBytes, PROBE_WORD } from "./payload.ts";
import { PHASE, ProberThread } from "./prober-thread.ts";
import { type Latency, latency } from "./results.ts";
import type { SinkKind } from "./sink.ts";
import { NoTraffic } from "./traffic.ts";

/** Code is compiled, tables fill. ms */
const WARM_UP = 500;
/** Probes without load. ms */
const IDLE = 500;
/** Between two probes, ns. */
const PROBE_PERIOD = 1e6;
/** Of a probe beside TCP, as an IP packet. */
const PROBE_BYTES = 64;

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
  /** Where UDP probes get through; undefined: nowhere. */
  probe: Endpoint | undefined;
}

export interface LoadOptions {
  traffic: Traffic;
  /** Bytes of the IP packets: of each datagram, of the longest segments of a stream. */
  size: number;
  /** Sockets that send: flows of datagrams, connections. */
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
  /** What the kernel has taken from the senders: datagrams, or bytes of streams. */
  sent: number;
  /** Bytes that have come out of streams. */
  received: number;
}

export interface LoadResult<T> {
  sink: SinkKind;
  /** At the end of the warm-up, and of the load. */
  before: StageCounts & T;
  after: StageCounts & T;
  senders: LoadState[];
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
  const { signal } = options;
  const { from, to } = stage;
  // Between the moments at which it is waited for, and when all is over, it may reject as it likes.
  ended.catch(() => {});
  const prober = await startProber(stage, options);
  let load: Load | undefined;
  const counts = (): StageCounts & T => ({
    time: performance.now(),
    near: statistics(from),
    far: statistics(to),
    sent: load!.sent(),
    received: load!.received(),
    ...count(),
  });
  try {
    load = await openLoad(stage, options);
    prober?.phase(PHASE.IDLE);
    await Promise.race([pause(IDLE, signal), ended]);
    prober?.phase(PHASE.OFF);
    load.go();
    await Promise.race([pause(WARM_UP, signal), ended]);
    prober?.phase(PHASE.LOAD);
    const before = counts();
    onLoad();
    await Promise.race([pause(options.duration, signal), ended]);
    const after = counts();
    prober?.phase(PHASE.OFF);
    await load.end();
    const phases = await prober?.end();
    const times = (phase: number) =>
      phases === undefined ? latency([], 0) : latency(phases[phase].samples, phases[phase].sent);
    const { sink } = load;
    return {
      sink,
      before,
      after,
      senders: load.senders(),
      idle: times(PHASE.IDLE),
      load: times(PHASE.LOAD),
    };
  } finally {
    await load?.end();
    await prober?.close();
  }
}

/** As long as the load's datagrams, so that it waits as they do. */
async function startProber(
  { from, to, probe }: Stage,
  { size, traffic }: LoadOptions,
): Promise<ProberThread | undefined> {
  if (probe === undefined) return undefined;
  const payloadBytes = (traffic === "udp" ? size : PROBE_BYTES) - headerBytes(probe.octets);
  if (payloadBytes < 4 * PROBE_WORD.WORDS) {
    const least = headerBytes(probe.octets) + 4 * PROBE_WORD.WORDS;
    throw new NoTraffic(`size ${size} has no room for a probe: ${least} bytes are the least here`);
  }
  const sides = { from: from.namespace, to: to.namespace };
  return ProberThread.start({ ...sides, target: probe, payloadBytes, period: PROBE_PERIOD });
}

/** What the kernel has counted of a host's interface. */
export function statistics({ namespace, device }: Side): LinkStats {
  return withNamespace(namespace, () => withNetlink((netlink) => getLinkStats(netlink, device)));
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
