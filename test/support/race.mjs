// A thread with a filter instance of its own on shared memory: waits for a round to begin, processes its batches, now
// and then ticks, says that it is done. Plain JavaScript, for it runs as a worker thread.
import { workerData } from "node:worker_threads";

const { memory, module, context, vectors, control, done } = workerData;
const words = new Int32Array(memory.buffer);
const filter = new WebAssembly.Instance(module, { env: { memory } }).exports;
filter.init(context);

for (let round = 1; ; round++) {
  Atomics.add(words, done >> 2, 1);
  Atomics.notify(words, done >> 2);
  for (let now = Atomics.load(words, control >> 2); now < round; now = Atomics.load(words, control >> 2)) {
    if (now < 0) process.exit(0);
    Atomics.wait(words, control >> 2, now, 50);
  }
  vectors.forEach(([address, count], i) => {
    filter.process(address, count);
    if (i % 3 === 0) filter.tick(context);
  });
}
