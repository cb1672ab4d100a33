/**
 * Packets into a capture file. Each port gathers whole records in its own buffer and writes them with one write(2) under
 * a lock, so that ports of several workers share a file, or a pipe that takes only part of a write at a time. A packet
 * counts as transmitted when the kernel has all of its record; one that it refused is a drop (io-error).
 *
 * Who reads a pipe may be slow, or read nothing. Where all packets come from files or are made, that holds the worker, and
 * nothing is lost. Where they come from devices that wait for nobody, the pipe gets what it has room for; the rest waits in
 * the buffer, and what finds no room there is dropped (would-block). A record that the pipe took the first part of is
 * ended by the port that began it, which keeps the lock until then.
 */
import { fstatSync, ftruncateSync } from "node:fs";
import { COMMAND } from "../../batches/control.ts";
import { DESCRIPTOR } from "../../batches/layout.ts";
import { batchAt, batchCount, batchMove, counterAdd } from "../../batches/memory.ts";
import { DROP_REASONS, type SoftSink } from "../../io/types.ts";
import { EAGAIN, SystemError } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";
import { type Copy, makeCopy } from "../copy.ts";
import type { SoftPort } from "../port.ts";
import { readU32, writeU32 } from "./bytes.ts";
import { PCAP, PCAPNG } from "./formats.ts";
import type { CaptureFormat } from "./header.ts";
import { lockAcquire, lockBreak, lockRelease, lockSpoil, lockTry } from "./lock.ts";
import { PcapState } from "./state.ts";
import { SecondsAndNanoseconds, U64 } from "./timestamp.ts";
import { Writer } from "./writer.ts";

/** Bytes of memory that writing a capture needs for each port. */
export const PCAP_WRITE_BYTES = 256 * 1024;
/** Records that they have room for. */
export const MOST_RECORDS = PCAP_WRITE_BYTES / PCAP.RECORD_HEADER;

/** Plain data, made by `preparePcap` and `PreparedPcap.create`. */
export interface PcapSinkOptions {
  /** The path; "-": standard output. */
  file: string;
  /** Open, its header written, appending. The main thread closes it when all workers have ended. */
  fd: number;
  format: CaptureFormat;
  /** Where in the port's buffer the sink's part begins. */
  bufferOffset: number;
  /** Indices of devices whose packets have the time of a record; all others have CLOCK_MONOTONIC. */
  recorded: number[];
  /** ns since the epoch minus CLOCK_MONOTONIC, as two u32. */
  epoch: { high: number; low: number };
  /** A pipe or socket whose reader nobody waits for. */
  live: boolean;
}

const DROPS = {
  tooLong: 8 * DROP_REASONS.indexOf("too-long"),
  ioError: 8 * DROP_REASONS.indexOf("io-error"),
  wouldBlock: 8 * DROP_REASONS.indexOf("would-block"),
} as const;

export function openPcapSink(port: SoftPort, options: PcapSinkOptions): SoftSink {
  return new PcapSink(port, options);
}

/** Frees the file for the others when the thread that had this port died while it was writing. */
export function breakPcapLock(port: Pick<SoftPort, "m" | "lock" | "buffer">): boolean {
  return lockBreak(port.m, port.lock, ownerOf(port.buffer));
}

/** Buffers are cache lines of their own beyond the first page, so this is a number above 0, different for each port. */
function ownerOf(buffer: { address: number }): number {
  return buffer.address >>> 6;
}

/** Has a pipe part of a record from a thread that has ended? Then the lock is its port's until it has the rest. */
export function isWithinRecord(port: Pick<SoftPort, "m" | "buffer">): boolean {
  return new PcapState(port.m, port.buffer, MOST_RECORDS).begun > 0;
}

/** Packets that wait in the buffer of a thread that has ended: the next one will write them. */
export function pcapRecordsWaiting(port: Pick<SoftPort, "m" | "buffer">): number {
  return new PcapState(port.m, port.buffer, MOST_RECORDS).records;
}

class PcapSink implements SoftSink {
  private readonly port: SoftPort;
  private readonly options: PcapSinkOptions;
  private readonly copy: Copy;
  private readonly base: number;
  private readonly buffer: number;
  /** Bytes a record has beside its packet, without padding. */
  private readonly overhead: number;
  private readonly isRecorded: Uint8Array;
  private readonly time = new U64();
  private readonly split = new SecondsAndNanoseconds();
  private readonly writer: Writer;
  /** What waits in the buffer. */
  private used: number;
  private records: number;
  /** Of the first record in the buffer: bytes that the pipe has; above 0, the lock is held. */
  private begun: number;
  private readonly state: PcapState;
  private reported = false;

