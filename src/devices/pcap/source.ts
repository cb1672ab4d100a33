/**
 * Packets from a capture file. Each queue's worker reads the whole file and takes what belongs to its queue, so no
 * packet crosses threads. A file that cannot be read on ends the source; `close` throws why.
 */
import { DESCRIPTOR, HEADROOM } from "../../batches/layout.ts";
import { batchPop, batchPush, counterAdd, counterRead, descriptorReset } from "../../batches/memory.ts";
import { DROP_REASONS, type SoftSource } from "../../io/types.ts";
import { close, O_RDONLY, open } from "../../sys/calls.ts";
import { check } from "../../sys/errno.ts";
import { type Copy, makeCopy } from "../copy.ts";
import type { SoftPort } from "../port.ts";
import { Capture } from "./capture.ts";
import { queueOf } from "./queue.ts";
import { CaptureError, type Records } from "./records.ts";
import { PcapState } from "./state.ts";
import { PCAP_READ_BYTES, STATUS, Window } from "./window.ts";

/** Plain data, made by `preparePcap`. */
export interface PcapSourceOptions {
  /** The path; "-": standard input. */
  file: string;
  /** A pipe's descriptor, open; undefined: each queue opens the file for itself. */
  pipe?: { fd: number; taken: Uint8Array };
  layer: 2 | 3;
  pace: "asap" | "recorded";
  /** For PcapState: of the port's sink, if it has one. */
  mostRecords: number;
}

/** Records of other queues that one call passes over before it returns to the loop. */
const SCAN_LIMIT = 4096;
/** A pipe that has nothing is looked at again after this long. ns */
const DRY_WAIT = 5e6;
/** No descriptor is free: filters hold them. ns */
const FREE_WAIT = 100e3;
const TOO_LONG = 8 * DROP_REASONS.indexOf("too-long");

/** Closes what a thread that has ended had open. @returns whether another may go on: what came from a pipe is gone with it */
export function abandonPcapSource(port: Pick<SoftPort, "m" | "buffer">, options: PcapSourceOptions): boolean {
  if (options.pipe !== undefined) return false;
  const state = new PcapState(port.m, port.buffer, options.mostRecords);
  if (state.descriptor >= 0) close(state.descriptor);
  state.descriptor = -1;
  return true;
}

/** @throws SystemError when the file cannot be opened */
export function openPcapSource(port: SoftPort, options: PcapSourceOptions): SoftSource {
  if (options.pipe !== undefined) return new PcapSource(port, options, options.pipe.fd);
  const fd = check(open(options.file, O_RDONLY), "open", options.file);
  return new PcapSource(port, options, fd);
}

class PcapSource implements SoftSource {
  private readonly port: SoftPort;
  private readonly options: PcapSourceOptions;
  private readonly fd: number;
  private readonly copy: Copy;
  private readonly capture: Capture;
  private readonly deviceQueue: number;
  private records: Records | undefined;
  /** The record at hand belongs to this queue and has not been taken. */
  private pending = false;
  private error: Error | undefined;
  private readonly state: PcapState;
  /** Records of this queue that a worker before this one has sent. */
  private sent: number;
  /** So the record that comes after these is due at once. */
  private goesOn: boolean;
  /** CLOCK_MONOTONIC when the first record of the file was read, -1: none was; and that record's own time. */
  private started = -1;
  private firstHigh = 0;
  private firstLow = 0;

  constructor(port: SoftPort, options: PcapSourceOptions, fd: number) {
    this.port = port;
    this.options = options;
    this.fd = fd;
    this.copy = makeCopy(port.m.memory);
    this.deviceQueue = port.device | (port.queue << 8);
    const buffer = { address: port.buffer.address, bytes: PCAP_READ_BYTES };
    const window = new Window(port.m, buffer, { name: options.file, fd, pipe: options.pipe !== undefined });
    if (options.pipe !== undefined) window.prepend(options.pipe.taken);
    this.capture = new Capture(window);
    this.state = new PcapState(port.m, port.buffer, options.mostRecords);
    if (options.pipe === undefined) this.state.descriptor = fd;
    this.sent = counterRead(port.m, port.counters.rxPackets);
    this.goesOn = this.sent > 0;
  }

