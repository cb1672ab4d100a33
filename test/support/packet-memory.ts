/** A pipeline's memory laid out by hand: descriptors with slots on a free list, batches, counters. */
import { DROP_REASONS, PORT_COUNTERS_BYTES, portCounters } from "../../src/batches/counters.ts";
import { BATCH, DESCRIPTOR, HEADROOM } from "../../src/batches/layout.ts";
import {
  batchAt,
  batchCount,
  batchMove,
  batchPop,
  batchPush,
  counterAdd,
  counterRead,
  descriptorReset,
  PacketMemory,
} from "../../src/batches/memory.ts";
import type { SoftPort } from "../../src/devices/port.ts";
import type { SoftSource } from "../../src/io/types.ts";

const PAGE = 65536;

export interface Packet {
  bytes: Uint8Array;
  /** ns */
  timestamp: bigint;
}

export interface TestMemoryOptions {
  /** Descriptors, each with a slot. */
  slots?: number;
  /** Longest packet. */
  room?: number;
  /** Bytes for buffers, beside what slots need. */
  extra?: number;
}

export class TestMemory {
  readonly m: PacketMemory;
  readonly free: number;
  readonly slots: number;
  private next = PAGE;

  constructor({ slots = 128, room = 2048, extra = 0 }: TestMemoryOptions = {}) {
    this.slots = slots;
    const slotBytes = Math.ceil((HEADROOM + room) / 64) * 64;
    const bytes = PAGE + slots * (slotBytes + DESCRIPTOR.SIZE + 64) + extra + 4 * PAGE;
    const pages = Math.ceil(bytes / PAGE);
    this.m = new PacketMemory(new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }));
    this.free = this.batch();
    for (let i = 0; i < slots; i++) {
      const d = this.take(DESCRIPTOR.SIZE);
      this.m.u32[(d + DESCRIPTOR.SLOT) >>> 2] = this.take(slotBytes);
      this.m.u32[(d + DESCRIPTOR.CAPACITY) >>> 2] = HEADROOM + room;
      batchPush(this.m, this.free, d);
    }
  }

  /** Fresh memory at a cache line. */
  take(bytes: number): number {
    const address = this.next;
    this.next += Math.ceil(bytes / 64) * 64;
    if (this.next > this.m.u8.length)
      throw new RangeError("the test's memory is too small: ask for more `extra`");
    return address;
  }

  batch(): number {
    const address = this.take(BATCH.ENTRIES + 4 * this.slots);
    this.m.u32[(address + BATCH.CAPACITY) >>> 2] = this.slots;
    return address;
  }

  port(bufferBytes: number, more: Partial<SoftPort> = {}): SoftPort {
    return {
      m: this.m,
      free: this.free,
      counters: portCounters(this.take(PORT_COUNTERS_BYTES)),
      buffer: { address: this.take(bufferBytes), bytes: bufferBytes },
      device: 0,
      queue: 0,
      queues: 1,
      lock: this.take(4),
      command: this.take(4),
      ...more,
    };
  }

  /** What core's measure does, packet by packet. */
  readonly measure = (batch: number, counters: number): void => {
    const { m } = this;
    for (let i = 0; i < batchCount(m, batch); i++) {
      const at = batchAt(m, batch, i) >>> 2;
      counterAdd(m, counters, 1);
      counterAdd(m, counters + 8, m.u32[at + (DESCRIPTOR.LENGTH >>> 2)]);
      counterAdd(m, counters + 16, m.u32[at + (DESCRIPTOR.DATAGRAMS >>> 2)]);
    }
  };

  /** Appends a packet to a batch. @param timestamp ns */
  put(batch: number, bytes: Uint8Array, timestamp = 0n, deviceQueue = 0): void {
    const d = batchPop(this.m, this.free);
    if (d === 0) throw new RangeError("the test has no free descriptor: ask for more `slots`");
    const data = this.m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
    descriptorReset(this.m, d, data, bytes.length, deviceQueue);
    this.m.u8.set(bytes, data);
    this.m.u32[(d + DESCRIPTOR.TIMESTAMP) >>> 2] = Number(timestamp & 0xffff_ffffn);
    this.m.u32[(d + DESCRIPTOR.TIMESTAMP + 4) >>> 2] = Number(timestamp >> 32n);
    batchPush(this.m, batch, d);
  }

  /** Copies of the packets of a batch, which is emptied. */
  drain(batch: number): Packet[] {
    const { m } = this;
    const packets: Packet[] = [];
    for (let i = 0; i < batchCount(m, batch); i++) {
      const at = batchAt(m, batch, i) >>> 2;
      const data = m.u32[at + (DESCRIPTOR.DATA >>> 2)];
      const length = m.u32[at + (DESCRIPTOR.LENGTH >>> 2)];
      const low = m.u32[at + (DESCRIPTOR.TIMESTAMP >>> 2)];
      const high = m.u32[at + (DESCRIPTOR.TIMESTAMP >>> 2) + 1];
      packets.push({
        bytes: m.u8.slice(data, data + length),
        timestamp: (BigInt(high) << 32n) | BigInt(low),
      });
    }
    batchMove(m, batch, this.free);
    return packets;
  }

  /** What a port has counted, by the names of PortCounters and DROP_REASONS; zeros are left out. */
  counted(port: SoftPort): Record<string, number> {
    const { drops, malformed: _, ...others } = port.counters;
    const all: [string, number][] = Object.entries(others);
    DROP_REASONS.forEach((reason, i) => {
      all.push([reason, drops + 8 * i]);
    });
    const values = all.map(([name, address]): [string, number] => [name, counterRead(this.m, address)]);
    return Object.fromEntries(values.filter(([, value]) => value !== 0));
  }

  /** Descriptors on the free list. */
  get freeCount(): number {
    return batchCount(this.m, this.free);
  }
}

/** Waited on to let time pass. */
const PAUSE = new Int32Array(new SharedArrayBuffer(4));

/**
 * Everything a source has, in the order in which it comes. Time passes as fast as the source wants.
 * @returns the packets, and what `close` threw
 */
export function readAll(
  memory: TestMemory,
  source: SoftSource,
): { packets: Packet[]; error: Error | undefined } {
  const batch = memory.batch();
  const packets: Packet[] = [];
  let now = 1_000_000_000;
  let idle = 0;
  for (;;) {
    const wait = source.receive(batch, 64, now);
    const received = memory.drain(batch);
    packets.push(...received);
    if (wait === Number.POSITIVE_INFINITY) break;
    now += wait;
    idle = received.length > 0 ? 0 : idle + 1;
    if (idle > 20_000) throw new Error("the source neither gives packets nor ends");
    // Who writes to a pipe is another process, which wants a processor, too.
    if (idle > 1000) Atomics.wait(PAUSE, 0, 0, 1);
  }
  let error: Error | undefined;
  try {
    source.close();
  } catch (thrown) {
    error = thrown as Error;
  }
  return { packets, error };
}
