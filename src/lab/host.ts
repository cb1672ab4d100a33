/**
 * A host of a lab as a thread: its entry. It enters the host's network namespace, so that every socket it makes is
 * there, echoes what comes to the probes' ports, and probes other hosts when told to.
 */
import { parentPort, workerData } from "node:worker_threads";
import { check } from "../sys/errno.ts";
import { CLONE_NEWNET, setns } from "../sys/namespaces.ts";
import { probeIcmp } from "./probes/icmp.ts";
import type { Answer, OnProgress, Probe, ProbeTask, Protocol } from "./probes/probe.ts";
import { probeTcp, serveTcp } from "./probes/tcp.ts";
import { probeUdp, serveUdp } from "./probes/udp.ts";

/** workerData */
export interface HostTask {
  device: string;
  namespace: number;
  /** Addresses to echo on. */
  addresses: string[];
}

export type HostRequest =
  | { probe: ProbeTask }
  | { giveUp: true }
  /** Which of these UDP payloads (hex) have come in? */
  | { seen: string[] };

export type HostReply =
  /** It listens. */
  | { ready: true }
  | { pending: number; busy: boolean }
  | { answers: Answer[] }
  | { seen: boolean[] }
  | { failure: string };

const PROBES: Record<Protocol, (task: ProbeTask, onProgress: OnProgress) => Probe> = {
  icmp: probeIcmp,
  udp: probeUdp,
  tcp: probeTcp,
};

const port = parentPort!;
const { device, namespace, addresses } = workerData as HostTask;
const seen = new Set<string>();
let current: Probe | undefined;

function reply(message: HostReply): void {
  port.postMessage(message);
}

async function handle(request: HostRequest): Promise<void> {
  if ("giveUp" in request) return current?.giveUp();
  if ("seen" in request) return reply({ seen: request.seen.map((payload) => seen.has(payload)) });
  const { probe } = request;
  current = PROBES[probe.protocol](probe, (pending, busy) => reply({ pending, busy }));
  reply({ answers: await current.answers });
}

function fail(error: unknown): void {
  reply({ failure: `host ${device}: ${(error as Error).message}` });
}

try {
  check(setns(namespace, CLONE_NEWNET), "setns", "its network namespace");
  for (const address of addresses) {
    await serveUdp(address, seen);
    await serveTcp(address);
  }
  port.on("message", (request: HostRequest) => void handle(request).catch(fail));
  reply({ ready: true });
} catch (error) {
  fail(error);
}
