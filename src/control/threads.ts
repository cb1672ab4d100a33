/** What the workers' threads did, from their counters and the kernel's clocks. Thread: any; it asks no worker. */
import { readFileSync } from "node:fs";
import { WORKER_CONTROL } from "../batches/control.ts";
import { HOST_COUNTER } from "../batches/counters.ts";
import { OUTPUT_DROP } from "../batches/layout.ts";
import { counterRead, type PacketMemory } from "../batches/memory.ts";
import type { Plan } from "../plan/types.ts";

export interface ThreadReport extends ThreadTimes {
  batches: number;
  packets: number;
  /** Packets that its filters dropped or lost in a trap, or that ended at `to: drop`. */
  dropped: number;
}

export interface ThreadTimes {
  /** On a processor, ns. */
  running: number;
  /** Ready to run and without a processor, ns: what others took. */
  waiting: number;
}

/** By worker. */
export function threadReports(m: PacketMemory, plan: Plan): ThreadReport[] {
  return plan.workers.map((worker) => {
    const thread = Atomics.load(m.i32, (worker.control + WORKER_CONTROL.THREAD) >>> 2);
    return {
      ...threadTimes(`/proc/self/task/${thread}`),
      batches: counterRead(m, worker.batches),
      packets: counterRead(m, worker.batches + 8),
      dropped: sum([
        ...worker.instances.map(({ outputCounters }) => counterRead(m, outputCounters + 8 * OUTPUT_DROP)),
        ...worker.instances.map(({ host }) => counterRead(m, host + HOST_COUNTER.TRAPPED)),
        ...worker.paths.map(({ dropCounters }) => counterRead(m, dropCounters)),
      ]),
    };
  });
}

function sum(counts: number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}

/**
 * The scheduler's own account of a thread, to the nanosecond and read without disturbing it.
 * @param folder /proc/PID/task/TID; zeros when it has ended or the kernel keeps no such account (CONFIG_SCHED_INFO)
 */
export function threadTimes(folder: string): ThreadTimes {
  try {
    // Documentation/scheduler/sched-stats.rst: time on cpu, time on the run queue, timeslices
    const [running, waiting] = readFileSync(`${folder}/schedstat`, "utf8").split(" ").map(Number);
    return { running, waiting };
  } catch {
    return { running: 0, waiting: 0 };
  }
}
