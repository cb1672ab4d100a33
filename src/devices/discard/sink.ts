/** The end of the road: counts packets and gives their descriptors back. Thread: the worker's. */
import { batchMove } from "../../batches/memory.ts";
import type { SoftSink } from "../../io/types.ts";
import type { Measure, SoftPort } from "../port.ts";

export function openDiscardSink({ m, free, counters }: SoftPort, measure: Measure): SoftSink {
  return {
    transmit(batch) {
      measure(batch, counters.txPackets);
      batchMove(m, batch, free);
    },
    flush() {},
    close() {},
  };
}
