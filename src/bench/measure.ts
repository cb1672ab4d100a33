/**
 * One measurement: a lab of its own, probes without load, load, probes under load, and the difference of all counters
 * between the end of the warm-up and the end of the load. Thread: the main one.
 */
import type { Pipeline } from "../config/types.ts";
import { conservation, type Report } from "../control/report.ts";
import type { ThreadReport } from "../control/threads.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { Host } from "../lab/topology.ts";
import { errnoName } from "../sys/errno.ts";
import { getLinkStats, type LinkStats } from "../sys/links.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { withNetlink } from "../sys/netlink.ts";
import { headerBytes, PROBE_WORD } from "./payload.ts";
import { PHASE, ProberThread } from "./prober-thread.ts";
import { rates } from "./rates.ts";
import { latency, type RunResult } from "./results.ts";
import { SenderThread } from "./sender-thread.ts";
import { openSink } from "./sink.ts";
import { findWay, NoTraffic, type Way, withQueues } from "./traffic.ts";

/** Code is compiled, tables fill. ms */
const WARM_UP = 500;
/** Probes without load. ms */
const IDLE = 500;
/** Between two probes, ns. */
const PROBE_PERIOD = 1e6;
/** The pipeline is drained when its counters have stood still for so long. ms */
const QUIET = 50;

export interface MeasureOptions {
  /** Bytes of the IP packets. */
  size: number;
  queues: number;
  flows: number;
  /** Datagrams of a flow in a row. */
  burst: number;
  senders: number;
  /** Of the load after the warm-up, ms. */
  duration: number;
  io: "auto" | "uring" | "poll";
  ports: readonly number[];
  /** Device that the load comes from; undefined: the first that has a way. */
  source: string | undefined;
  signal: AbortSignal;
  /** Is called when the load runs. */
  onLoad?: (view: LoadView) => void;
}

/** What runs at the moment, for a live view. */
export interface LoadView {
  way: Way;
  report(): Report;
}

/** Everything that is counted, at one moment. */
export interface Snapshot {
  /** ms */
  time: number;
  report: Report;
  threads: ThreadReport[];
  near: LinkStats;
  far: LinkStats;
  sent: number;
}

/** @throws NoTraffic, SystemError, the signal's reason, or what ended the pipeline; nothing is left then */
export async function measure(
  pipeline: Pipeline,
  options: MeasureOptions,
): Promise<{ way: Way; result: RunResult }> {
  const lab = await startLab(withQueues(pipeline, options.queues), { io: options.io });
  const senders: SenderThread[] = [];
  let prober: ProberThread | undefined;
  try {
    const way = await findWay(lab, options.source, options.ports);
    const payloadBytes = options.size - headerBytes(way.target.octets);
    if (payloadBytes < 4 * PROBE_WORD.WORDS) {
      const least = options.size - payloadBytes + 4 * PROBE_WORD.WORDS;
      throw new NoTraffic(`size ${options.size} has no room for a probe: ${least} bytes are the least here`);
    }
    const sink = openSink(way.to, interfaceOf(lab, way.to));
    prober = await ProberThread.start({
      from: way.from.namespace,
      to: way.to.namespace,
      target: way.target,
      payloadBytes,
      period: PROBE_PERIOD,
    });
    for (let i = 0; i < options.senders; i++) {
      const flows = share(options.flows, options.senders, i);
      const { burst } = options;
      const { namespace } = way.from;
      senders.push(await SenderThread.start({ namespace, to: way.target, flows, payloadBytes, burst }));
    }

    prober.phase(PHASE.IDLE);
    await pause(IDLE, options.signal);
    prober.phase(PHASE.OFF);
    for (const sender of senders) sender.go();
    await pause(WARM_UP, options.signal);
    prober.phase(PHASE.LOAD);
    const before = snapshot(lab, way, senders);
    options.onLoad?.({ way, report: () => lab.running.report() });
    await Promise.race([pause(options.duration, options.signal), failure(lab)]);
    const after = snapshot(lab, way, senders);
    prober.phase(PHASE.OFF);

    for (const sender of senders) await sender.end();
    const phases = await prober.end();
    await untilQuiet(lab);
    const last = snapshot(lab, way, senders);
    const { from, to } = way;
    const states = senders.map((sender) => sender.state());
    const failed = states.find(({ failures }) => failures > 0);
    const { drops, missing, in: received, out } = conservation(last.report);
    const result: RunResult = {
      size: options.size,
      ...rates(before, after, from.device, to.device),
      io: last.report.io,
      senders: senders.length,
      flows: options.flows,
      sink,
      port: way.target.port,
      sendFailures: states.reduce((sum, { failures }) => sum + failures, 0),
      ...(failed === undefined ? {} : { sendError: errnoName(failed.errno) }),
      idle: latency(phases[PHASE.IDLE].samples, phases[PHASE.IDLE].sent),
      load: latency(phases[PHASE.LOAD].samples, phases[PHASE.LOAD].sent),
      filters: Object.fromEntries(
        Object.entries(last.report.filters).map(([id, { nsPerPacket }]) => [id, nsPerPacket]),
      ),
      balance: {
        in: received,
        out,
        drops,
        missing,
        received: last.far.rxPackets + last.far.rxDropped,
        delivered: last.report.devices[to.device].queues.reduce((sum, queue) => sum + queue.tx.packets, 0),
      },
    };
    return { way, result };
  } finally {
    await Promise.all(senders.map((sender) => sender.end()));
    await prober?.close();
    await lab.end();
  }
}

/** What ended the pipeline, if anything does. */
async function failure(lab: Lab): Promise<never> {
  await lab.running.ended;
  throw new Error("the pipeline has ended by itself: there is nothing more to measure");
}

function snapshot(lab: Lab, way: Way, senders: SenderThread[]): Snapshot {
  return {
    time: performance.now(),
    report: lab.running.report(),
    threads: lab.running.threads(),
    near: statistics(lab, way.from),
    far: statistics(lab, way.to),
    sent: senders.reduce((sum, sender) => sum + sender.state().sent, 0),
  };
}

function statistics(lab: Lab, host: Host): LinkStats {
  const name = interfaceOf(lab, host);
  return withNamespace(host.namespace, () => withNetlink((netlink) => getLinkStats(netlink, name)));
}

/** Name of the interface through which a host reaches the pipeline. */
function interfaceOf(lab: Lab, host: Host): string {
  const device = lab.pipeline.devices.find(({ id }) => id === host.device)!;
  return (device.params["name"] as string | undefined) ?? device.id;
}

async function untilQuiet(lab: Lab): Promise<void> {
  for (let last = -1; ; ) {
    const { in: received } = conservation(lab.running.report());
    if (received === last) return;
    last = received;
    await pause(QUIET);
  }
}

/** The i-th of `parts` parts of a whole. */
function share(whole: number, parts: number, i: number): number {
  return Math.max(1, Math.floor(((i + 1) * whole) / parts) - Math.floor((i * whole) / parts));
}

/** @throws the signal's reason */
async function pause(ms: number, signal?: AbortSignal): Promise<void> {
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
