/** A memory device's queue on the worker's thread. The program's end of it: library/memory-device.ts. */
import { COMMAND } from "../../batches/control.ts";
import { DROP_REASONS } from "../../batches/counters.ts";
import { DESCRIPTOR, HEADROOM } from "../../batches/layout.ts";
import {
  batchAt,
  batchCount,
  batchMove,
  batchPop,
  batchPush,
  counterAdd,
  descriptorReset,
  u64Write,
} from "../../batches/memory.ts";
import type { SoftSink, SoftSource } from "../../io/types.ts";
import { makeCopy } from "../copy.ts";
import type { SoftPort } from "../port.ts";
import { RingReader, RingWriter } from "./ring.ts";

const WOULD_BLOCK = 8 * DROP_REASONS.indexOf("would-block");
/** No packet will come unless the program sends some and wakes the worker. ns */
const UNTIL_WOKEN = 2 ** 50;
/** A worker without a free descriptor looks again after this long, ns. */
const FREE_WAIT = 100e3;
/** A worker that waits for the program to take packets looks at its command this often, ms. */
const LOOK = 20;

/** Where a port's two rings lie: what the program sends, and what it takes. */
export function rings({ address, bytes }: SoftPort["buffer"]) {
  const half = bytes / 2;
  return { toWorker: address, toProgram: address + half, bytes: half };
}

export function openMemorySource(port: SoftPort): SoftSource {
  const { m, free } = port;
  const place = rings(port.buffer);
  const ring = new RingReader(m, place.toWorker, place.bytes);
  const copy = makeCopy(m.memory);
  const deviceQueue = port.device | (port.queue << 8);
  return {
    receive(batch, max, now) {
      // Before the ring is looked at: what was sent before the end is seen then.
      const { ended } = ring;
      let count = 0;
      let more = true;
      while (count < max) {
        const d = batchPop(m, free);
        if (d === 0) return finish(count, count > 0 ? 0 : FREE_WAIT);
        const from = ring.next();
        if (from === 0) {
          batchPush(m, free, d);
          more = false;
          break;
        }
        const data = m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
        const room = m.u32[(d + DESCRIPTOR.CAPACITY) >>> 2] - HEADROOM;
        const length = Math.min(ring.length, room);
        descriptorReset(m, d, data, length, deviceQueue);
        u64Write(m, d + DESCRIPTOR.TIMESTAMP, now);
        copy(data, from, length);
        batchPush(m, batch, d);
        count++;
      }
      return finish(count, more || count > 0 ? 0 : ended ? Number.POSITIVE_INFINITY : UNTIL_WOKEN);
    },
    close() {},
  };

  function finish(count: number, next: number): number {
    if (count > 0) ring.release();
    return next;
  }
}

export function openMemorySink(port: SoftPort): SoftSink {
  const { m, free, counters, lock } = port;
  const place = rings(port.buffer);
  const ring = new RingWriter(m, place.toProgram, place.bytes);
  const copy = makeCopy(m.memory);

  /** All ports of the device count up one word, on which the program waits for packets of any. */
  function publish(): void {
    ring.publish();
    Atomics.add(m.i32, lock >>> 2, 1);
    Atomics.notify(m.i32, lock >>> 2);
  }

  /** Waits for room as long as the program takes packets and does not stop the pipeline. @returns the address; 0: dropped */
  function reserve(length: number): number {
    let at = ring.reserve(length);
    while (at === 0 && ring.taken && Atomics.load(m.i32, port.command >>> 2) !== COMMAND.STOP) {
      publish();
      ring.waitForRoom(LOOK);
      at = ring.reserve(length);
    }
    return at;
  }

  return {
    transmit(batch) {
      const count = batchCount(m, batch);
      let packets = 0;
      let bytes = 0;
      let datagrams = 0;
      for (let i = 0; i < count; i++) {
        const at = batchAt(m, batch, i) >>> 2;
        const length = m.u32[at + (DESCRIPTOR.LENGTH >>> 2)];
        const to = reserve(length);
        if (to === 0) continue;
        copy(to, m.u32[at + (DESCRIPTOR.DATA >>> 2)], length);
        packets++;
        bytes += length;
        datagrams += m.u32[at + (DESCRIPTOR.DATAGRAMS >>> 2)];
      }
      publish();
      counterAdd(m, counters.txPackets, packets);
      counterAdd(m, counters.txBytes, bytes);
      counterAdd(m, counters.txDatagrams, datagrams);
      if (packets < count) counterAdd(m, counters.drops + WOULD_BLOCK, count - packets);
      batchMove(m, batch, free);
    },
    flush() {},
    close() {},
  };
}
