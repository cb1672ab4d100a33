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
    await untilQuiet(lab);
    const report = lab.running.report();
    const far = statistics(stage.to);
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
      balance: {
        ...conservation(report),
        received: far.rxPackets + far.rxDropped,
        delivered: report.devices[way.to.device].queues.reduce((sum, queue) => sum + queue.tx.packets, 0),
      },
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

/** Filters may let go of what they hold for long after the load has ended; those that never do stand still. */
async function untilQuiet(lab: Lab): Promise<void> {
  const limit = performance.now() + PATIENCE;
  for (let last = ""; performance.now() < limit; ) {
    const now = JSON.stringify(conservation(lab.running.report()));
    if (now === last) return;
    last = now;
    await pause(QUIET);
  }
}
