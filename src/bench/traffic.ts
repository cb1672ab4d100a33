/**
 * Which way the load goes: from one host of a lab to another, on a UDP port that the pipeline's filters let pass.
 * Thread: the main one.
 */
import type { Pipeline } from "../config/types.ts";
import type { Lab } from "../lab/lab.ts";
import { type Pair, planPairs } from "../lab/selfcheck.ts";
import type { Host } from "../lab/topology.ts";
import { parseAddress } from "../params/addresses.ts";
import { close } from "../sys/calls.ts";
import { bindUdp, connectUdp, Receiver, Volley } from "../sys/datagrams.ts";
import { check } from "../sys/errno.ts";
import { withNamespace } from "../sys/namespaces.ts";
import type { Endpoint } from "../sys/socket.ts";
import type { Traffic } from "./load.ts";
import { PROBE } from "./payload.ts";
import { findOpenPort } from "./streams.ts";

/** Tried in this order, unless a port is asked for. */
export const PORTS: readonly number[] = [9, 53, 443, 8080, 8000, 4500, 5201, 1194, 123, 80];
/** A datagram may be lost while an interface or a neighbour is still being found: it is sent again, this often. */
const ATTEMPTS = 20;
const PAUSE = 50;
const PROBE_BYTES = 36;

/** There is nothing to measure, and why. */
export class NoTraffic extends Error {}

export interface Way {
  from: Host;
  to: Host;
  target: Endpoint;
  /** Where UDP probes get through; undefined: nowhere. */
  probe: Endpoint | undefined;
  /** "10.2.0.2" */
  address: string;
}

/** @throws NoTraffic: no host has a path to another one, or not from `source` */
export function findPair(
  lab: Pick<Lab, "hosts" | "pipeline">,
  source: string | undefined,
): Pair & { to: Host } {
  const pairs = planPairs(lab).filter(
    (pair): pair is Pair & { to: Host } => pair.there && pair.to !== undefined,
  );
  const pair = pairs.find(({ from }) => source === undefined || from.device === source);
  if (pair !== undefined) return pair;
  if (pairs.length > 0) {
    const sources = [...new Set(pairs.map(({ from }) => from.device))];
    throw new NoTraffic(`no path leads from ${source} to another host; from ${sources.join(", ")} one does`);
  }
  throw new NoTraffic(
    "no path leads from a tun or tap device that has an address to another one: there is no way for the load " +
      `(the chain alone can be measured: pktflow bench --memory ${lab.pipeline.file})`,
  );
}

/**
 * Finds the way for the load: the first port of `ports` on which a datagram gets through, or a connection comes about.
 * @throws NoTraffic: none does
 */
export async function findWay(
  lab: Pick<Lab, "hosts" | "pipeline">,
  source: string | undefined,
  ports: readonly number[],
  traffic: Traffic,
): Promise<Way> {
  const { from, to, target: address } = findPair(lab, source);
  const octets = [...parseAddress(address)!.bytes];
  const targets = ports.map((port): Endpoint => ({ octets, port }));
  const probe = await findUdpPort(
    from,
    to,
    traffic === "udp" ? targets : PORTS.map((port) => ({ octets, port })),
  );
  const sides = { from: from.namespace, to: to.namespace };
  const target = traffic === "udp" ? probe : await findOpenPort(sides, targets);
  if (target !== undefined) return { from, to, target, probe, address };
  const which = ports.length === 1 ? `port ${ports[0]}` : `any of the ports ${ports.join(", ")}`;
  throw new NoTraffic(
    (traffic === "udp"
      ? `no UDP datagram from ${from.device} gets through to ${to.device} (${address}) on ${which}: `
      : `no TCP connection comes about from ${from.device} to ${to.device} (${address}) on ${which}: `) +
      "choose a port that the filters accept with --port, or let one pass with --set",
  );
}

async function findUdpPort(from: Host, to: Host, targets: Endpoint[]): Promise<Endpoint | undefined> {
  const receivers: number[] = [];
  const senders: number[] = [];
  try {
    for (const target of targets) {
      const what = `UDP port ${target.port}`;
      receivers.push(withNamespace(to.namespace, () => check(bindUdp(target), "bind", what)));
      senders.push(withNamespace(from.namespace, () => check(connectUdp(target), "connect", what)));
    }
    return targets[await firstOpen(senders, receivers)];
  } finally {
    for (const fd of [...receivers, ...senders]) close(fd);
  }
}

/** @returns index of the first pair of sockets between which a datagram gets through; -1: none */
async function firstOpen(senders: number[], receivers: number[]): Promise<number> {
  const payload = new Uint8Array(new SharedArrayBuffer(PROBE_BYTES));
  payload.set(PROBE);
  const volley = new Volley(payload, 1);
  const receiver = new Receiver();
  const open = new Set<number>();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    // An ICMP error about the one before may fail a send: silence says enough.
    for (const fd of senders) volley.send(fd);
    await new Promise((resolve) => setTimeout(resolve, PAUSE));
    receivers.forEach((fd, i) => {
      while (receiver.receive(fd) >= 0) open.add(i);
    });
    // Once more after the first came through, for the order of arrival says nothing.
    if (open.size > 0 && attempt > 0) return Math.min(...open);
  }
  return -1;
}

/** The pipeline with so many queues on every device that has a host, and as many workers. */
export function withQueues(pipeline: Pipeline, queues: number): Pipeline {
  const devices = pipeline.devices.map((device) =>
    device.kind === "tun" || device.kind === "tap"
      ? { ...device, params: { ...device.params, queues } }
      : device,
  );
  return { ...pipeline, devices, workers: queues };
}
