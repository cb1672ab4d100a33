/**
 * The engine for kernels with io_uring: the writes of a round and the reads of the next go down in one system call.
 * Packets are read into the pipeline's memory and written from it; the kernel holds a descriptor from push to completion.
 *
 * Each queue that is read has a burst: how many reads it asks for at once. A burst that comes back full doubles, one
 * that comes back short shrinks to what came, and after one that comes back empty the queue is left to one parked read.
 * Reads of a burst, and writes, say RWF_NOWAIT: without it, since TUN supports nowait, io_uring parks a read from an empty
 * queue and a write to a full one even on a nonblocking descriptor. For reads that is what the parked one is for: who
 * sleeps wakes up with the packet in hand, not with the news of it. A write would hold up all queues of its worker.
 */
import { BATCH, BATCH_PACKETS, DESCRIPTOR, HEADROOM } from "../../batches/layout.ts";
import {
  batchCount,
  batchPop,
  batchPush,
  counterAdd,
  descriptorReset,
  type PacketMemory,
} from "../../batches/memory.ts";
import type { WorkerPlan } from "../../plan/types.ts";
import { clockMonotonic, eventfdDrain, POLLIN } from "../../sys/calls.ts";
import { EAGAIN, EBADFD, ECANCELED, EFAULT, EINTR, EIO, SystemError } from "../../sys/errno.ts";
import {
  IORING_OP_ASYNC_CANCEL,
  IORING_OP_POLL_ADD,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IOSQE_FIXED_FILE,
  RWF_NOWAIT,
} from "../../sys/io_uring.ts";
import { addressOf } from "../../sys/memory.ts";
import { dropTooLong, GONE, RefusedWrites } from "../drops.ts";
import type { Engine, KernelPort } from "../types.ts";
import { forgetRing, rememberRing } from "./orphan.ts";
import { Ring } from "./ring.ts";

const FIXED = IOSQE_FIXED_FILE << 8;
const READ = IORING_OP_READ | FIXED;
const WRITE = IORING_OP_WRITE | FIXED;
const POLL = IORING_OP_POLL_ADD | FIXED;
const CANCEL = IORING_OP_ASYNC_CANCEL;
/** What an SQE is about, above the port's index in the upper half of user_data. */
const KIND = {
  READ: 1 << 16,
  WRITE: 2 << 16,
  POLL: 3 << 16,
  WAKE: 4 << 16,
  PARKED: 5 << 16,
  CANCEL: 6 << 16,
  MASK: 7 << 16,
  PORT: 0xffff,
} as const;

const FIRST_BURST = 4;
/** An interface that is down answers reads and polls with an error at once: look again after this long. ns */
const DOWN_RETRY = 100e6;

/** WOKEN: a parked read brought a packet and ended a sleep; another is parked in the next turn, behind the writes. */
const QUEUE = { READING: 0, WAITING: 1, WOKEN: 2, DOWN: 3, UNREAD: 4 } as const;

interface Queue {
  port: KernelPort;
  deviceQueue: number;
  state: number;
  burst: number;
  /** Of the burst under way: reads asked for, packets and refusals so far. */
  asked: number;
  got: number;
  dry: number;
  /** Descriptor of the parked read; 0: there is none. */
  parked: number;
  /** When a queue whose interface is down is looked at again, CLOCK_MONOTONIC ns. */
  retryAt: number;
}

export class UringEngine implements Engine {
  readonly name = "uring";
  private readonly m: PacketMemory;
  private readonly base: number;
  /** Of the worker. */
  private readonly control: number;
  private readonly free: number;
  private readonly room: number;
  private readonly wake: number;
  private readonly queues: Queue[];
  private readonly ring: Ring;
  /** Reads and writes pushed and not completed; polls do not count. */
  private underWay = 0;
  private asleep = false;
  private anyDown = false;
  private readonly anyRead: boolean;
  private readonly refusedWrites: RefusedWrites;
  /** A device is gone: thrown once, when all completions at hand are accounted for. */
  private failure: SystemError | undefined;

  /** @throws SystemError when io_uring is not to be had */
  constructor(m: PacketMemory, worker: WorkerPlan, ports: KernelPort[], wake: number) {
    this.m = m;
    this.base = addressOf(m.memory.buffer);
    this.control = worker.control;
    this.free = worker.free;
    this.room = worker.slots.bytes - HEADROOM;
    this.wake = wake;
    this.queues = ports.map((port) => ({
      port,
      deviceQueue: port.plan.device | (port.plan.queue << 8),
      state: port.plan.path < 0 ? QUEUE.UNREAD : QUEUE.READING,
      burst: FIRST_BURST,
      asked: 0,
      got: 0,
      dry: 0,
      parked: 0,
      retryAt: 0,
    }));
    this.anyRead = this.queues.some((queue) => queue.state === QUEUE.READING);
    this.refusedWrites = new RefusedWrites(m);
    // Every slot of the worker may be under way at once, and every port and the eventfd may be polled.
    this.ring = new Ring(worker.slots.count + ports.length + 1);
    try {
      this.ring.registerFiles([...ports.map((port) => port.fd), wake]);
      this.pollWake();
      rememberRing(m, worker.control, this.ring.mapping);
    } catch (error) {
      this.ring.close();
      throw error;
    }
  }

