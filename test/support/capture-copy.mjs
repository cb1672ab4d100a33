/**
 * Copies a capture from standard input to standard output through the built source and sink, in a process of its own.
 * Its standard error says as JSON what was counted, thrown, and by how many bytes the process grew.
 */
import { DROP_REASONS, portCounters } from "../../build/batches/counters.js";
import { DESCRIPTOR } from "../../build/batches/layout.js";
import { batchPush, counterRead, PacketMemory } from "../../build/batches/memory.js";
import { preparePcap } from "../../build/devices/pcap/prepare.js";
import { openPcapSink } from "../../build/devices/pcap/sink.js";
import { openPcapSource } from "../../build/devices/pcap/source.js";

const params = { read: "-", write: "-", pace: "asap", queues: 1 };
const prepared = await preparePcap({ id: "copy", kind: "pcap", params });
await prepared.create(prepared.facts.layer, [0]);
const SLOT = 4096;
const m = new PacketMemory(new WebAssembly.Memory({ initial: 32, maximum: 32, shared: true }));
const [free, batch, counters, descriptors, slots] = [1, 2, 3, 4, 5].map((page) => page * 65536);
for (let i = 0; i < 64; i++) {
  const d = descriptors + i * DESCRIPTOR.SIZE;
  m.u32[(d + DESCRIPTOR.SLOT) >>> 2] = slots + i * SLOT;
  m.u32[(d + DESCRIPTOR.CAPACITY) >>> 2] = SLOT;
  batchPush(m, free, d);
}
const buffer = { address: slots + 64 * SLOT, bytes: prepared.facts.bufferBytes };
const ports = portCounters(counters);
const port = { m, free, counters: ports, buffer, device: 0, queue: 0, queues: 1, lock: counters + 4096 };
const source = openPcapSource(port, prepared.source);
const sink = openPcapSink(port, prepared.sink);
const thrown = [];
const attempt = (action) => {
  try {
    action();
  } catch (error) {
    thrown.push(error.message);
  }
};
let received = 0;
let before = 0;
for (let wait = 0; wait !== Number.POSITIVE_INFINITY; ) {
  wait = source.receive(batch, 64, 1);
  received += m.u32[batch >>> 2];
  attempt(() => sink.transmit(batch));
  if (wait > 0 && wait !== Number.POSITIVE_INFINITY) await new Promise((resolve) => setTimeout(resolve, 1));
  // Once the code has been compiled.
  if (before === 0 && received > 20_000) before = process.memoryUsage().rss;
}
for (const action of [() => sink.flush(), () => sink.close(), () => source.close(), () => prepared.close()])
  attempt(action);
const grown = process.memoryUsage().rss - before;
const sent = counterRead(m, ports.txPackets);
const ioErrors = counterRead(m, ports.drops + 8 * DROP_REASONS.indexOf("io-error"));
console.error(JSON.stringify({ received, sent, ioErrors, thrown, grown }));
