/**
 * Packets out of nothing. Packet k of all queues together belongs to flow k modulo the number of flows, and flow f to
 * queue f modulo the number of queues: so any number of queues makes the same packets, and totals are exact.
 *
 * For each packet: a copy of its template, and addresses, ports and checksums patched in from the flow's line of a
 * table. No checksum is computed over bytes.
 */
import { DESCRIPTOR, HEADROOM } from "../../batches/layout.ts";
import { batchPop, batchPush, counterRead, descriptorReset, u64Write } from "../../batches/memory.ts";
import type { SoftSource } from "../../io/types.ts";
import type { Rate } from "../../params/types.ts";
import { type Copy, makeCopy } from "../copy.ts";
import type { SoftPort } from "../port.ts";
import { type FlowEntry, flowAt } from "./flows.ts";
import {
  alignedBytes,
  fold,
  makeTemplates,
  sum16,
  swap16,
  type Template,
  templateIndex,
} from "./templates.ts";

/** Plain data, made by `prepareGenerator`. */
export interface GeneratorSourceOptions {
  flows: FlowEntry[];
  /** Of all queues together; undefined: as fast as possible. */
  rate: Rate | undefined;
  /** Of all queues together; 0: no end. */
  packets: number;
  seed: number;
}

/** A worker that was kept from sending makes up for this much of the time, not for more. ns */
const CATCH_UP = 50e6;
/**
 * At high rates packets are made in bursts: a nap of half a millisecond, or until this many units are due, costs one
 * system call instead of one a packet. ns, and packets or bits
 */
const NAP = 500e3;
const BURST = 32;
/** No descriptor is free: filters hold them. ns */
const FREE_WAIT = 100e3;

/** Words of a flow's line: source, destination (one word each for IPv4), ports, sums of addresses and of all. */
const FLOW = { FROM: 0, TO: 4, PORTS: 8, SUMS: 9, ENTRY: 10, INDEX: 11, WORDS: 12 } as const;

export function openGeneratorSource(port: SoftPort, options: GeneratorSourceOptions): SoftSource {
  return new GeneratorSource(port, options);
}

class GeneratorSource implements SoftSource {
  private readonly port: SoftPort;
  private readonly copy: Copy;
  private readonly deviceQueue: number;
  private readonly templates: Template[];
  /** Addresses of the templates in memory. */
  private readonly templateAt: number[] = [];
  /** By entry, by position in its sizes: index of the template. */
  private readonly templatesOf: number[][];
  /** This queue's flows, FLOW.WORDS each. */
  private readonly table: Uint32Array;
  private readonly flows: number;
  /** ns that a packet, or a bit, takes at this queue's share of the rate; 0: no rate. */
  private readonly unitTime: number;
  private readonly unitIsBit: boolean;
  private left: number;
  private flow = 0;
  private round = 0;
  /** CLOCK_MONOTONIC when the units sent so far would have begun, -1: not started. */
  private started = -1;
  private units = 0;

  constructor(port: SoftPort, options: GeneratorSourceOptions) {
    const { flows: entries, rate, packets, seed } = options;
    this.port = port;
    this.copy = makeCopy(port.m.memory);
    this.deviceQueue = port.device | (port.queue << 8);
    this.templates = makeTemplates(entries, seed);
    let address = port.buffer.address;
    for (const { bytes } of this.templates) {
      port.m.u8.set(bytes, address);
      this.templateAt.push(address);
      address += alignedBytes(bytes.length);
    }
    this.templatesOf = entries.map((entry) =>
      entry.sizes.map((size) => templateIndex(this.templates, entry, size)),
    );
    const total = entries.reduce((sum, { count }) => sum + count, 0);
    this.flows = Math.max(0, Math.ceil((total - port.queue) / port.queues));
    this.table = this.makeTable(entries);
    // A worker before this one may have sent some.
    const sent = counterRead(port.m, port.counters.rxPackets);
    this.left =
      packets === 0 ? Number.POSITIVE_INFINITY : Math.max(0, packetsOfQueue(packets, total, port) - sent);
    this.unitIsBit = rate?.unit === "bit";
    this.unitTime = rate === undefined ? 0 : 1e9 / (rate.value * this.share(entries));
  }

  receive(batch: number, max: number, now: number): number {
    if (this.flows === 0 || this.left === 0) return Number.POSITIVE_INFINITY;
    const { m, free } = this.port;
    if (this.unitTime > 0) this.pace(now);
    for (let count = 0; count < max; count++) {
      if (this.unitTime > 0) {
        const due = this.started + this.units * this.unitTime;
        if (due > now) return Math.max(due - now, Math.min(NAP, BURST * this.unitTime));
      }
      const d = batchPop(m, free);
      if (d === 0) return count > 0 ? 0 : FREE_WAIT;
      const length = this.make(d, now);
      batchPush(m, batch, d);
      this.units += this.unitIsBit ? 8 * length : 1;
      if (--this.left === 0) return Number.POSITIVE_INFINITY;
    }
    return 0;
  }

