/**
 * The pipeline, others of its kind and its peers in turn: A B C A B C ... Everyone is measured alike, by what the far
 * host has counted and by the scheduler's account of its threads. Thread: the main one.
 */
import type { Pipeline } from "../config/types.ts";
import { type Lab, startLab } from "../lab/lab.ts";
import { parseAddress } from "../params/addresses.ts";
import { sideOf } from "./measure.ts";
import { median, spread } from "./median.ts";
import { type Peer, preparePeers, type Skipped } from "./peers.ts";
import { ping } from "./ping.ts";
import type { Comparison, Contender, Spread } from "./results.ts";
import type { Scene, Standing } from "./scene.ts";
import { findPair, findWay, NoTraffic, type Way, withQueues } from "./traffic.ts";
import { type Turn, type TurnOptions, takeTurn } from "./turn.ts";

/** Bytes of a ping, without the IP header. */
const PING_BYTES = 64;
const ETHERNET_HEADER = 14;

export interface CompareOptions extends TurnOptions {
  /** Turns. */
  pairs: number;
  /** Which peers; undefined: all there are. */
  against: readonly string[] | undefined;
  /** Threads of a C program's a queue: 2, one for each direction, or 1 for both. */
  peerThreads: 1 | 2;
  /** The same pipeline with other settings, and how these are called. */
  versus: readonly { name: string; pipeline: Pipeline }[];
  onTurn?: (turn: number, name: string) => void;
  /** What came of it: what is compared. */
  onFigure?: (name: string, figure: number) => void;
}

/** @throws as `measure` does; a peer that cannot be run is among `skipped` */
export async function compare(pipeline: Pipeline, options: CompareOptions): Promise<Comparison> {
  const { queues, traffic } = options;
  const queued = withQueues(pipeline, queues);
  const { peers, skipped, close } = preparePeers(queued, options);
  try {
    const scene: Scene = { pipeline: queued, queues, way: await probe(queued, options) };
    const self: Peer = { name: "pktflow", what: pipeline.file, start: (at) => startPipeline(at, options) };
    const others = options.versus.map(
      (other): Peer => ({
        name: other.name,
        what: "pktflow with this setting",
        start: (at) => startPipeline({ ...at, pipeline: withQueues(other.pipeline, queues) }, options),
      }),
    );
    const all = [self, ...others, ...peers];
    const turns = await inTurns(all, scene, skipped, options);
    const own = turns.get(self.name)!;
    const ran = all.filter(({ name }) => turns.get(name)?.length === options.pairs);
    return {
      traffic,
      size: traffic === "ping" ? PING_BYTES + (scene.way.target.octets.length === 4 ? 20 : 40) : options.size,
      flows: options.flows,
      queues,
      pairs: options.pairs,
      seconds: options.duration / 1000,
      contenders: ran.map((peer) => contender(peer, turns.get(peer.name)!, own)),
      skipped,
    };
  } finally {
    close();
  }
}

async function inTurns(
  peers: readonly Peer[],
  scene: Scene,
  skipped: Skipped[],
  options: CompareOptions,
): Promise<Map<string, Turn[]>> {
  const turns = new Map<string, Turn[]>();
  for (let turn = 0; turn < options.pairs; turn++) {
    for (const peer of peers) {
      if (skipped.some(({ name }) => name === peer.name)) continue;
      options.onTurn?.(turn, peer.name);
      try {
        const result = await once(peer, scene, options);
        turns.set(peer.name, [...(turns.get(peer.name) ?? []), result]);
        options.onFigure?.(peer.name, result[figureOf(result)]!);
      } catch (error) {
        options.signal.throwIfAborted();
        if (peer === peers[0]) throw error;
        skipped.push({ name: peer.name, why: (error as Error).message });
      }
    }
  }
  return turns;
}

