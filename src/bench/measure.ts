/** A pipeline measured once, in a lab of its own, and what all its counters say of it. Thread: the main one. */
import type { Pipeline } from "../config/types.ts";
import { conservation, type Report } from "../control/report.ts";
import type { ThreadReport } from "../control/threads.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import type { Host } from "../lab/topology.ts";
import { errnoName } from "../sys/errno.ts";
import { rates } from "./rates.ts";
import type { RunResult } from "./results.ts";
import { type LoadOptions, pause, type Side, type Stage, statistics, underLoad } from "./stage.ts";
import { findWay, type Way, withQueues } from "./traffic.ts";

/** The pipeline is drained when its counters have stood still for so long. ms */
const QUIET = 50;
/** And is no longer waited for after this time. ms */
const PATIENCE = 2000;
/** Readings of counters that disagree. */
const TRIES = 20;

const ETHERNET_HEADER = 14;
const UDP_HEADER = 8;
/** With timestamps (RFC 7323), as Linux has them. */
const TCP_HEADER = 32;

export interface MeasureOptions extends LoadOptions {
  queues: number;
  io: "auto" | "uring" | "poll";
  /** Ports to try, in this order. */
  ports: readonly number[];
  /** Device that the load comes from; undefined: the first that has a way. */
  source: string | undefined;
  /** Is called when the load runs. */
  onLoad?: (report: () => Report) => void;
}

export interface PipelineCounts {
  report: Report;
  threads: ThreadReport[];
}

/** @throws NoTraffic, SystemError, the signal's reason, or what ended the pipeline; nothing is left then */
export async function measure(
  pipeline: Pipeline,
  options: MeasureOptions,
): Promise<{ way: Way; result: RunResult }> {
  const lab = await startLab(withQueues(pipeline, options.queues), { io: options.io });
  try {
    const way = await findWay(lab, options.source, options.ports, options.traffic);
    const stage: Stage = { ...way, from: sideOf(lab.pipeline, way.from), to: sideOf(lab.pipeline, way.to) };
    const count = (): PipelineCounts => ({ report: lab.running.report(), threads: lab.running.threads() });
    const loaded = await underLoad(stage, options, count, ended(lab), () =>
      options.onLoad?.(() => lab.running.report()),
    );
    const { report, received, delivered } = await settled(lab, stage.to, way.to.device);
    const failed = loaded.senders.find(({ failures }) => failures > 0);
    const { traffic } = options;
    const ip = way.target.octets.length === 4 ? 20 : 40;
    const header =
      ip + (traffic === "tcp" ? TCP_HEADER : UDP_HEADER) + (way.to.layer === 2 ? ETHERNET_HEADER : 0);
    const result: RunResult = {
      traffic,
      size: options.size,
      ...rates(loaded.before, loaded.after, way.from.device, way.to.device, header, traffic),
      io: report.io,
      senders: loaded.senders.length,
      flows: options.flows,
      sink: loaded.sink,
      port: way.target.port,
      sendFailures: loaded.senders.reduce((sum, { failures }) => sum + failures, 0),
      ...(failed === undefined ? {} : { sendError: errnoName(failed.errno) }),
      idle: loaded.idle,
      load: loaded.load,
      filters: Object.fromEntries(
        Object.entries(report.filters).map(([id, { nsPerPacket }]) => [id, nsPerPacket]),
      ),
      balance: { ...conservation(report), received, delivered },
    };
    return { way, result };
  } finally {
    await lab.end();
  }
}

/** Where a host meets the pipeline. */
export function sideOf(pipeline: Pipeline, host: Host): Side {
  const { params } = pipeline.devices.find(({ id }) => id === host.device)!;
  return { namespace: host.namespace, device: (params["name"] as string | undefined) ?? host.device };
}

/** What ended the pipeline, if anything does. */
async function ended(lab: Lab): Promise<never> {
  await lab.running.ended;
  throw new Error("the pipeline has ended by itself: there is nothing more to measure");
}

/**
 * The report of a pipeline that has drained, and what its far interface, on the other side of the device,
 * has counted. Filters may let go of what they
 * hold for long after the load has ended; those that never do stand still. Counters that are read while a packet moves
 * disagree by it: they are read again, and only what is amiss for good remains.
 */
async function settled(
  lab: Lab,
  far: Side,
  device: string,
): Promise<{ report: Report; received: number; delivered: number }> {
  const limit = performance.now() + PATIENCE;
  for (let last = ""; performance.now() < limit; ) {
    const now = JSON.stringify(conservation(lab.running.report()));
    if (now === last) break;
    last = now;
    await pause(QUIET);
  }
  for (let tries = 1; ; tries++) {
    const report = lab.running.report();
    const { rxPackets, rxDropped } = statistics(far);
    const received = rxPackets + rxDropped;
    const { queues } = report.devices[device];
    const delivered = queues.reduce((sum, queue) => sum + queue.tx.packets, 0);
    const agrees = conservation(report).missing === 0 && received === delivered;
    if (agrees || tries === TRIES) return { report, received, delivered };
    await pause(tries);
  }
}
