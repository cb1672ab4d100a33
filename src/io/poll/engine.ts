/**
 * The engine for every kernel and container: read and write on nonblocking descriptors, poll(2) when all are dry.
 * Packets go from the kernel into the pipeline's memory and back with no copy between. A system call costs 20 to 50 ns
 * over the kernel's own time when called with plain numbers, so one read and one write a packet come close to C.
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
import { clockMonotonic, eventfdDrain, ppoll, read, write } from "../../sys/calls.ts";
import { EAGAIN, EBADFD, EFAULT, EINTR, EIO, SystemError } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";
import { dropTooLong, GONE, RefusedWrites } from "../drops.ts";
import type { Engine, KernelPort } from "../types.ts";

const POLLIN = 1;
/** struct pollfd: int fd; short events, revents. */
const POLLFD_BYTES = 8;
/** An interface that is down answers reads and poll with an error at once: look again after this long. ns */
const DOWN_RETRY = 100e6;

export class PollEngine implements Engine {
  readonly name = "poll";
  private readonly m: PacketMemory;
  private readonly base: number;
  private readonly free: number;
  private readonly room: number;
  private readonly ports: KernelPort[];
  private readonly wake: number;
  private readonly deviceQueue: number[];
  /** Pollfds: one a port that is read, the worker's eventfd last. */
  private readonly pollfds: Int32Array;
  private readonly pollfdsAddress: number;
  /** By port: until when it is left alone because its interface is down (CLOCK_MONOTONIC ns), 0: it is up. */
  private readonly downUntil: Float64Array;
  private anyDown = false;
  private readonly refusedWrites: RefusedWrites;

  constructor(m: PacketMemory, worker: WorkerPlan, ports: KernelPort[], wake: number) {
    this.m = m;
    this.base = addressOf(m.memory.buffer);
    this.free = worker.free;
    this.room = worker.slots.bytes - HEADROOM;
    this.ports = ports;
    this.refusedWrites = new RefusedWrites(m);
    this.wake = wake;
    this.deviceQueue = ports.map((port) => port.plan.device | (port.plan.queue << 8));
    this.downUntil = new Float64Array(ports.length);
    this.pollfds = new Int32Array(new SharedArrayBuffer(POLLFD_BYTES * (ports.length + 1)));
    this.pollfdsAddress = addressOf(this.pollfds);
    this.pollfds[2 * ports.length] = wake;
    for (let i = 0; i <= ports.length; i++) this.pollfds[2 * i + 1] = POLLIN;
  }

  get warnings(): readonly string[] {
    return this.refusedWrites.warnings;
  }

  turn(): void {}

  receive(index: number): number {
    const m = this.m;
    const port = this.ports[index];
    if (this.anyDown && this.stillDown(index)) return 0;
    const batch = port.plan.rxBatch;
    let count = 0;
    for (let reads = 0; reads < BATCH_PACKETS; reads++) {
      const d = batchPop(m, this.free);
      if (d === 0) break;
      const data = m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
      const result = read(port.fd, this.base + data - port.header, this.room + port.header);
      const length = result - port.header;
      if (length <= 0) {
        batchPush(m, this.free, d);
        if (result === -EAGAIN || result >= 0) break;
        if (result === -EINTR) continue;
        this.refused(index, -result);
        break;
      }
      if (length === this.room) {
        batchPush(m, this.free, d);
        dropTooLong(m, port, length);
        continue;
      }
      descriptorReset(m, d, data, length, this.deviceQueue[index]);
      batchPush(m, batch, d);
      count++;
    }
    return count;
  }

  transmit(index: number): void {
    const m = this.m;
    const port = this.ports[index];
    const { fd, plan, header } = port;
    const entries = (plan.txBatch + BATCH.ENTRIES) >>> 2;
    const count = batchCount(m, plan.txBatch);
    let packets = 0;
    let bytes = 0;
    let datagrams = 0;
    let failure: SystemError | undefined;
    let kept = entries;
    for (let i = 0; i < count; i++) {
      const d = m.u32[entries + i];
      const at = d >>> 2;
      const length = m.u32[at + (DESCRIPTOR.LENGTH >>> 2)];
      const address = this.base + m.u32[at + (DESCRIPTOR.DATA >>> 2)] - header;
      let result = write(fd, address, length + header);
      while (result === -EINTR) result = write(fd, address, length + header);
      if (result < 0 && this.refusedWrites.finishInstead(port, d, result)) continue;
      m.u32[kept++] = d;
      if (result < 0) {
        failure = this.refusedWrites.count(port, -result) ?? failure;
        continue;
      }
      if (header > 0) this.refusedWrites.written(port, d);
      packets++;
      bytes += length;
      datagrams += m.u32[at + (DESCRIPTOR.DATAGRAMS >>> 2)];
    }
    m.u32[plan.txBatch >>> 2] = kept - entries;
    // From the last to the first onto the free list, so that the slot read next is the one written first: the
    // longest out of the kernel's hands and still in the cache.
    while (batchCount(m, plan.txBatch) > 0) batchPush(m, this.free, batchPop(m, plan.txBatch));
    counterAdd(m, plan.counters.txPackets, packets);
    counterAdd(m, plan.counters.txBytes, bytes);
    counterAdd(m, plan.counters.txDatagrams, datagrams);
    if (failure !== undefined) throw failure;
  }

  settle(): void {}

  wait(timeout: number): void {
    const n = this.ports.length;
    let limit = timeout;
    for (let i = 0; i < n; i++) {
      const asleep = this.ports[i].plan.path < 0 || this.downUntil[i] !== 0;
      // poll(2) passes over a negative descriptor.
      this.pollfds[2 * i] = asleep ? -1 : this.ports[i].fd;
      if (this.downUntil[i] !== 0) limit = Math.min(limit, DOWN_RETRY);
    }
    const ready = ppoll(
      this.pollfdsAddress,
      n + 1,
      limit === Number.POSITIVE_INFINITY ? -1 : Math.max(0, limit),
    );
    if (ready < 0 && ready !== -EINTR) throw new SystemError("ppoll", "", ready);
    if (ready > 0 && this.pollfds[2 * n + 1] >>> 16 !== 0) eventfdDrain(this.wake);
  }

  close(): void {}

  private stillDown(index: number): boolean {
    const until = this.downUntil[index];
    if (until === 0) return false;
    if (clockMonotonic() < until) return true;
    this.downUntil[index] = 0;
    this.anyDown = this.downUntil.some((time) => time !== 0);
    return false;
  }

  /** A read failed for good or for now. */
  private refused(index: number, errno: number): void {
    if (errno !== EFAULT && errno !== EIO) {
      const detail = errno === EBADFD ? GONE : undefined;
      throw new SystemError("read", this.ports[index].label, errno, { detail });
    }
    this.downUntil[index] = clockMonotonic() + DOWN_RETRY;
    this.anyDown = true;
  }
}
