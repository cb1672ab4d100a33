/** A running pipeline with its hosts: what `pktflow lab` and the benchmark stand on. Thread: the main one. */
import type { Pipeline } from "../config/types.ts";
import { type RunningPipeline, type StartOptions, startPipeline } from "../workers/pipeline.ts";
import { type Host, makeTopology } from "./topology.ts";

export interface Lab {
  hosts: Host[];
  /** As it runs: its devices are in the hosts' namespaces. */
  pipeline: Pipeline;
  running: RunningPipeline;
  /** Another version of the pipeline, as it would run in this lab. */
  move(pipeline: Pipeline): Pipeline;
  /** Stops the pipeline, waits for its end and lets the namespaces go. @throws what ended the pipeline */
  end(): Promise<void>;
}

/** @throws SystemError, or what starting the pipeline throws; nothing is left then */
export async function startLab(pipeline: Pipeline, options: StartOptions): Promise<Lab> {
  const topology = makeTopology(pipeline);
  try {
    const running = await startPipeline(topology.pipeline, options);
    return {
      hosts: topology.hosts.slice(),
      pipeline: topology.pipeline,
      running,
      move: topology.move,
      async end() {
        running.stop();
        try {
          await running.ended;
        } finally {
          topology.close();
        }
      },
    };
  } catch (error) {
    topology.close();
    throw error;
  }
}
