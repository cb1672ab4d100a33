/** One turn of a comparison: somebody stands between the hosts, and is measured. Thread: the main one. */
import type { ThreadTimes } from "../control/threads.ts";
import type { MeasureOptions } from "./measure.ts";
import { headerBytes } from "./payload.ts";
import { ping } from "./ping.ts";
import type { Scene, Standing } from "./scene.ts";
import { underLoad } from "./stage.ts";

/** Between two pings, ns: whoever forwards them has gone to sleep by then. */
const PING_PERIOD = 1e6;
const PING_WARM_UP = 300;
/** How long the first answer may take at most, ms. */
const FIRST_ANSWER = 4000;

export interface TurnOptions extends Omit<MeasureOptions, "onLoad" | "traffic"> {
  traffic: "udp" | "tcp" | "ping";
}

/** Rates a second, latencies us; what a kind of traffic does not have is not there. */
export interface Turn {
  /** UDP: as counted by the far interface, and what they are on the wire, Gb/s; ns of the forwarder's threads each. */
  datagrams?: number;
  gigabits?: number;
  cpu?: number;
  /** TCP: Gb/s of what the receivers have read; ms of the forwarder's threads a gigabyte of it. */
  goodput?: number;
  cpuPerGigabyte?: number;
  /** One way, p50, of probes without load and under it. */
  idle?: number;
  load?: number;
  /** Ping: p50 and p99 of a request each ms; p50 of requests that follow each other at once. */
  roundTrip?: number;
  roundTripP99?: number;
  roundTripBusy?: number;
}

/** @param linkBytes of a packet that the far interface counts beside IP's */
export function takeTurn(
  standing: Standing,
  scene: Scene,
  linkBytes: number,
  options: TurnOptions,
): Promise<Turn> {
  const { traffic } = options;
  if (traffic === "ping") return pings(standing, options);
  return loaded(standing, scene, linkBytes, { ...options, traffic });
}

async function loaded(
  standing: Standing,
  { way }: Scene,
  linkBytes: number,
  options: Omit<MeasureOptions, "onLoad">,
): Promise<Turn> {
  const count = (): { times: ThreadTimes | undefined } => ({ times: standing.times() });
  const { before, after, idle, load } = await underLoad(standing.stage, options, count, standing.ended);
  const seconds = (after.time - before.time) / 1000;
  const running = before.times && after.times && after.times.running - before.times.running;
  const latencies = { ...defined("idle", idle.p50), ...defined("load", load.p50) };
  if (options.traffic === "tcp") {
    const bytes = after.received - before.received;
    const cost = running === undefined || bytes === 0 ? undefined : (running * 1e3) / bytes;
    return {
      goodput: (bytes * 8) / seconds / 1e9,
      ...defined("cpuPerGigabyte", cost),
      ...latencies,
    };
  }
  const packets = after.far.rxPackets - before.far.rxPackets;
  const bytes = after.far.rxBytes - before.far.rxBytes - packets * linkBytes;
  // A super-packet has one header and the payload of all its datagrams.
  const header = headerBytes(way.target.octets);
  const datagrams = (bytes - header * packets) / (options.size - header);
  return {
    datagrams: datagrams / seconds,
    // What the datagrams are on the wire, whether they came one by one or as super-packets.
    gigabits: (datagrams * options.size * 8) / seconds / 1e9,
    ...defined("cpu", running === undefined || datagrams === 0 ? undefined : running / datagrams),
    ...latencies,
  };
}

async function pings({ stage, ended }: Standing, { duration, signal }: TurnOptions): Promise<Turn> {
  const { octets } = stage.target;
  const run = (ms: number, period: number) =>
    Promise.race([ping(stage.from, octets, { duration: ms, period, signal }), ended]);
  // Neighbours may still have to find each other, over IPv6 at their leisure.
  for (let waited = 0; waited < FIRST_ANSWER; waited += PING_WARM_UP) {
    if ((await run(PING_WARM_UP, PING_PERIOD)).p50 !== undefined) break;
  }
  const idle = await run(duration / 2, PING_PERIOD);
  const busy = await run(duration / 2, 0);
  if (idle.p50 === undefined || busy.p50 === undefined) throw new Error("no ping has been answered");
  return { roundTrip: idle.p50, ...defined("roundTripP99", idle.p99), roundTripBusy: busy.p50 };
}

function defined<K extends string>(key: K, value: number | undefined): { [key in K]?: number } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]: number });
}
