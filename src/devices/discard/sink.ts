/** The end of the road: counts packets and gives their descriptors back. Thread: the worker's. */
import { DESCRIPTOR } from "../../batches/layout.ts";
import { batchAt, batchCount, batchMove, counterAdd } from "../../batches/memory.ts";
import type { SoftSink } from "../../io/types.ts";
import type { SoftPort } from "../port.ts";

export function openDiscardSink({ m, free, counters }: SoftPort): SoftSink {
  return {
    transmit(batch) {
      const count = batchCount(m, batch);
      let bytes = 0;
      let datagrams = 0;
      for (let i = 0; i < count; i++) {
        const at = batchAt(m, batch, i) >>> 2;
        bytes += m.u32[at + (DESCRIPTOR.LENGTH >>> 2)];
        datagrams += m.u32[at + (DESCRIPTOR.DATAGRAMS >>> 2)];
      }
      counterAdd(m, counters.txPackets, count);
      counterAdd(m, counters.txBytes, bytes);
      counterAdd(m, counters.txDatagrams, datagrams);
      batchMove(m, batch, free);
    },
    flush() {},
    close() {},
  };
}
