/**
 * What filters say in words, as it lies in the pipeline's memory: for each instance a ring of records, numbers alone, for a
 * filter has no strings. The worker's filter writes (assembly/lib/log.ts, its twin), the main thread reads now and then.
 *
 *    0      4      64     128
 *   +------+------+------+---------------------------+
 *   | head | lost | tail | RECORDS records           |     head: written so far, tail: read so far, modulo 2^32
 *   +------+------+------+---------------------------+
 *    record
 *    0       8          16      24
 *   +-------+----------+-------+-------+
 *   | time  | message  | a     | b     |
 *   +-------+----------+-------+-------+
 */
import type { PacketMemory } from "./memory.ts";

export const LOG = {
  HEAD: 0,
  /** Records for which there was no room. */
  LOST: 4,
  TAIL: 64,
  ENTRIES: 128,
  RECORD: 32,
  RECORDS: 32,
  BYTES: 128 + 32 * 32,
} as const;

export interface LogRecord {
  /** ns since the epoch, to a microsecond or so. */
  time: number;
  /** Index of the message in the filter's manifest. */
  message: number;
  a: bigint;
  b: bigint;
}

/** Takes what has been written since the last time. @returns records, and how many were lost in all so far */
export function readLog(m: PacketMemory, at: number): { records: LogRecord[]; lost: number } {
  const records: LogRecord[] = [];
  const head = Atomics.load(m.u32, (at + LOG.HEAD) >>> 2);
  let tail = Atomics.load(m.u32, (at + LOG.TAIL) >>> 2);
  for (; tail !== head; tail = (tail + 1) >>> 0) {
    const record = at + LOG.ENTRIES + (tail % LOG.RECORDS) * LOG.RECORD;
    records.push({
      time: Number(m.u64[record >>> 3]),
      message: m.u32[(record + 8) >>> 2],
      a: m.u64[(record + 16) >>> 3],
      b: m.u64[(record + 24) >>> 3],
    });
  }
  Atomics.store(m.u32, (at + LOG.TAIL) >>> 2, tail);
  return { records, lost: Atomics.load(m.u32, (at + LOG.LOST) >>> 2) };
}
