/**
 * What the data path leaves to the garbage collector, and whether its code stays compiled: `pktflow run` under full load
 * with V8 telling of every collection and deoptimisation (--trace-gc, --trace-deopt) of its workers. After
 * `npm run build`, as root: node bench/garbage.mjs [FILE] [--seconds 10] [--io auto] [--queues 1] [--offload off] [--save FILE]
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { machine } from "../build/bench/machine.js";
import { sceneOf, startProcess } from "../build/bench/process.js";
import { pause, underLoad } from "../build/bench/stage.js";
import { readDeoptimisations, readGarbage } from "../build/bench/v8-trace.js";

/** A young generation of 1 MiB, so that even little garbage is collected, and so told of, several times a second. */
const V8 = ["--trace-gc", "--trace-deopt", "--max-semi-space-size=1", "--min-semi-space-size=1"];
/** Code gets compiled for good, and tables fill. ms */
const WARM_UP = 3000;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: "string", default: "10" },
    queues: { type: "string", default: "1" },
    io: { type: "string", default: "auto" },
    offload: { type: "string", default: "off" },
    save: { type: "string" },
  },
});
const file = positionals[0] ?? "pipelines/nat-gateway.yaml";
const queues = Number(options.queues);
const duration = 1000 * Number(options.seconds);

const report = join(tmpdir(), `pktflow-garbage-${process.pid}.json`);
const scene = await sceneOf(file, queues);
const { from, to } = scene.way;
const offload = [from, to].flatMap(({ device }) => ["--set", `devices.${device}.offload=${options.offload}`]);
const running = await startProcess(scene, {
  nodeOptions: V8,
  args: ["--io", options.io, "--report", report, ...offload],
});
const load = { traffic: "udp", size: 64, flows: 256, burst: 32, senders: 1, queues };
const signal = new AbortController().signal;
let warm = "";
let packets;
try {
  const everything = { ...load, duration: WARM_UP + duration, signal };
  const marks = [];
  const watch = async () => {
    await pause(WARM_UP);
    marks.push(running.output().length);
    await pause(duration);
    marks.push(running.output().length);
  };
  let watching;
  const { before, after } = await underLoad(
    running.stage,
    everything,
    () => ({}),
    running.ended,
    () => {
      watching = watch();
    },
  );
  await watching;
  packets = ((after.far.rxPackets - before.far.rxPackets) * duration) / (WARM_UP + duration);
  warm = running.output().slice(...marks);
} finally {
  await running.end();
}
const { io, workers, batches } = JSON.parse(readFileSync(report, "utf8"));
rmSync(report);
const garbage = readGarbage(running.output(), warm);
const result = {
  file,
  io,
  workers,
  seconds: duration / 1000,
  packets,
  ...garbage,
  packetsPerBatch: batches.packetsPerBatch,
  bytesPerPacket: garbage.bytes / packets,
  bytesPerBatch: (garbage.bytes / packets) * batches.packetsPerBatch,
  deoptimisations: readDeoptimisations(warm),
  deoptimisationsBefore: readDeoptimisations(running.output()).length - readDeoptimisations(warm).length,
};
console.log(
  `${file}, ${io}, ${workers} worker(s), ${options.seconds} s at full rate after ${WARM_UP / 1000} s of warm-up:`,
);
console.log(
  `  ${Math.round(packets).toLocaleString("en-US")} packets, ${garbage.scavenges} scavenges and ${garbage.majors} major collections`,
);
const { bytesPerPacket, bytesPerBatch, packetsPerBatch } = result;
console.log(
  `  of ${garbage.paused.toFixed(1)} ms together, ${(garbage.bytes / 2 ** 20).toFixed(1)} MiB: ` +
    `${bytesPerPacket.toFixed(2)} bytes a packet, ${bytesPerBatch.toFixed(0)} a batch of ${packetsPerBatch.toFixed(1)}`,
);
console.log(
  `  ${result.deoptimisations.length} deoptimisations, ${result.deoptimisationsBefore} in start and warm-up`,
);
for (const { name, kind, reason } of result.deoptimisations) console.log(`    ${name}: ${kind}, ${reason}`);
if (options.save !== undefined)
  writeFileSync(options.save, `${JSON.stringify({ machine: machine(), ...result }, null, 2)}\n`);
