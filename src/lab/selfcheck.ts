/**
 * The self-check of a lab: hosts send each other real ICMP, UDP and TCP through the running pipeline, one probe after
 * the other, so that what the pipeline counts during a probe is the probe's. Thread: the main one; each host has a
 * thread of its own, whose sockets are in its namespace.
 */

import { conservation, type Report } from "../control/report.ts";
import { type Family, formatAddress, parseAddress } from "../params/addresses.ts";
import { sourcesOf } from "../plan/paths.ts";
import { HostThread } from "./host-thread.ts";
import type { Lab } from "./lab.ts";
import { inPrefix, prefixFrom } from "./nat64.ts";
import { type Answer, ECHOES, PROTOCOLS, type Protocol, TCP_PORTS, UDP_PORTS } from "./probes/probe.ts";
import type { Host, HostAddress } from "./topology.ts";
import { explains, judge, notSent, type Verdict, type Whereabouts } from "./verdict.ts";

/** A probe that drops explain, and of which nothing has been heard for so long, is done. ms */
const QUIET = 200;
const POLL = 20;
const SENT: Record<Protocol, number> = { icmp: ECHOES, udp: UDP_PORTS.length, tcp: TCP_PORTS.length };

/** One host's probes of another one's address. */
export interface Pair {
  from: Host;
  /** undefined: nobody has the address; there is no other host that `from` has a path to. */
  to: Host | undefined;
  family: Family;
  source: string;
  target: string;
  /** Does a path lead there, and one back? */
  there: boolean;
  back: boolean;
}

export interface PairResult extends Pair {
  verdicts: Record<Protocol, Verdict>;
}

type LabShape = Pick<Lab, "hosts" | "pipeline">;

/**
 * Which host probes which address, in the order of the devices. A host that has a path, but none to another host,
 * probes its neighbour's address instead, which nobody has: its packets must show up as answers, drops, or elsewhere.
 * Empty: there is nothing to check.
 */
export function planPairs({ hosts, pipeline }: LabShape): Pair[] {
  const reaches = (from: Host, to: Host) => sourcesOf(pipeline, to.device).includes(from.device);
  return hosts.flatMap((from) => {
    if (!pipeline.paths.some((path) => path.from.includes(from.device))) return [];
    const others = hosts.filter((to) => to !== from);
    const prefix = prefixFrom(pipeline, from.device);
    // An IPv4-only host, as an IPv6 one reaches it through a nat64; the other way nobody can begin.
    const translated = (to: Host, family: Family, source: string): Pair[] => {
      const ipv4 = to.addresses.find((one) => one.family === 4)?.address;
      if (prefix === undefined || family === 4 || ipv4 === undefined) return [];
      const [there, back] = [reaches(from, to), reaches(to, from)];
      return [{ from, to, family, source, target: inPrefix(prefix, ipv4), there, back }];
    };
    const pairs = ([4, 6] as const).flatMap((family) => {
      const source = addressOf(from, family);
      if (source === undefined) return [];
      const between = others.flatMap((to): Pair[] => {
        // An address that both have would be answered by the sender itself.
        const own = from.addresses.map(({ address }) => address);
        const target = to.addresses.find(
          (one) => one.family === family && !own.includes(one.address),
        )?.address;
        if (target === undefined) return translated(to, family, source.address);
        const [there, back] = [reaches(from, to), reaches(to, from)];
        return [{ from, to, family, source: source.address, target, there, back }];
      });
      // Where another host would get them, its kernel would have them without a word.
      if (others.some((to) => reaches(from, to))) return between;
      const target = neighbour(source);
      const back = reaches(from, from);
      return [...between, { from, to: undefined, family, source: source.address, target, there: true, back }];
    });
    return pairs;
  });
}

function addressOf(host: Host, family: Family): HostAddress | undefined {
  return host.addresses.find((address) => address.family === family);
}

/** The address next to one, in the same network if that has room for two. */
function neighbour({ address }: HostAddress): string {
  const { family, bytes } = parseAddress(address)!;
  return formatAddress({ family, bytes: bytes.with(-1, bytes[bytes.length - 1] ^ 3) });
}

export interface SelfCheckOptions {
  /** Is told what is under way, for a progress line. */
  onStep?: ((pair: Pair, protocol: Protocol) => void) | undefined;
  /** Ends it early. */
  signal?: AbortSignal;
}

/** Sends all probes. @throws Error when a host cannot be set up; the signal's reason when it is aborted */
export async function selfCheck(lab: Lab, { onStep, signal }: SelfCheckOptions = {}): Promise<PairResult[]> {
  const pairs = planPairs(lab);
  const threads: HostThread[] = [];
  const closeAll = () => Promise.all(threads.map((thread) => thread.close()));
  signal?.addEventListener("abort", closeAll);
  try {
    for (const host of lab.hosts) {
      signal?.throwIfAborted();
      threads.push(await HostThread.start(host));
    }
    const results: PairResult[] = [];
    for (const pair of pairs) {
      const verdicts = {} as Record<Protocol, Verdict>;
      for (const protocol of PROTOCOLS) {
        signal?.throwIfAborted();
        onStep?.(pair, protocol);
        verdicts[protocol] = await probe(lab, threads, pair, protocol);
      }
      results.push({ ...pair, verdicts });
    }
    return results;
  } catch (error) {
    signal?.throwIfAborted();
    throw error;
  } finally {
    signal?.removeEventListener("abort", closeAll);
    await closeAll();
  }
}