async function once(peer: Peer, scene: Scene, options: CompareOptions): Promise<Turn> {
  const standing = await peer.start(scene);
  standing.ended.catch(() => {});
  try {
    // Veth counts the Ethernet header, tun has none.
    const linkBytes = peer.name === "kernel" ? ETHERNET_HEADER : 0;
    return await takeTurn(standing, scene, linkBytes, options);
  } finally {
    await standing.end();
  }
}

/** Which way the load goes is found once, with the pipeline: the peers let everything pass. */
async function probe(pipeline: Pipeline, options: CompareOptions): Promise<Way> {
  const lab = await startLab(pipeline, { io: options.io });
  const { source, ports, traffic, signal } = options;
  try {
    return traffic === "ping"
      ? await findPingWay(lab, source, signal)
      : await findWay(lab, source, ports, traffic);
  } finally {
    await lab.end();
  }
}

/** @throws NoTraffic: no ping is answered */
async function findPingWay(lab: Lab, source: string | undefined, signal: AbortSignal): Promise<Way> {
  const { from, to, target: address } = findPair(lab, source);
  const octets = [...parseAddress(address)!.bytes];
  const { received } = await ping(sideOf(lab.pipeline, from), octets, {
    duration: 300,
    period: 20e6,
    signal,
  });
  if (received > 0) return { from, to, target: { octets, port: 0 }, probe: undefined, address };
  throw new NoTraffic(
    `no ping from ${from.device} to ${to.device} (${address}) is answered: let them pass with --set`,
  );
}

async function startPipeline({ pipeline, way }: Scene, { io }: CompareOptions): Promise<Standing> {
  const lab = await startLab(pipeline, { io });
  const host = (id: string) => lab.hosts.find(({ device }) => device === id)!;
  return {
    stage: {
      from: sideOf(lab.pipeline, host(way.from.device)),
      to: sideOf(lab.pipeline, host(way.to.device)),
      target: way.target,
      probe: way.probe,
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

/** What is compared: the first of these that there is. */
const FIGURES = ["datagrams", "goodput", "roundTrip"] as const;

function figureOf(turn: Turn): (typeof FIGURES)[number] {
  return FIGURES.find((field) => turn[field] !== undefined)!;
}

function contender({ name, what }: Peer, turns: Turn[], own: Turn[]): Contender {
  const figure = figureOf(turns[0]);
  const spreads = { ...spreadOf("datagrams"), ...spreadOf("goodput"), ...spreadOf("roundTrip") };
  const medians = (
    ["gigabits", "cpu", "cpuPerGigabyte", "idle", "load", "roundTripP99", "roundTripBusy"] as const
  ).map((field) => {
    const found = values(field);
    return found.length === 0 ? {} : { [field]: median(found) };
  });
  return {
    name,
    what,
    ...spreads,
    ...Object.assign({}, ...medians),
    ratio: spread(turns.map((turn, i) => own[i][figure]! / turn[figure]!)),
    ...(figure === "roundTrip"
      ? { above: spread(turns.map((turn, i) => own[i].roundTrip! - turn.roundTrip!)) }
      : {}),
    ...cpuRatio(turns, own),
  };

  function values(field: keyof Turn): number[] {
    return turns.flatMap((turn) => turn[field] ?? []);
  }
  function spreadOf(field: (typeof FIGURES)[number]): { [field: string]: Spread } {
    const found = values(field);
    return found.length === 0 ? {} : { [field]: spread(found) };
  }
}

/** Of the peer's time a datagram to the pipeline's: what the ratio of rates would be if nobody else took the processor. */
function cpuRatio(turns: Turn[], own: Turn[]): { cpuRatio?: Spread } {
  const cost = ({ cpu, cpuPerGigabyte }: Turn) => cpu ?? cpuPerGigabyte;
  const ratios = turns.flatMap((turn, i) => {
    const [theirs, mine] = [cost(turn), cost(own[i])];
    return theirs === undefined || mine === undefined ? [] : [theirs / mine];
  });
  return ratios.length === 0 ? {} : { cpuRatio: spread(ratios) };
}
