/**
 * Packets between the program's thread and a worker: a ring of records in the pipeline's memory. One thread writes, one
 * reads, so no lock is needed: each publishes its own end.
 *
 *    0      64     128     132     192
 *   +------+------+-------+-------+------------------------------------+
 *   | head | tail | ended | taken | records                            |    head: the writer's offset, tail: the reader's
 *   +------+------+-------+-------+------------------------------------+
 *    record
 *    0        4          8
 *   +--------+----------+----------------------+
 *   | length | reserved | the packet, to 8 bytes |     length SKIP: the next record is at offset 0
 *   +--------+----------+----------------------+
 */
import type { PacketMemory } from "../../batches/memory.ts";

const HEAD = 0;
const TAIL = 64;
const ENDED = 128;
const TAKEN = 132;
const RECORDS = 192;
const RECORD_HEADER = 8;
const SKIP = 0xffffffff;

/** Bytes in memory of a ring with room for `bytes` bytes of records. */
export function ringBytes(bytes: number): number {
  return RECORDS + Math.floor(bytes / 64) * 64;
}

abstract class Ring {
  protected readonly m: PacketMemory;
  protected readonly words: { head: number; tail: number; ended: number; taken: number };
  protected readonly records: number;
  protected readonly size: number;

  /** @param address of the ring, a multiple of 64 @param bytes what ringBytes gave */
  constructor(m: PacketMemory, address: number, bytes: number) {
    this.m = m;
    this.words = {
      head: (address + HEAD) >>> 2,
      tail: (address + TAIL) >>> 2,
      ended: (address + ENDED) >>> 2,
      taken: (address + TAKEN) >>> 2,
    };
    this.records = address + RECORDS;
    this.size = bytes - RECORDS;
  }

  /** Whether the other side said so: no more will come, or somebody takes what comes. */
  get ended(): boolean {
    return Atomics.load(this.m.i32, this.words.ended) !== 0;
  }
  get taken(): boolean {
    return Atomics.load(this.m.i32, this.words.taken) !== 0;
  }
}

export class RingWriter extends Ring {
  /** Where an earlier worker stopped, if there was one. */
  private head = Atomics.load(this.m.i32, this.words.head);

  /**
   * Makes room for a packet, which the reader sees after publish().
   * @returns the address for its bytes; 0: there is no room now
   */
  reserve(length: number): number {
    const need = RECORD_HEADER + ((length + 7) & ~7);
    const tail = Atomics.load(this.m.i32, this.words.tail);
    let at = this.head;
    if (at >= tail) {
      // head === tail means empty, so the records never fill the ring to the last byte.
      const fits = at + need < this.size || (at + need === this.size && tail > 0);
      if (!fits) {
        if (need >= tail) return 0;
        this.m.u32[(this.records + at) >>> 2] = SKIP;
        at = 0;
      }
    } else if (at + need >= tail) {
      return 0;
    }
    this.m.u32[(this.records + at) >>> 2] = length;
    this.head = at + need === this.size ? 0 : at + need;
    return this.records + at + RECORD_HEADER;
  }

  publish(): void {
    Atomics.store(this.m.i32, this.words.head, this.head);
  }

  end(): void {
    Atomics.store(this.m.i32, this.words.ended, 1);
  }

  /** Blocks until the reader has taken something, or the time is over. @param timeout ms */
  waitForRoom(timeout: number): void {
    const { i32 } = this.m;
    Atomics.wait(i32, this.words.tail, Atomics.load(i32, this.words.tail), timeout);
  }

  /** The same without blocking, for the program's thread. @param tail what readTail() gave before room was looked for */
  async untilRoom(tail: number): Promise<void> {
    const waiting = Atomics.waitAsync(this.m.i32, this.words.tail, tail);
    if (waiting.async) await waiting.value;
  }

  readTail(): number {
    return Atomics.load(this.m.i32, this.words.tail);
  }

  /** Wakes who waits in untilRoom(), though nothing was taken. */
  wake(): void {
    Atomics.notify(this.m.i32, this.words.tail);
  }
}

export class RingReader extends Ring {
  private tail = Atomics.load(this.m.i32, this.words.tail);
  /** Of the packet that next() found, bytes. */
  length = 0;

  /** @returns the address of the next packet's bytes; 0: there is none now. Its room is the writer's again after release() */
  next(): number {
    const head = Atomics.load(this.m.i32, this.words.head);
    if (this.tail === head) return 0;
    let at = this.tail;
    if (this.m.u32[(this.records + at) >>> 2] === SKIP) at = 0;
    if (at === head) return 0;
    const length = this.m.u32[(this.records + at) >>> 2];
    const end = at + RECORD_HEADER + ((length + 7) & ~7);
    if (end > this.size)
      throw new Error("a memory device's ring is overwritten: a filter wrote past its state");
    this.length = length;
    this.tail = end === this.size ? 0 : end;
    return this.records + at + RECORD_HEADER;
  }

  release(): void {
    const { i32 } = this.m;
    Atomics.store(i32, this.words.tail, this.tail);
    Atomics.notify(i32, this.words.tail);
  }

  /** Tells the writer whether to wait for room rather than drop. */
  setTaken(taken: boolean): void {
    Atomics.store(this.m.i32, this.words.taken, taken ? 1 : 0);
  }
}