  constructor(port: SoftPort, options: PcapSinkOptions) {
    this.port = port;
    this.options = options;
    this.copy = makeCopy(port.m.memory);
    this.base = addressOf(port.m.memory.buffer);
    this.buffer = port.buffer.address + options.bufferOffset;
    this.overhead = options.format === "pcap" ? PCAP.RECORD_HEADER : PCAPNG.PACKET_DATA + 4;
    this.isRecorded = new Uint8Array(256);
    for (const device of options.recorded) this.isRecorded[device] = 1;
    this.state = new PcapState(port.m, port.buffer, MOST_RECORDS);
    // A worker before this one may have left some.
    this.used = this.state.used;
    this.records = this.state.records;
    this.begun = this.state.begun;
    const { m, command } = port;
    const isStopped = () => command === 0 || Atomics.load(m.i32, command >>> 2) === COMMAND.STOP;
    this.writer = new Writer(options.fd, isStopped);
  }

  /** @throws SystemError once, when all of the batch has been counted */
  transmit(batch: number): void {
    const { m, free, counters } = this.port;
    const count = batchCount(m, batch);
    for (let i = 0; i < count; i++) {
      const d = batchAt(m, batch, i);
      const length = m.u32[(d + DESCRIPTOR.LENGTH) >>> 2];
      const bytes = this.overhead + (this.options.format === "pcap" ? length : (length + 3) & ~3);
      if (bytes > PCAP_WRITE_BYTES) {
        counterAdd(m, counters.drops + DROPS.tooLong, 1);
        continue;
      }
      if (this.used + bytes > PCAP_WRITE_BYTES) this.hand();
      if (this.used + bytes > PCAP_WRITE_BYTES) counterAdd(m, counters.drops + DROPS.wouldBlock, 1);
      else if (this.writer.errno !== 0) counterAdd(m, counters.drops + DROPS.ioError, 1);
      else this.append(d, length, bytes);
    }
    batchMove(m, batch, free);
    this.state.waiting(this.used, this.records, this.begun);
    this.report();
  }

  /** Hands the kernel what was gathered. It does not wait for the disk (fsync). @throws SystemError, once */
  flush(): void {
    this.hand();
    this.state.waiting(this.used, this.records, this.begun);
    this.report();
  }

  /** Something waits for room in a pipe. */
  get pending(): boolean {
    return this.used > 0;
  }

  close(): void {
    this.flush();
    if (this.used > 0) this.giveUp();
    this.report();
  }

  private hand(): void {
    if (this.options.live) this.offer();
    else this.drain();
  }

  /** What the pipe has room for, unless another port is at it. */
  private offer(): void {
    const { m, lock } = this.port;
    if (this.used === 0 || (this.begun === 0 && !lockTry(m, lock, ownerOf(this.port.buffer)))) return;
    const written = this.writer.offer(this.base + this.buffer + this.begun, this.used - this.begun);
    this.gone(this.begun + written);
    if (this.writer.errno !== 0) this.drop(DROPS.ioError);
    if (this.begun === 0) lockRelease(m, lock);
  }

  /** The end: a reader that still reads gets what waits, for as long as there is time. */
  private giveUp(): void {
    const { m, lock } = this.port;
    if (this.begun === 0 && !lockAcquire(m, lock, ownerOf(this.port.buffer))) {
      this.drop(DROPS.wouldBlock);
      return;
    }
    const written = this.writer.write(this.base + this.buffer + this.begun, this.used - this.begun);
    this.gone(this.begun + written);
    const isCut = this.begun > 0;
    if (this.writer.errno === EAGAIN) this.writer.errno = 0;
    this.drop(this.writer.errno === 0 ? DROPS.wouldBlock : DROPS.ioError);
    // What came behind half a record would be read as its other half.
    if (isCut) lockSpoil(m, lock);
    else lockRelease(m, lock);
  }

  /** The pipe has `bytes` of the buffer: whole records leave it. */
  private gone(bytes: number): void {
    const whole = this.wholeBytes(bytes);
    const packets = this.count(whole);
    const { u8 } = this.port.m;
    u8.copyWithin(this.buffer, this.buffer + whole, this.buffer + this.used);
    this.state.datagrams.copyWithin(0, packets, this.records);
    this.used -= whole;
    this.records -= packets;
    this.begun = bytes - whole;
  }

  /** All that waits, for one reason. */
  private drop(reason: number): void {
    counterAdd(this.port.m, this.port.counters.drops + reason, this.records);
    this.used = 0;
    this.records = 0;
    this.begun = 0;
  }

