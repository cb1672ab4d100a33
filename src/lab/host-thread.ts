/** A host's thread (host.ts) as the main thread sees it: questions and answers, one probe at a time. */
import { Worker } from "node:worker_threads";
import { entryFile } from "./entry.ts";
import type { HostReply, HostRequest, HostTask } from "./host.ts";
import type { Answer, ProbeTask } from "./probes/probe.ts";
import type { Host } from "./topology.ts";

export interface Progress {
  /** Packets, datagrams or connections without an answer so far; undefined: nothing has come back yet. */
  pending: number | undefined;
  /** Data flows: silence means nothing. */
  busy: boolean;
}

export class HostThread {
  readonly host: Host;
  readonly progress: Progress = { pending: undefined, busy: false };
  private readonly worker: Worker;
  /** Settles what is asked at the moment. */
  private waiting: { resolve: (reply: HostReply) => void; reject: (error: Error) => void } | undefined;
  private failure: Error | undefined;

  private constructor(host: Host) {
    this.host = host;
    const task: HostTask = {
      device: host.device,
      namespace: host.namespace,
      addresses: host.addresses.map(({ address }) => address),
    };
    this.worker = new Worker(entryFile("host"), { workerData: task });
    this.worker.on("message", (reply: HostReply) => this.receive(reply));
    this.worker.on("error", (error) => this.fail(error));
    this.worker.on("exit", () => this.fail(new Error(`the thread of host ${host.device} has ended`)));
  }

  /** Starts the thread; resolves when it answers on its addresses. @throws Error */
  static async start(host: Host): Promise<HostThread> {
    const thread = new HostThread(host);
    try {
      await thread.next();
    } catch (error) {
      await thread.close();
      throw error;
    }
    return thread;
  }

  async probe(task: ProbeTask): Promise<Answer[]> {
    this.progress.pending = undefined;
    this.progress.busy = false;
    const reply = await this.ask({ probe: task });
    return (reply as { answers: Answer[] }).answers;
  }

  /** What the probe has no answer to yet counts as silent. */
  giveUp(): void {
    this.tell({ giveUp: true });
  }

  /** Which of these UDP payloads (hex) have come in? */
  async seen(payloads: string[]): Promise<boolean[]> {
    return ((await this.ask({ seen: payloads })) as { seen: boolean[] }).seen;
  }

  async close(): Promise<void> {
    this.failure ??= new Error(`the thread of host ${this.host.device} is closed`);
    await this.worker.terminate();
  }

  private ask(request: HostRequest): Promise<HostReply> {
    const reply = this.next();
    this.tell(request);
    return reply;
  }

  private tell(request: HostRequest): void {
    this.worker.postMessage(request);
  }

  private next(): Promise<HostReply> {
    return new Promise((resolve, reject) => {
      if (this.failure !== undefined) reject(this.failure);
      else this.waiting = { resolve, reject };
    });
  }

  private receive(reply: HostReply): void {
    if ("failure" in reply) {
      this.fail(new Error(reply.failure));
    } else if ("pending" in reply) {
      this.progress.pending = reply.pending;
      this.progress.busy = reply.busy;
    } else {
      this.waiting?.resolve(reply);
      this.waiting = undefined;
    }
  }

  private fail(error: Error): void {
    this.failure ??= error;
    this.waiting?.reject(this.failure);
    this.waiting = undefined;
  }
}