  get warnings(): readonly string[] {
    return this.refusedWrites.warnings;
  }

  turn(): void {
    if (this.anyDown) this.reviveDown();
    for (let i = 0; i < this.queues.length; i++) {
      const queue = this.queues[i];
      if (queue.state === QUEUE.READING && queue.asked === 0) this.pushReads(i);
      else if (queue.state === QUEUE.WOKEN) this.park(i);
    }
    // Reads that say NOWAIT and writes to a TUN complete while they are submitted, so this waits for nothing. With
    // nothing under way, polls are still submitted and told of by this call alone, however busy other sources are.
    if (this.underWay > 0 || this.anyRead) this.ring.enter(this.underWay);
    this.collect();
  }

  receive(index: number): number {
    return batchCount(this.m, this.queues[index].port.plan.rxBatch);
  }

  transmit(index: number): void {
    const m = this.m;
    const { plan, header } = this.queues[index].port;
    const count = batchCount(m, plan.txBatch);
    const entries = (plan.txBatch + BATCH.ENTRIES) >>> 2;
    for (let i = 0; i < count; i++) {
      const d = m.u32[entries + i];
      const data = this.base + m.u32[(d + DESCRIPTOR.DATA) >>> 2] - header;
      const length = m.u32[(d + DESCRIPTOR.LENGTH) >>> 2] + header;
      this.ring.push(WRITE, index, data, length, RWF_NOWAIT, d, KIND.WRITE | index);
    }
    this.underWay += count;
    m.u32[plan.txBatch >>> 2] = 0;
  }

  /** Reads of a burst are not under way between turns: they complete, dry or not, in the enter that submits them. */
  settle(): void {
    for (let i = 0; i < this.queues.length; i++) this.cancelParked(i);
    while (this.underWay > 0 || this.isAnyParked()) {
      this.ring.enter(Math.max(1, this.underWay));
      this.complete();
    }
    this.collect();
  }

  wait(timeout: number): void {
    let limit = timeout;
    if (this.anyDown) limit = Math.min(limit, DOWN_RETRY);
    // A burst just came back dry, or writes are still to be submitted: then there is no time to sleep in this call.
    if (this.underWay > 0) return;
    for (let i = 0; i < this.queues.length; i++) {
      const { state } = this.queues[i];
      if (state === QUEUE.READING || state === QUEUE.WOKEN) return;
    }
    this.asleep = true;
    this.ring.enter(1, Math.max(0, limit));
    this.collect();
    this.asleep = false;
  }

  close(): void {
    try {
      // What was transmitted last has not been submitted yet.
      for (let i = 0; this.underWay > 0 && i < 100; i++) {
        this.ring.enter(this.underWay, 10e6);
        this.complete();
      }
    } finally {
      forgetRing(this.m, this.control);
      this.ring.close();
    }
  }

  private pushReads(index: number): void {
    const queue = this.queues[index];
    const { header } = queue.port;
    const most = Math.min(queue.burst, BATCH_PACKETS, this.ring.room);
    let asked = 0;
    while (asked < most) {
      const d = batchPop(this.m, this.free);
      if (d === 0) break;
      const data = this.base + this.m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM - header;
      this.ring.push(READ, index, data, this.room + header, RWF_NOWAIT, d, KIND.READ | index);
      asked++;
    }
    this.underWay += asked;
    queue.asked = asked;
    queue.got = 0;
    queue.dry = 0;
  }