  private append(d: number, length: number, bytes: number): void {
    const { m } = this.port;
    const at = this.buffer + this.used;
    const data = this.options.format === "pcap" ? PCAP.RECORD_HEADER : PCAPNG.PACKET_DATA;
    this.setTime(d);
    if (this.options.format === "pcap") this.writePcapHeader(at, length);
    else this.writePcapngFrame(at, length, bytes);
    this.copy(at + data, m.u32[(d + DESCRIPTOR.DATA) >>> 2], length);
    this.state.datagrams[this.records++] = m.u32[(d + DESCRIPTOR.DATAGRAMS) >>> 2];
    this.used += bytes;
  }

  /** The packet's time in ns since the epoch. */
  private setTime(d: number): void {
    const { u32, u8 } = this.port.m;
    const { epoch } = this.options;
    this.time.set(u32[(d + DESCRIPTOR.TIMESTAMP + 4) >>> 2], u32[(d + DESCRIPTOR.TIMESTAMP) >>> 2]);
    if (this.isRecorded[u8[d + DESCRIPTOR.DEVICE]] === 0) this.time.add(epoch.high, epoch.low);
  }

  private writePcapHeader(at: number, length: number): void {
    const { u8 } = this.port.m;
    this.split.set(this.time.high, this.time.low);
    writeU32(u8, at, this.split.seconds);
    writeU32(u8, at + PCAP.RECORD_FRACTION, this.split.nanoseconds);
    writeU32(u8, at + PCAP.RECORD_CAPTURED, length);
    writeU32(u8, at + PCAP.RECORD_LENGTH, length);
  }

  /** Everything of an enhanced packet block but the packet: header, padding, trailer. */
  private writePcapngFrame(at: number, length: number, bytes: number): void {
    const { u8 } = this.port.m;
    writeU32(u8, at, PCAPNG.ENHANCED_PACKET);
    writeU32(u8, at + 4, bytes);
    writeU32(u8, at + 8, 0);
    writeU32(u8, at + 12, this.time.high);
    writeU32(u8, at + 16, this.time.low);
    writeU32(u8, at + 20, length);
    writeU32(u8, at + 24, length);
    // The padding lies in the last four bytes before the trailer, which the packet then overwrites in part.
    if (length % 4 !== 0) writeU32(u8, at + bytes - 8, 0);
    writeU32(u8, at + bytes - 4, bytes);
  }

  private drain(): void {
    if (this.used === 0) return;
    const { m, lock } = this.port;
    let written = 0;
    // Only who lets a pipe's reader have part of a record spoils a lock.
    lockAcquire(m, lock, ownerOf(this.port.buffer));
    try {
      written = this.writer.write(this.base + this.buffer, this.used);
      if (written < this.used) this.cutOff(written - this.wholeBytes(written));
    } finally {
      lockRelease(m, lock);
    }
    this.records -= this.count(written);
    this.drop(DROPS.ioError);
  }

  /** Takes the part of a record that a full disk left at the end of the file away again, so that it stays readable. */
  private cutOff(bytes: number): void {
    if (bytes === 0) return;
    const stat = fstatSync(this.options.fd);
    if (stat.isFile()) ftruncateSync(this.options.fd, stat.size - bytes);
  }

  /** Counts the records that lie before `written` as transmitted. @returns how many they are */
  private count(written: number): number {
    const { m, counters } = this.port;
    let packets = 0;
    let bytes = 0;
    let datagrams = 0;
    for (let at = 0; at < this.used; packets++) {
      const next = at + this.recordBytes(at);
      if (next > written) break;
      bytes += this.packetBytes(at);
      datagrams += this.state.datagrams[packets];
      at = next;
    }
    counterAdd(m, counters.txPackets, packets);
    counterAdd(m, counters.txBytes, bytes);
    counterAdd(m, counters.txDatagrams, datagrams);
    return packets;
  }

  private wholeBytes(written: number): number {
    let at = 0;
    while (at < this.used && at + this.recordBytes(at) <= written) at += this.recordBytes(at);
    return at;
  }

  private recordBytes(at: number): number {
    return this.options.format === "pcap"
      ? PCAP.RECORD_HEADER + this.packetBytes(at)
      : readU32(this.port.m.u8, this.buffer + at + 4, false);
  }

  private packetBytes(at: number): number {
    const captured = this.options.format === "pcap" ? PCAP.RECORD_CAPTURED : 20;
    return readU32(this.port.m.u8, this.buffer + at + captured, false);
  }

  private report(): void {
    if (this.writer.errno === 0 || this.reported) return;
    this.reported = true;
    const detail = this.writer.errno === EAGAIN ? "whoever reads it has stopped reading" : undefined;
    throw new SystemError("write", this.options.file, this.writer.errno, { unavailable: false, detail });
  }
}