  close(): void {}

  /** Forgets what lies too far back to be made up for. */
  private pace(now: number): void {
    if (this.started < 0) this.started = now;
    const late = now - (this.started + this.units * this.unitTime);
    if (late > CATCH_UP) this.started += late - CATCH_UP;
  }

  /** Writes the next packet. @returns its length */
  private make(d: number, now: number): number {
    const { m } = this.port;
    const { table } = this;
    const line = this.flow * FLOW.WORDS;
    const templates = this.templatesOf[table[line + FLOW.ENTRY]];
    const which = templates.length === 1 ? 0 : (this.round + table[line + FLOW.INDEX]) % templates.length;
    const template = this.templates[templates[which]];
    const length = template.bytes.length;
    const data = m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
    descriptorReset(m, d, data, length, this.deviceQueue);
    u64Write(m, d + DESCRIPTOR.TIMESTAMP, now);
    this.copy(data, this.templateAt[templates[which]], length);
    this.patch(template, data, line);
    if (++this.flow === this.flows) {
      this.flow = 0;
      this.round++;
    }
    return length;
  }

  private patch(template: Template, data: number, line: number): void {
    const { u16, u32 } = this.port.m;
    const { table } = this;
    const sums = table[line + FLOW.SUMS];
    let sum = template.transportSum + (sums >>> 16);
    if (template.family === 4) {
      u32[(data + 12) >>> 2] = table[line + FLOW.FROM];
      u32[(data + 16) >>> 2] = table[line + FLOW.TO];
      u16[(data + 10) >>> 1] = ~fold(template.headerSum + (sums & 0xffff));
    } else {
      const words = (data + 8) >>> 2;
      for (let i = 0; i < 8; i++) u32[words + i] = table[line + i];
    }
    const transport = data + template.transportAt;
    if (template.transport === "icmp") {
      const sequence = swap16(this.round & 0xffff);
      u32[(transport + 4) >>> 2] = table[line + FLOW.PORTS] | (sequence << 16);
      sum += sequence;
    } else {
      u32[transport >>> 2] = table[line + FLOW.PORTS];
    }
    const checksum = ~fold(sum) & 0xffff;
    // In UDP 0 means that there is no checksum (RFC 768).
    u16[(data + template.checksumAt) >>> 1] =
      checksum === 0 && template.transport === "udp" ? 0xffff : checksum;
  }

  private makeTable(entries: FlowEntry[]): Uint32Array {
    const table = new Uint32Array(this.flows * FLOW.WORDS);
    const bytes = new Uint8Array(table.buffer);
    const { queue, queues } = this.port;
    let line = 0;
    let before = 0;
    entries.forEach((entry, e) => {
      const skipped = (((queue - before) % queues) + queues) % queues;
      for (let i = skipped; i < entry.count; i += queues, line += FLOW.WORDS) {
        const { from, to, fromPort, toPort } = flowAt(entry, i);
        const ports = [fromPort >>> 8, fromPort & 0xff, toPort >>> 8, toPort & 0xff];
        bytes.set(from, 4 * (line + FLOW.FROM));
        bytes.set(to, 4 * (line + FLOW.TO));
        bytes.set(ports, 4 * (line + FLOW.PORTS));
        const addresses = fold(sum16(from, 0, from.length) + sum16(to, 0, to.length));
        const hasPseudoHeader = entry.family === 6 || entry.transport !== "icmp";
        const all = fold((hasPseudoHeader ? addresses : 0) + sum16(ports, 0, 4));
        table[line + FLOW.SUMS] = addresses | (all << 16);
        table[line + FLOW.ENTRY] = e;
        table[line + FLOW.INDEX] = i;
      }
      before += entry.count;
    });
    return table;
  }

  /** This queue's part of the rate: by its flows, or by their bits. */
  private share(entries: FlowEntry[]): number {
    const cost = ({ sizes }: FlowEntry) =>
      this.unitIsBit ? sizes.reduce((sum, size) => sum + size, 0) / sizes.length : 1;
    const all = entries.reduce((sum, entry) => sum + cost(entry) * entry.count, 0);
    let own = 0;
    for (let flow = 0; flow < this.flows; flow++)
      own += cost(entries[this.table[flow * FLOW.WORDS + FLOW.ENTRY]]);
    return own / all;
  }
}

/** Of `packets` packets dealt out to `flows` flows in turn, those of this queue's flows. */
function packetsOfQueue(packets: number, flows: number, { queue, queues }: SoftPort): number {
  const own = (below: number) => Math.max(0, Math.ceil((below - queue) / queues));
  return own(flows) * Math.floor(packets / flows) + own(packets % flows);
}
