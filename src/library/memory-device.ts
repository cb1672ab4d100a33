/**
 * The program's end of a device of kind `memory`: packets sent into a running pipeline, and taken out of it. The
 * worker's end is devices/memory/queue.ts; between them are rings in the pipeline's memory, one a queue and direction.
 * Thread: the one that called run(). Packets are copied in and out: what is taken belongs to the taker.
 */
import type { PacketMemory } from "../batches/memory.ts";
import { rings } from "../devices/memory/queue.ts";
import { RingReader, RingWriter } from "../devices/memory/ring.ts";
import type { DevicePlan, Plan } from "../plan/types.ts";

/** Longest Ethernet header that comes on top of the MTU, with two VLAN tags; what the plan has room for. */
const ETHERNET = 22;

interface Input {
  worker: number;
  ring: RingWriter;
}

export interface SendOptions {
  /** Queue of the device; what comes in by queue q goes to worker q modulo workers. Default: 0. */
  queue?: number;
}

export class MemoryDevice {
  readonly id: string;
  readonly queues: number;
  /** 2: packets that are sent start with the Ethernet header; 3: with the IP header. */
  readonly layer: 2 | 3;
  /** Longest packet that can be sent, bytes. */
  readonly longest: number;
  private readonly m: PacketMemory;
  private readonly wake: (worker: number) => void;
  /** By queue. */
  private readonly inputs: (Input | undefined)[] = [];
  private readonly outputs: RingReader[] = [];
  private readonly sequence: number;
  private isOver = false;
  private isEnded = false;
  private takers = 0;

  /** @param index of the device in the plan @param wake ends a worker's sleep */
  constructor(m: PacketMemory, plan: Plan, index: number, wake: (worker: number) => void) {
    const device: DevicePlan = plan.devices[index];
    this.m = m;
    this.wake = wake;
    this.id = device.id;
    this.queues = device.queues;
    this.layer = device.layer as 2 | 3;
    this.longest = device.mtu + (device.layer === 2 ? ETHERNET : 0);
    this.sequence = device.lock >>> 2;
    plan.workers.forEach(({ ports }, worker) => {
      for (const port of ports.filter((candidate) => candidate.device === index)) {
        const { toWorker, toProgram, bytes } = rings(port.buffer);
        if (port.path >= 0) this.inputs[port.queue] = { worker, ring: new RingWriter(m, toWorker, bytes) };
        if (port.transmits) this.outputs.push(new RingReader(m, toProgram, bytes));
      }
    });
  }

  /**
   * Sends packets, as many as there is room for, without waiting.
   * @returns how many were taken, from the first on; the others are the caller's still
   * @throws Error when no path begins here, after end(), and when the pipeline has ended; RangeError for an empty or
   * too long packet, after which those before it are sent
   */
  send(packets: Uint8Array | readonly Uint8Array[], { queue = 0 }: SendOptions = {}): number {
    return this.sendFrom(this.inputOf(queue), asList(packets), 0);
  }

  /**
   * Sends all packets, waiting for room as long as it takes.
   * @throws as send(); Error, too, when the pipeline ends before all are sent
   */
  async write(packets: Uint8Array | readonly Uint8Array[], { queue = 0 }: SendOptions = {}): Promise<void> {
    const list = asList(packets);
    const input = this.inputOf(queue);
    for (let sent = 0; ; ) {
      const tail = input.ring.readTail();
      sent += this.sendFrom(input, list, sent);
      if (sent === list.length) return;
      await input.ring.untilRoom(tail);
      if (this.isOver) {
        throw new Error(
          `device "${this.id}": the pipeline ended with ${list.length - sent} packets still to be sent`,
        );
      }
    }
  }

  /** Sends all that an iterable gives, packets or lists of them, and then ends. @throws as write() */
  async feed(
    source: Iterable<Uint8Array | readonly Uint8Array[]> | AsyncIterable<Uint8Array | readonly Uint8Array[]>,
    options: SendOptions = {},
  ): Promise<void> {
    for await (const packets of source) await this.write(packets, options);
    this.end();
  }