async function probe(lab: Lab, threads: HostThread[], pair: Pair, protocol: Protocol): Promise<Verdict> {
  // Without a way back the receiver can be asked for datagrams, and for nothing else.
  const oneWay = !pair.back && pair.to !== undefined;
  if (!pair.there) return notSent("no path");
  if (oneWay && protocol !== "udp") return notSent("no path back");
  const threadOf = (host: Host) => threads.find((thread) => thread.host === host)!;
  const thread = threadOf(pair.from);
  // A packet for a host is to reach it; one for nobody is accounted for wherever it leaves, even where it came from.
  const others = (id: string) => pair.to === undefined || !lab.hosts.some(({ device }) => device === id);
  const before = whereabouts(lab, others);
  const since = () => difference(whereabouts(lab, others), before);
  const task = { protocol, from: pair.source, to: pair.target };
  let answers: Answer[] | undefined;
  const done = thread.probe(task).then((all) => {
    answers = all;
  });
  await untilQuiet(
    () => answers !== undefined,
    () => {
      const { pending = SENT[protocol], busy } = thread.progress;
      if (busy) return undefined;
      const where = since();
      // Datagrams that only arrive are silent to their sender.
      if (!oneWay && !explains(pending, where, pair.from.layer)) return undefined;
      return `${pending} ${JSON.stringify(where)}`;
    },
    done,
  );
  if (answers === undefined) thread.giveUp();
  await done;
  let all = answers!;
  if (oneWay) {
    const seen = await threadOf(pair.to!).seen(all.map(({ sent }) => sent!));
    all = all.map((answer, i) => (seen[i] ? { ...answer, outcome: "answered" } : answer));
  }
  return judge(all, since(), pair.from.layer, oneWay);
}

/** Resolves when `ended`, or when `state` has been the same, and not undefined, for QUIET. Rejects with `failed`. */
async function untilQuiet(
  ended: () => boolean,
  state: () => string | undefined,
  failed: Promise<void>,
): Promise<void> {
  let last: string | undefined;
  let since = performance.now();
  while (!ended()) {
    await Promise.race([new Promise((resolve) => setTimeout(resolve, POLL)), failed]);
    const now = state();
    if (now !== last) [last, since] = [now, performance.now()];
    else if (now !== undefined && performance.now() - since >= QUIET) return;
  }
}

/** @param takes does what leaves by this device count as taken? */
function whereabouts({ running }: Lab, takes: (device: string) => boolean): Whereabouts {
  const report = running.report();
  const devices = Object.entries(report.devices).filter(([id]) => takes(id));
  const sent = devices.map(([id, { queues }]): [string, number] => [
    id,
    queues.reduce((sum, queue) => sum + queue.tx.packets, 0),
  ]);
  return { drops: { ...conservation(report).drops, ...sentAside(report) }, taken: Object.fromEntries(sent) };
}

/**
 * Packets by output, of the outputs that filters have of their own: an ICMP error about a reply goes to the one who
 * replied, and the prober waits. (A packet that is dropped further on counts twice: rather that than cry loss.)
 */
function sentAside(report: Report): Record<string, number> {
  return Object.fromEntries(
    Object.entries(report.filters).flatMap(([id, { outputs }]) =>
      Object.entries(outputs)
        .filter(([output]) => output !== "next" && output !== "drop")
        .map(([output, packets]) => [`${id} ${output}`, packets]),
    ),
  );
}

function difference(now: Whereabouts, before: Whereabouts): Whereabouts {
  const rises = (after: Record<string, number>, old: Record<string, number>) =>
    Object.fromEntries(
      Object.entries(after)
        .map(([what, packets]): [string, number] => [what, packets - (old[what] ?? 0)])
        .filter(([, packets]) => packets > 0),
    );
  return { drops: rises(now.drops, before.drops), taken: rises(now.taken, before.taken) };
}

/** Is there but one host that sends, and nobody whom it could reach? */
export function isAlone(results: PairResult[]): boolean {
  return results.every(({ from, to }) => to === undefined && from === results[0].from);
}

/** Other ends of tunnels and trunks are for instance not there by themselves. */
const NOTHING_GOT_THROUGH =
  "no probe got through; where hosts must be set up first, a COMMAND does that and shows the rest: -- COMMAND…";

/** What is wrong, in words; empty: the self-check has passed. @param report of the ended pipeline */
export function failures(results: PairResult[], report: Report): string[] {
  const verdicts = results.flatMap(({ from, to, target, verdicts }) =>
    PROTOCOLS.map((protocol) => ({
      what: `${protocol} ${from.device} -> ${to?.device ?? target}`,
      verdict: verdicts[protocol],
    })),
  );
  const wrong = verdicts
    .filter(({ verdict }) => verdict.state === "lost" || verdict.state === "corrupt")
    .map(({ what, verdict }) => `${what}: ${verdict.detail}`);
  // With nobody there to answer, what the pipeline drops is all that can come of a probe.
  const gotThrough = verdicts.some(({ verdict }) => ["ok", "arrived", "taken"].includes(verdict.state));
  if (!gotThrough && !isAlone(results)) wrong.push(NOTHING_GOT_THROUGH);
  const { missing } = conservation(report);
  if (missing !== 0) wrong.push(`${Math.abs(missing)} packets are unaccounted for`);
  return wrong;
}
