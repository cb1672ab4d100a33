/**
 * Writes packets to a capture through the built sink, in a thread or process of its own: a thread gets memory, port and
 * options as workerData; a process gets the file's name, and prints what was thrown and counted.
 */
import { isMainThread, workerData } from "node:worker_threads";
import { DROP_REASONS, portCounters } from "../../build/batches/counters.js";
import { DESCRIPTOR, HEADROOM } from "../../build/batches/layout.js";
import { batchPop, batchPush, counterRead, PacketMemory } from "../../build/batches/memory.js";
import { preparePcap } from "../../build/devices/pcap/prepare.js";
import { openPcapSink } from "../../build/devices/pcap/sink.js";

/** Packet i: the queue's number in every byte, but i in the second and third. */
function transmit(m, port, sink, batch, i, length) {
  const d = batchPop(m, port.free);
  const data = m.u32[(d + DESCRIPTOR.SLOT) >>> 2] + HEADROOM;
  m.u32[(d + DESCRIPTOR.DATA) >>> 2] = data;
  m.u32[(d + DESCRIPTOR.LENGTH) >>> 2] = length;
  m.u32[(d + DESCRIPTOR.DATAGRAMS) >>> 2] = 1;
  m.u8.fill(port.queue, data, data + length);
  m.u8[data + 1] = i;
  m.u8[data + 2] = i >>> 8;
  batchPush(m, batch, d);
  sink.transmit(batch);
}

function writeInThread({ memory, port, batch, descriptors, options, packets }) {
  const m = new PacketMemory(memory);
  for (const descriptor of descriptors) batchPush(m, port.free, descriptor);
  const sink = openPcapSink({ ...port, m }, options);
  for (let i = 0; i < packets; i++) {
    transmit(m, port, sink, batch, i, 3 + ((i * 37) % 1400));
    if (i % 100 === 0) sink.flush();
  }
  sink.flush();
  sink.close();
}

async function writeInProcess(file) {
  // Or the kernel ends the process at its limit; with a handler, write(2) says EFBIG.
  process.on("SIGXFSZ", () => {});
  const params = { write: file, pace: "asap", queues: 1 };
  const prepared = await preparePcap({ id: "limited", kind: "pcap", params });
  await prepared.create(3, [0]);
  const m = new PacketMemory(new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true }));
  const [free, batch, counters, descriptor, slot, buffer] = [1, 2, 3, 4, 5, 6].map((page) => page * 65536);
  m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2] = slot;
  m.u32[(descriptor + DESCRIPTOR.CAPACITY) >>> 2] = 65536;
  batchPush(m, free, descriptor);
  const ports = portCounters(counters);
  const range = { address: buffer, bytes: prepared.facts.bufferBytes };
  const port = {
    m,
    free,
    counters: ports,
    buffer: range,
    device: 0,
    queue: 9,
    queues: 1,
    lock: counters + 4096,
  };
  const sink = openPcapSink(port, prepared.sink);
  const codes = [];
  const attempt = (action) => {
    try {
      action();
    } catch (error) {
      codes.push(error.code);
    }
  };
  for (let i = 0; i < 700; i++) attempt(() => transmit(m, port, sink, batch, i, 1001));
  attempt(() => sink.flush());
  attempt(() => sink.close());
  prepared.close();
  const drops = DROP_REASONS.map((_, i) => counterRead(m, ports.drops + 8 * i));
  const sent = { packets: counterRead(m, ports.txPackets), bytes: counterRead(m, ports.txBytes) };
  console.log(JSON.stringify({ codes, sent, drops }));
}

if (isMainThread) await writeInProcess(process.argv[2]);
else writeInThread(workerData);