  receive(batch: number, max: number, now: number): number {
    if (this.error !== undefined) return Number.POSITIVE_INFINITY;
    let taken = 0;
    for (let scanned = 0; taken < max && scanned < SCAN_LIMIT; scanned++) {
      if (!this.pending) {
        const status = this.records === undefined ? this.begin() : this.records.next();
        if (status !== STATUS.READY) return this.noRecord(status);
        if (this.records === undefined || !this.isOurs(now)) continue;
        if (this.sent > 0) {
          this.sent--;
          continue;
        }
        if (this.goesOn) this.started -= this.dueIn(now);
        this.goesOn = false;
        this.pending = true;
      }
      if (this.options.pace === "recorded") {
        const wait = this.dueIn(now);
        if (wait > 0) return wait;
      }
      const d = batchPop(this.port.m, this.port.free);
      if (d === 0) return taken > 0 ? 0 : FREE_WAIT;
      this.pending = false;
      if (this.take(d)) {
        batchPush(this.port.m, batch, d);
        taken++;
      }
    }
    return 0;
  }

  close(): void {
    this.state.descriptor = -1;
    if (this.options.pipe === undefined) close(this.fd);
    if (this.error !== undefined) throw this.error;
  }

  private begin(): number {
    const status = this.capture.head();
    if (status !== STATUS.READY) {
      this.error = this.capture.error;
      return status;
    }
    const records = this.capture.records!;
    if (records.layer !== this.options.layer) {
      this.error = new CaptureError(
        `${this.options.file}: has changed since it was checked: its packets are layer ${records.layer} now`,
      );
      return STATUS.FAILED;
    }
    this.records = records;
    return records.next();
  }

  /** @returns what `receive` returns */
  private noRecord(status: number): number {
    if (status === STATUS.DRY) return DRY_WAIT;
    if (status === STATUS.FAILED) this.error ??= this.records?.error;
    return Number.POSITIVE_INFINITY;
  }

  /** Looks at a record that was just read. */
  private isOurs(now: number): boolean {
    const { data, length, layer, time } = this.records!;
    if (this.started < 0) {
      this.started = now;
      this.firstHigh = time.high;
      this.firstLow = time.low;
    }
    const { queues, queue, m } = this.port;
    return queues === 1 || queueOf(m.u8, data, length, layer, queues) === queue;
  }

  /** ns until as much time has passed since the start as between the first record and this one. */
  private dueIn(now: number): number {
    const { time } = this.records!;
    const recorded = (time.high - this.firstHigh) * 4294967296 + (time.low - this.firstLow);
    return this.started + recorded - now;
  }

  /** Fills a descriptor with the record at hand. @returns false: it is too long, was counted, and the descriptor is free */
  private take(d: number): boolean {
    const { m, counters, free } = this.port;
    const { data, length, time } = this.records!;
    const slot = m.u32[(d + DESCRIPTOR.SLOT) >>> 2];
    if (length > m.u32[(d + DESCRIPTOR.CAPACITY) >>> 2] - HEADROOM) {
      batchPush(m, free, d);
      // Dissect will never see it: it came in all the same.
      counterAdd(m, counters.rxPackets, 1);
      counterAdd(m, counters.rxBytes, length);
      counterAdd(m, counters.rxDatagrams, 1);
      counterAdd(m, counters.drops + TOO_LONG, 1);
      return false;
    }
    descriptorReset(m, d, slot + HEADROOM, length, this.deviceQueue);
    m.u32[(d + DESCRIPTOR.TIMESTAMP) >>> 2] = time.low;
    m.u32[(d + DESCRIPTOR.TIMESTAMP + 4) >>> 2] = time.high;
    this.copy(slot + HEADROOM, data, length);
    return true;
  }
}
