/**
 * A worker's chain with packets from memory: a burst is made, and then timed on its way through dissect, the filters of
 * its paths and out. What the burst's making takes does not count. Thread: any, synchronous.
 */
import { BATCH_PACKETS } from "../batches/layout.ts";
import { batchCount, batchMove, counterAdd, PacketMemory } from "../batches/memory.ts";
import { Chain } from "../workers/chain.ts";
import { type Core, instantiateCore } from "../workers/core.ts";
import { openPorts, type WorkerPort } from "../workers/ports.ts";
import type { WorkerTask } from "../workers/task.ts";

/** As in the worker's loop. ns */
const TICK = 100e6;

export class ChainRun {
  readonly m: PacketMemory;
  readonly ports: WorkerPort[];
  private readonly core: Core;
  private readonly chain: Chain;
  private readonly source: WorkerPort;
  private readonly batches: number;
  private nextTick = 0;

  constructor(task: WorkerTask) {
    this.m = new PacketMemory(task.memory);
    this.core = instantiateCore(task.core, task.memory);
    this.ports = openPorts(task, this.m, this.core).ports;
    const modules = task.modules.map((bytes) => new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>));
    const worker = task.plan.workers[task.worker];
    this.chain = new Chain(this.m, task.plan, worker, this.core, modules);
    this.source = this.ports.find((port) => port.source !== undefined)!;
    this.batches = worker.batches;
  }

  /** One burst. @returns ns from dissect to the last packet's end; packets are BATCH_PACKETS, unless filters hold some */
  round(): number {
    const { m, source } = this;
    const { rxBatch, counters } = source.plan;
    source.source!.receive(rxBatch, BATCH_PACKETS, 0);
    const start = performance.now();
    const now = Math.round(start * 1e6);
    const { rxPackets, malformed } = counters;
    this.core.dissect(rxBatch, source.layer, rxPackets, malformed, this.chain.entryCountersOf(source.path));
    counterAdd(m, this.batches, 1);
    counterAdd(m, this.batches + 8, batchCount(m, rxBatch));
    this.chain.setTime(now, now);
    batchMove(m, rxBatch, this.chain.batchOf(source.path));
    this.chain.run(now);
    for (let i = 0; i < this.ports.length; i++) {
      const { sink, plan } = this.ports[i];
      if (sink !== undefined && batchCount(m, plan.txBatch) > 0) sink.transmit(plan.txBatch);
    }
    if (this.chain.hasTick && now >= this.nextTick) {
      this.chain.tick(now);
      this.nextTick = now + TICK;
    }
    return (performance.now() - start) * 1e6;
  }
}
