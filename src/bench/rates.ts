/** From two snapshots to rates, by queue and in sum. Pure. */
import type { QueueReport } from "../control/report.ts";
import type { Traffic } from "./load.ts";
import type { PipelineCounts } from "./measure.ts";
import type { QueueRates, RunResult } from "./results.ts";
import type { StageCounts } from "./stage.ts";

type Snapshot = StageCounts & PipelineCounts;

/** @param header bytes of the headers of a datagram or segment, of which a super-packet has one set for all */
export function rates(
  before: Snapshot,
  after: Snapshot,
  from: string,
  to: string,
  header: number,
  traffic: Traffic,
): Pick<RunResult, "queues" | "sum" | "seconds" | "offered" | "goodput" | "cpuPerGigabyte" | "overrun"> {
  const seconds = (after.time - before.time) / 1000;
  const queues = after.report.devices[to].queues.map((_, queue) =>
    queueRates(before, after, { from, to, queue, seconds, header }),
  );
  const total = (field: keyof Omit<QueueRates, "queue">) =>
    queues.reduce((sum, queue) => sum + queue[field], 0);
  const packets = (snapshot: Snapshot, field: keyof PipelineCounts["threads"][0]) =>
    snapshot.threads.reduce((sum, thread) => sum + thread[field], 0);
  const rise = (field: keyof PipelineCounts["threads"][0]) => packets(after, field) - packets(before, field);
  const received = after.received - before.received;
  const sum: QueueRates = {
    queue: "sum",
    inPackets: total("inPackets"),
    packets: total("packets"),
    datagrams: total("datagrams"),
    gigabits: total("gigabits"),
    drops: total("drops"),
    filterDrops: total("filterDrops"),
    read: total("read"),
    cpuPerPacket: quotient(rise("running"), rise("packets")),
    busy: total("busy"),
    waiting: total("waiting"),
    packetsPerBatch: quotient(rise("packets"), rise("batches")),
  };
  return {
    queues,
    sum,
    seconds,
    ...(traffic === "udp"
      ? { offered: (after.sent - before.sent) / seconds }
      : {
          goodput: (received * 8) / seconds / 1e9,
          cpuPerGigabyte: quotient(rise("running") * 1e3, received),
        }),
    overrun: (after.near.txDropped - before.near.txDropped) / seconds,
  };
}

interface Where {
  from: string;
  to: string;
  queue: number;
  seconds: number;
  header: number;
}

/** With as many workers as queues, worker q reads queue q of every device and writes to it. */
function queueRates(
  before: Snapshot,
  after: Snapshot,
  { from, to, queue, seconds, header }: Where,
): QueueRates {
  const rate = (device: string, field: (queue: QueueReport) => number) => {
    const of = ({ report }: Snapshot) => field(report.devices[device].queues[queue]);
    return (of(after) - of(before)) / seconds;
  };
  const [old, now] = [before.threads[queue], after.threads[queue]];
  const packets = now.packets - old.packets;
  return {
    queue: String(queue),
    inPackets: rate(from, ({ rx }) => rx.packets),
    packets: rate(to, ({ tx }) => tx.packets),
    datagrams: rate(to, ({ tx }) => tx.datagrams),
    gigabits: (rate(to, ({ tx }) => tx.bytes + (tx.datagrams - tx.packets) * header) * 8) / 1e9,
    drops: rate(to, (report) => Object.values(report.drops).reduce((sum, count) => sum + count, 0)),
    filterDrops: (now.dropped - old.dropped) / seconds,
    read: packets / seconds,
    cpuPerPacket: quotient(now.running - old.running, packets),
    busy: (now.running - old.running) / (seconds * 1e9),
    waiting: (now.waiting - old.waiting) / (seconds * 1e9),
    packetsPerBatch: quotient(packets, now.batches - old.batches),
  };
}

function quotient(a: number, b: number): number {
  return b > 0 ? a / b : 0;
}
