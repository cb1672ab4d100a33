/**
 * The pipeline and its peers in turn: A B C A B C ... Everyone is measured alike, by what the far interface has counted
 * and by the scheduler's account of its threads. Thread: the main one.
 */
import type { Pipeline } from "../config/types.ts";
import type { ThreadTimes } from "../control/threads.ts";
import { startLab } from "../lab/lab.ts";
import { type MeasureOptions, sideOf } from "./measure.ts";
import { median } from "./median.ts";
import { headerBytes } from "./payload.ts";
import { type Peer, preparePeers } from "./peers.ts";
import type { Comparison, Contender, Spread } from "./results.ts";
import type { Scene, Standing } from "./scene.ts";
import { underLoad } from "./stage.ts";
import { findWay, type Way, withQueues } from "./traffic.ts";

export interface CompareOptions extends Omit<MeasureOptions, "onLoad"> {
  /** Turns. */
  pairs: number;
  onTurn?: (turn: number, name: string) => void;
}

interface Turn {
  datagrams: number;
  gigabits: number;
  cpu: number | undefined;
  idle: number | undefined;
  load: number | undefined;
}

/** @throws as `measure` does; a peer that cannot be run is among `skipped` */
export async function compare(pipeline: Pipeline, options: CompareOptions): Promise<Comparison> {
  const queued = withQueues(pipeline, options.queues);
  const { peers, skipped, close } = preparePeers(queued, options.queues);
  try {
    const way = await probe(queued, options);
    const scene: Scene = { pipeline: queued, queues: options.queues, way };
    const self: Peer = { name: "pktflow", what: pipeline.file, start: () => startPipeline(scene, options) };
    const turns = new Map<string, Turn[]>();
    for (let turn = 0; turn < options.pairs; turn++) {
      for (const peer of [self, ...peers]) {
        if (skipped.some(({ name }) => name === peer.name)) continue;
        options.onTurn?.(turn, peer.name);
        try {
          const result = await once(peer, scene, options);
          turns.set(peer.name, [...(turns.get(peer.name) ?? []), result]);
        } catch (error) {
          options.signal.throwIfAborted();
          if (peer === self) throw error;
          skipped.push({ name: peer.name, why: (error as Error).message });
        }
      }
    }
    const own = turns.get(self.name)!;
    const ran = [self, ...peers].filter(({ name }) => turns.get(name)?.length === options.pairs);
    return {
      size: options.size,
      queues: options.queues,
      pairs: options.pairs,
      seconds: options.duration / 1000,
      contenders: ran.map((peer) => contender(peer, turns.get(peer.name)!, own)),
      skipped,
    };
  } finally {
    close();
  }
}

/** Which way the load goes is found once, with the pipeline: the peers let everything pass. */
async function probe(pipeline: Pipeline, options: CompareOptions): Promise<Way> {
  const lab = await startLab(pipeline, { io: options.io });
  try {
    return await findWay(lab, options.source, options.ports);
  } finally {
    await lab.end();
  }
}

async function startPipeline({ pipeline, way }: Scene, { io }: CompareOptions): Promise<Standing> {
  const lab = await startLab(pipeline, { io });
  const host = (id: string) => lab.hosts.find(({ device }) => device === id)!;
  return {
    stage: {
      from: sideOf(lab.pipeline, host(way.from.device)),
      to: sideOf(lab.pipeline, host(way.to.device)),
      target: way.target,
    },
    times: () =>
      lab.running.threads().reduce(
        (sum, { running, waiting }) => ({
          running: sum.running + running,
          waiting: sum.waiting + waiting,
        }),
        { running: 0, waiting: 0 },
      ),
    ended: lab.running.ended.then(() => {
      throw new Error("the pipeline has ended by itself");
    }),
    end: () => lab.end(),
  };
}

async function once(peer: Peer, scene: Scene, options: CompareOptions): Promise<Turn> {
  const standing = await peer.start(scene);
  standing.ended.catch(() => {});
  try {
    const count = (): { times: ThreadTimes | undefined } => ({ times: standing.times() });
    const { before, after, idle, load } = await underLoad(standing.stage, options, count, standing.ended);
    const seconds = (after.time - before.time) / 1000;
    const packets = after.far.rxPackets - before.far.rxPackets;
    const bytes = after.far.rxBytes - before.far.rxBytes - packets * linkBytes(peer);
    const datagrams = datagramsIn(packets, bytes, options.size, scene);
    const running = before.times && after.times && after.times.running - before.times.running;
    return {
      datagrams: datagrams / seconds,
      // What the datagrams are on the wire, whether they came one by one or as super-packets.
      gigabits: (datagrams * options.size * 8) / seconds / 1e9,
      cpu: running === undefined || datagrams === 0 ? undefined : running / datagrams,
      idle: idle.p50,
      load: load.p50,
    };
  } finally {
    await standing.end();
  }
}

/** Veth counts the Ethernet header, tun has none. */
function linkBytes({ name }: Peer): number {
  return name === "kernel" ? 14 : 0;
}

/** A super-packet has one header and the payload of all its datagrams. */
function datagramsIn(packets: number, bytes: number, size: number, { way }: Scene): number {
  const header = headerBytes(way.target.octets);
  return (bytes - header * packets) / (size - header);
}

function contender({ name, what }: Peer, turns: Turn[], own: Turn[]): Contender {
  const values = (field: keyof Turn) => turns.flatMap((turn) => turn[field] ?? []);
  const middle = (field: keyof Turn) => {
    const found = values(field);
    return found.length === 0 ? {} : { [field]: median(found) };
  };
  return {
    name,
    what,
    datagrams: spread(values("datagrams")),
    gigabits: median(values("gigabits")),
    ...(middle("cpu") as { cpu?: number }),
    ...(middle("idle") as { idle?: number }),
    ...(middle("load") as { load?: number }),
    ratio: spread(turns.map(({ datagrams }, i) => own[i].datagrams / datagrams)),
    ...cpuRatio(turns, own),
  };
}

/** Of the peer's time a datagram to the pipeline's: what the ratio of rates would be if nobody else took the processor. */
function cpuRatio(turns: Turn[], own: Turn[]): { cpuRatio?: Spread } {
  const ratios = turns.flatMap(({ cpu }, i) => {
    const mine = own[i].cpu;
    return cpu === undefined || mine === undefined ? [] : [cpu / mine];
  });
  return ratios.length === 0 ? {} : { cpuRatio: spread(ratios) };
}

function spread(values: number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}
