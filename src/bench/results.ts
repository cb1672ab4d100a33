/** What the benchmark finds: plain data, and the public format of `bench --json`. */
import type { Conservation } from "../control/report.ts";

/** Rates are a second, of the measured time; the warm-up does not count. */
export interface QueueRates {
  /** "0", or "sum" */
  queue: string;
  /** Packets read from the queue of the device that the load comes from. */
  inPackets: number;
  /** Packets written to the queue of the device that it leaves by; a packet may be a GSO super-packet. */
  packets: number;
  datagrams: number;
  /** Of the datagrams as they are on the wire, from the header that the device's packets begin with. */
  gigabits: number;
  /** Packets that the queue of the device of exit did not take. */
  drops: number;
  /** Packets that the filters of the queue's worker dropped, or that ended at `to: drop`. */
  filterDrops: number;
  /** Packets that the queue's worker read, from all devices. */
  read: number;
  /** Of the queue's worker, a packet that it read, ns; 0: not known. */
  cpuPerPacket: number;
  /** Of the measured time, the worker's share on a processor, and ready without one. */
  busy: number;
  waiting: number;
  packetsPerBatch: number;
}

export interface Latency {
  /** us; undefined: no probe came through. */
  p50?: number;
  p99?: number;
  p999?: number;
  sent: number;
  received: number;
}

export interface RunResult {
  traffic: "udp" | "tcp";
  /** Bytes of the IP packets: of each datagram, of the longest segments. */
  size: number;
  queues: QueueRates[];
  sum: QueueRates;
  io: string;
  seconds: number;
  senders: number;
  /** Sockets that sent: with TCP, connections. */
  flows: number;
  /** Where the load ended: "ingress" and "socket" drop it, "streams" are read. */
  sink: string;
  port: number;
  /** UDP: datagrams a second that the senders handed to the kernel. */
  offered?: number;
  /** TCP: Gb/s of what the receivers have read. */
  goodput?: number;
  /** TCP: ms of the workers' time a gigabyte of it. */
  cpuPerGigabyte?: number;
  /** Packets a second that the device did not take from the kernel since its queues were full. */
  overrun: number;
  /** Sends that failed, and errno's name of the last. */
  sendFailures: number;
  sendError?: string;
  /** Without load, and under it. */
  idle: Latency;
  load: Latency;
  /** ns a packet, by filter. */
  filters: Record<string, number>;
  /** Of the whole run, warm-up included, in packets. */
  balance: Conservation & {
    /** What the far interface has counted; the same as `delivered`, or something is lost without a word. */
    received: number;
    delivered: number;
  };
}

/** The chain alone: packets from memory through dissect and filters, and freed. */
export interface MemoryRun {
  size: number;
  port: number;
  flows: number;
  /** ns a packet of each worker: the median of windows of some 100 us. */
  nanoseconds: number[];
  /** Packets a second of all workers together. */
  packets: number;
  /** ns a packet, by filter that saw packets. */
  filters: Record<string, number>;
  /** Share of the packets that reached a device. */
  passed: number;
}

export interface Spread {
  median: number;
  min: number;
  max: number;
}

/** The pipeline or one of its peers, over the turns: medians, and spreads of what is compared. */
export interface Contender {
  name: string;
  what: string;
  /** UDP: a second, as counted by the far interface. */
  datagrams?: Spread;
  /** UDP: of the datagrams as they are on the wire. */
  gigabits?: number;
  /** TCP: Gb/s of what the receivers have read. */
  goodput?: Spread;
  /** Ping: p50 of a request each ms, us. */
  roundTrip?: Spread;
  /** Ping: p99 of a request each ms, and p50 of requests that follow each other at once, us. */
  roundTripP99?: number;
  roundTripBusy?: number;
  /** Time of its threads: ns a datagram (UDP), ms a gigabyte (TCP); absent: it has no threads of its own. */
  cpu?: number;
  cpuPerGigabyte?: number;
  /** Latency one way, p50, without load and under it, us. */
  idle?: number;
  load?: number;
  /** The pipeline's figure (datagrams, goodput or round trip) by this one's, turn by turn. */
  ratio: Spread;
  /** Ping: the pipeline's round trip less this one's, turn by turn, us. */
  above?: Spread;
  /** This one's CPU time a datagram or gigabyte by the pipeline's, turn by turn: above 1 the pipeline takes less. */
  cpuRatio?: Spread;
}

export interface Comparison {
  traffic: "udp" | "tcp" | "ping";
  size: number;
  /** UDP: flows; TCP: connections. */
  flows: number;
  queues: number;
  pairs: number;
  seconds: number;
  /** The pipeline first, then the same with other settings, then its peers. */
  contenders: Contender[];
  skipped: { name: string; why: string }[];
}

export interface CompareResult {
  pipeline: string;
  machine: Machine;
  peers: Comparison[];
}

export interface Machine {
  date: string;
  kernel: string;
  processor: string;
  processors: number;
  runtime: string;
}

export interface BenchResult {
  pipeline: string;
  from: string;
  to: string;
  machine: Machine;
  runs: RunResult[];
}

export interface MemoryResult {
  pipeline: string;
  machine: Machine;
  memory: MemoryRun[];
  /** With `--peers`, by size. */
  peers?: ChainPeer[];
}

/** The same work on the same packets in C (bench/peers/chain.c), one thread, in turn with one worker. */
export interface ChainPeer {
  size: number;
  /** ns a packet; absent: it could not be run, and why. */
  nanoseconds?: number;
  /** What one packet takes in C by what it takes here, turn by turn; absent without one worker. */
  ratio?: Spread;
  skipped?: string;
}

/** @param samples ns, any order */
export function latency(samples: number[], sent: number): Latency {
  const sorted = [...samples].sort((a, b) => a - b);
  if (sorted.length === 0) return { sent, received: 0 };
  // The nearest rank: the smallest sample that at least this share does not exceed.
  const at = (share: number) => Math.round(sorted[Math.ceil(share * sorted.length) - 1] / 10) / 100;
  return { p50: at(0.5), p99: at(0.99), p999: at(0.999), sent, received: sorted.length };
}