  private collect(): void {
    this.complete();
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /** Reads every completion there is, then decides how each queue goes on. */
  private complete(): void {
    const count = this.ring.completions;
    for (let i = 0; i < count; i++) {
      const kind = this.ring.kind(i);
      const result = this.ring.result(i);
      const index = kind & KIND.PORT;
      switch (kind & KIND.MASK) {
        case KIND.READ:
          this.readDone(index, this.ring.user(i), result);
          break;
        case KIND.WRITE:
          this.writeDone(index, this.ring.user(i), result);
          break;
        case KIND.PARKED:
          this.parkedDone(index, result);
          break;
        case KIND.POLL:
          this.queues[index].state = QUEUE.READING;
          break;
        case KIND.CANCEL:
          break;
        default:
          eventfdDrain(this.wake);
          this.pollWake();
      }
    }
    if (count > 0) this.ring.consume(count);
    for (let i = 0; i < this.queues.length; i++) {
      const queue = this.queues[i];
      if (queue.state === QUEUE.READING && queue.asked > 0 && queue.got + queue.dry >= queue.asked)
        this.burstDone(i);
    }
  }

  private readDone(index: number, d: number, result: number): void {
    const queue = this.queues[index];
    this.underWay--;
    if (this.take(queue, d, result)) queue.got++;
    else queue.dry++;
  }

  private parkedDone(index: number, result: number): void {
    const queue = this.queues[index];
    const d = queue.parked;
    queue.parked = 0;
    // A packet that was there when the read was parked has others behind it; one that ended a sleep often has not.
    queue.state = this.asleep ? QUEUE.WOKEN : QUEUE.READING;
    if (!this.take(queue, d, result) && queue.state === QUEUE.WOKEN) queue.state = QUEUE.READING;
  }

  /** @returns whether a read has got a packet; if not, its queue may have another state now */
  private take(queue: Queue, d: number, result: number): boolean {
    const m = this.m;
    const length = result - queue.port.header;
    if (length === this.room) {
      batchPush(m, this.free, d);
      dropTooLong(m, queue.port, length);
      return true;
    }
    if (length > 0) {
      descriptorReset(m, d, m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM, length, queue.deviceQueue);
      batchPush(m, queue.port.plan.rxBatch, d);
      return true;
    }
    batchPush(m, this.free, d);
    if (result >= 0 || result === -EAGAIN || result === -EINTR || result === -ECANCELED) return false;
    if (result !== -EFAULT && result !== -EIO) {
      const detail = result === -EBADFD ? GONE : undefined;
      this.failure ??= new SystemError("read", queue.port.label, result, { detail });
      queue.state = QUEUE.UNREAD;
      return false;
    }
    queue.state = QUEUE.DOWN;
    queue.retryAt = clockMonotonic() + DOWN_RETRY;
    this.anyDown = true;
    return false;
  }

  private writeDone(index: number, d: number, result: number): void {
    const m = this.m;
    const { port } = this.queues[index];
    const { counters } = port.plan;
    this.underWay--;
    if (result < 0) {
      if (this.refusedWrites.finishInstead(port, d, result)) return;
      this.failure = this.refusedWrites.count(port, -result) ?? this.failure;
    } else {
      if (port.header > 0) this.refusedWrites.written(port, d);
      counterAdd(m, counters.txPackets, 1);
      counterAdd(m, counters.txBytes, m.u32[(d + DESCRIPTOR.LENGTH) >>> 2]);
      counterAdd(m, counters.txDatagrams, m.u32[(d + DESCRIPTOR.DATAGRAMS) >>> 2]);
    }
    batchPush(m, this.free, d);
  }

  private burstDone(index: number): void {
    const queue = this.queues[index];
    if (queue.got === 0) {
      this.park(index);
    } else if (queue.dry === 0) {
      queue.burst = Math.min(queue.burst * 2, BATCH_PACKETS);
    } else {
      queue.burst = Math.min(Math.max(FIRST_BURST, queue.got + FIRST_BURST), BATCH_PACKETS);
    }
    queue.asked = 0;
  }

  /** The queue is dry: one read stays with the kernel; filters may hold every slot, then a poll. */
  private park(index: number): void {
    const queue = this.queues[index];
    queue.state = QUEUE.WAITING;
    queue.burst = FIRST_BURST;
    const d = batchPop(this.m, this.free);
    queue.parked = d;
    if (d === 0) {
      this.ring.push(POLL, index, 0, 0, POLLIN, 0, KIND.POLL | index);
      return;
    }
    const { header } = queue.port;
    const data = this.base + this.m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM - header;
    this.ring.push(READ, index, data, this.room + header, 0, 0, KIND.PARKED | index);
  }

  /** Its completion still comes, with a packet if one was faster. */
  private cancelParked(index: number): void {
    if (this.queues[index].parked === 0) return;
    const user = (KIND.PARKED | index) * 4294967296;
    this.ring.push(CANCEL, -1, user, 0, 0, 0, KIND.CANCEL);
  }

  private isAnyParked(): boolean {
    for (let i = 0; i < this.queues.length; i++) if (this.queues[i].parked !== 0) return true;
    return false;
  }

  private pollWake(): void {
    this.ring.push(POLL, this.queues.length, 0, 0, POLLIN, 0, KIND.WAKE);
  }

  private reviveDown(): void {
    const now = clockMonotonic();
    this.anyDown = false;
    for (let i = 0; i < this.queues.length; i++) {
      const queue = this.queues[i];
      if (queue.state !== QUEUE.DOWN) continue;
      if (now < queue.retryAt) {
        this.anyDown = true;
      } else {
        queue.state = QUEUE.READING;
        queue.burst = FIRST_BURST;
        queue.asked = 0;
      }
    }
  }
}
