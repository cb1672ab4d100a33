/** The entry of a thread that runs a chain over packets from memory until it is told to end. */
import { parentPort, workerData } from "node:worker_threads";
import { HOST_COUNTER } from "../batches/counters.ts";
import { BATCH_PACKETS } from "../batches/layout.ts";
import { counterRead } from "../batches/memory.ts";
import { ChainRun } from "./chain-run.ts";
import { CHAIN_COMMAND, type ChainReply, type ChainTask, type ChainWindows } from "./chain-task.ts";

/** Bursts of a window: some 100 us, so that few windows see another thread take the processor. */
const WINDOW = 32;

function run({ worker: task, control }: ChainTask): void {
  const chain = new ChainRun(task);
  const command = new Int32Array(control);
  const instances = task.plan.workers[task.worker].instances;
  const windows: ChainWindows = { chain: [], filters: instances.map(() => []) };
  const sampled = instances.map(({ host }) => ({ host, ns: 0, packets: 0 }));
  reply({ ready: true });
  Atomics.wait(command, 0, CHAIN_COMMAND.WAIT);
  for (;;) {
    const now = Atomics.load(command, 0);
    if (now === CHAIN_COMMAND.END) break;
    let time = 0;
    for (let i = 0; i < WINDOW; i++) time += chain.round();
    if (now === CHAIN_COMMAND.MEASURE) windows.chain.push(time / (WINDOW * BATCH_PACKETS));
    sampled.forEach((last, i) => {
      const ns = counterRead(chain.m, last.host + HOST_COUNTER.SAMPLED_NS);
      const packets = counterRead(chain.m, last.host + HOST_COUNTER.SAMPLED_PACKETS);
      if (now === CHAIN_COMMAND.MEASURE && packets > last.packets)
        windows.filters[i].push((ns - last.ns) / (packets - last.packets));
      last.ns = ns;
      last.packets = packets;
    });
  }
  reply({ windows });
}

function reply(message: ChainReply): void {
  parentPort!.postMessage(message);
}

try {
  run(workerData as ChainTask);
} catch (error) {
  reply({ failure: (error as Error).message });
}