  /** Nothing more will be sent. When every source of the pipeline has ended, the pipeline does, after all is drained. */
  end(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    for (const input of this.inputs) {
      input?.ring.end();
      if (input !== undefined) this.wake(input.worker);
    }
  }

  /** Packets that have arrived and were not taken yet; none: an empty list. Each call makes copies of its own. */
  take(): Uint8Array[] {
    const packets: Uint8Array[] = [];
    for (const ring of this.outputs) {
      let taken = false;
      for (let at = ring.next(); at !== 0; at = ring.next()) {
        packets.push(this.m.u8.slice(at, at + ring.length));
        taken = true;
      }
      if (taken) ring.release();
    }
    return packets;
  }

  /**
   * `for await (const packets of device)`: packets in batches as they arrive, until the pipeline has ended and all are
   * taken. While somebody iterates, a worker waits for room rather than drop packets; otherwise it drops what finds no
   * room, and counts it as `would-block`.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array[], void, void> {
    this.outputOf();
    this.setTaken(1);
    try {
      for (;;) {
        const sequence = Atomics.load(this.m.i32, this.sequence);
        const over = this.isOver;
        const packets = this.take();
        if (packets.length > 0) yield packets;
        else if (over) return;
        else {
          const waiting = Atomics.waitAsync(this.m.i32, this.sequence, sequence);
          if (waiting.async) await waiting.value;
        }
      }
    } finally {
      this.setTaken(-1);
    }
  }

  /**
   * Calls back with every batch of packets that arrives, until the pipeline has ended.
   * @returns settles then, or rejects with what the callback threw
   */
  async onPackets(callback: (packets: Uint8Array[]) => void | Promise<void>): Promise<void> {
    for await (const packets of this) await callback(packets);
  }

  /** For run(): the pipeline has ended. */
  over(): void {
    this.isOver = true;
    Atomics.add(this.m.i32, this.sequence, 1);
    Atomics.notify(this.m.i32, this.sequence);
    for (const input of this.inputs) input?.ring.wake();
  }

  private sendFrom({ worker, ring }: Input, packets: readonly Uint8Array[], first: number): number {
    let sent = 0;
    try {
      for (let i = first; i < packets.length; i++) {
        const packet = packets[i];
        if (packet.length === 0 || packet.length > this.longest) {
          throw new RangeError(
            `device "${this.id}": a packet of ${packet.length} bytes cannot be sent: 1 to ${this.longest} can (mtu)`,
          );
        }
        const at = ring.reserve(packet.length);
        if (at === 0) break;
        this.m.u8.set(packet, at);
        sent++;
      }
    } finally {
      if (sent > 0) {
        ring.publish();
        this.wake(worker);
      }
    }
    return sent;
  }

  private inputOf(queue: number): Input {
    const input = this.inputs[queue];
    if (input === undefined) {
      const why =
        this.inputs.length > 0
          ? `has the queues 0 to ${this.queues - 1}, not ${queue}`
          : "is where no path begins";
      throw new Error(`device "${this.id}" ${why}`);
    }
    if (this.isEnded) throw new Error(`device "${this.id}": end() was called, so nothing more can be sent`);
    if (this.isOver) throw new Error(`device "${this.id}": the pipeline has ended`);
    return input;
  }

  private outputOf(): void {
    if (this.outputs.length === 0) throw new Error(`device "${this.id}" is where no path ends`);
  }

  private setTaken(change: 1 | -1): void {
    this.takers += change;
    for (const ring of this.outputs) ring.setTaken(this.takers > 0);
  }
}

function asList(packets: Uint8Array | readonly Uint8Array[]): readonly Uint8Array[] {
  return packets instanceof Uint8Array ? [packets] : packets;
}
