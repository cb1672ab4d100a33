/** `pktflow bench FILE`: how fast a pipeline is, between private hosts, under as much load as it can take. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { PEERS } from "../../bench/peer-names.ts";
import type { Pipeline } from "../../config/types.ts";
import type { BenchOptions } from "../bench-runs.ts";
import { UsageError } from "../exit.ts";
import { collect, parseDuration, parseIo, setOption } from "../options.ts";
import { prepareReport } from "./run.ts";

const HELP = `
Each measurement has hosts of its own in private network namespaces, as in
pktflow lab. With --load udp a host sends UDP to another one as fast as its
kernel takes it, and what gets through is dropped and counted as it arrives.
With tcp it sends over connections, and the other one reads. With ping it waits
for each answer, and round trips are compared. Sizes are bytes of IP packets.
CPU is the workers' time on a processor; latency is one way, from the send to
the far interface.

  pktflow bench pipelines/forward.yaml --sizes 64,1400 --queues 1,2
  pktflow bench pipelines/nat-gateway.yaml --load tcp --queues 1 --against forward-vnet,kernel
  pktflow bench pipelines/forward.yaml --load tcp --versus devices.a.offload=off
`;

export function registerBench(program: Command): void {
  program
    .command("bench")
    .description("measure a pipeline: throughput by queue, CPU a packet, latency")
    .argument("<file>", "the pipeline file (YAML)")
    .addOption(
      new Option("--load <kind>", "what the hosts send").choices(["udp", "tcp", "ping"]).default("udp"),
    )
    .addOption(
      new Option("--sizes <list>", "bytes of the IP packets of UDP")
        .argParser(numbers(44, 1500))
        .default([64, 1400], "64,1400"),
    )
    .option("--queues <list>", "queues, and workers (default: those of the file)", numbers(1, 256))
    .option("--flows <n>", "UDP flows of the load (default: 256, in memory 10,000)", number(1, 20_000))
    .option("--connections <n>", "TCP connections of the load", number(1, 1000), 1)
    .option("--burst <n>", "datagrams of a flow in a row", number(1, 1024), 32)
    .option(
      "--senders <n>",
      "threads that send (default: one for two processors, at most one a queue)",
      number(1, 64),
    )
    .addOption(
      new Option("--for <duration>", "of each measurement").argParser(parseDuration).default(3e9, "3s"),
    )
    .option("--io <engine>", "how packets move: auto, uring or poll", parseIo, "auto")
    .option("--from <device>", "whose host sends (default: the first with a path to another)")
    .option("--port <n>", "port of the load (default: one that the filters let pass)", number(1, 65_535))
    .addOption(setOption())
    .option("--memory", "the chain alone, with packets from memory; --queues says with how many workers")
    .option("--peers", "in turn with the C forwarders of bench/peers and the kernel's own routing")
    .option("--against <list>", `in turn with these peers: of ${PEERS.join(", ")}`, peerList)
    .option(
      "--peer-threads <n>",
      "of a C peer, a queue: one for both directions, or two (default: with TCP one)",
      number(1, 2),
    )
    .option(
      "--versus <key=value>",
      "in turn with itself with another setting, as often as you like",
      collect,
      [],
    )
    .option("--pairs <n>", "turns (default: 5; a ping with nobody to compare with: 1)", number(1, 100))
    .option("--json", "results as JSON, and nothing else on standard output")
    .option("--save <file>", "write the results as JSON into a file, beside the table")
    .option("--chart <file>", "write the results as a picture (SVG)")
    .option("--quiet", "no live view")
    .addHelpText("after", HELP)
    .action(async (file: string, options: BenchOptions) => {
      await bench(file, options);
    });
}

function number(least: number, most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && value >= least && value <= most) return value;
    throw new InvalidArgumentError(`it wants a number from ${least} to ${most}.`);
  };
}

function numbers(least: number, most: number): (text: string) => number[] {
  return (text) => text.split(",").map(number(least, most));
}

function peerList(text: string): string[] {
  const names = text.split(",");
  const unknown = names.find((name) => !PEERS.includes(name));
  if (unknown === undefined) return names;
  throw new InvalidArgumentError(`${unknown} is none: they are ${PEERS.join(", ")}.`);
}

async function bench(file: string, options: BenchOptions): Promise<void> {
  const { loadPipeline } = await import("../../config/pipeline.ts");
  const pipeline = loadPipeline(file, { set: options.set });
  if (options.memory !== true) await checkUsage(pipeline, options);
  // A file that cannot be written is said now, not when all has been measured.
  for (const path of [options.save, options.chart]) if (path !== undefined) prepareReport(path);
  const { inMemory, inTurns, throughput } = await import("../bench-runs.ts");
  (await import("../../workers/pool.ts")).processIsOurs();
  const interrupted = new AbortController();
  const interrupt = (signal: NodeJS.Signals) => interrupted.abort(new Error(`bench: ended by ${signal}`));
  process.on("SIGINT", interrupt).on("SIGTERM", interrupt).on("SIGHUP", interrupt);
  try {
    const measured = options.memory === true ? inMemory : isComparison(options) ? inTurns : throughput;
    await measured(pipeline, options, interrupted.signal);
  } finally {
    process.off("SIGINT", interrupt).off("SIGTERM", interrupt).off("SIGHUP", interrupt);
  }
}

/** Round trips are what they are beside others', or beside nobody's. */
function isComparison({ load, peers, against, versus }: BenchOptions): boolean {
  return load === "ping" || peers === true || against !== undefined || versus.length > 0;
}

/** What can be said before anything is made. */
async function checkUsage(pipeline: Pipeline, { from }: BenchOptions): Promise<void> {
  const { isHostDevice } = await import("../../lab/topology.ts");
  const hosts = pipeline.devices.filter(isHostDevice).map(({ id }) => id);
  if (hosts.length < 2) {
    throw new UsageError(
      `bench: ${pipeline.file} has ${hosts.length === 0 ? "no tun or tap device" : `one tun or tap device (${hosts[0]})`}, ` +
        `and the load goes from one to another`,
    );
  }
  if (from !== undefined && !hosts.includes(from))
    throw new UsageError(`bench: --from ${from}: the hosts are those of ${hosts.join(", ")}`);
}
