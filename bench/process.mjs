/**
 * `pktflow run` as a process, five times each in turn with what it is to be held against: from its start to the first
 * packet forwarded (beside Node's own start), from a signal to its end, its processor time without traffic (beside the C
 * forwarder's), its resident memory (beside bare Node's). After `npm run build`, as root:
 *   node bench/process.mjs [start] [stop] [idle] [memory] [--pairs 5] [--save FILE]
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { machine } from "../build/bench/machine.js";
import { median } from "../build/bench/median.js";
import { compile, startProgram } from "../build/bench/peers.js";
import { bareNode, residentMemory, sceneOf, startProcess } from "../build/bench/process.js";
import { pause, underLoad } from "../build/bench/stage.js";

const FORWARD = "pipelines/forward.yaml";
const GATEWAY = "pipelines/nat-gateway.yaml";
/** Until timers of the start have run out, and of the measurement. ms */
const [SETTLE, IDLE] = [1000, 2000];
const MIB = 1 << 20;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { pairs: { type: "string", default: "5" }, save: { type: "string" } },
});
const pairs = Number(options.pairs);
const results = { machine: machine(), pairs };

/** Fills a list for each of several kinds of measurement, in turn. */
async function inTurns(measurements) {
  const lists = measurements.map(() => []);
  for (let turn = 0; turn < pairs; turn++)
    for (const [i, measure] of measurements.entries()) lists[i].push(await measure());
  return lists;
}

function say(what, values, unit, digits = 1) {
  const all = values.map((value) => value.toFixed(digits)).join(" ");
  console.log(`  ${what.padEnd(44)} ${median(values).toFixed(digits).padStart(8)} ${unit}   (${all})`);
  return { what, median: median(values), values, unit };
}

async function start() {
  console.log("from `pktflow run` to the first packet forwarded, filters built, medians:");
  const scenes = [await sceneOf(FORWARD, 1), await sceneOf(GATEWAY, 2)];
  const first = async (scene) => {
    const running = await startProcess(scene);
    await running.end();
    return running.firstPacket;
  };
  const lists = await inTurns([...scenes.map((scene) => () => first(scene)), async () => bareNode()]);
  results.start = [
    say(`${FORWARD}, 1 queue`, lists[0], "ms"),
    say(`${GATEWAY}, 2 queues`, lists[1], "ms"),
    say("node -e 0", lists[2], "ms"),
  ];
}

async function stop() {
  console.log("from SIGINT to the end of the process, idle and drained, medians:");
  const scenes = [await sceneOf(FORWARD, 1), await sceneOf(GATEWAY, 2)];
  const last = async (scene) => {
    const running = await startProcess(scene);
    await pause(SETTLE);
    const before = performance.now();
    await running.end();
    return performance.now() - before;
  };
  const lists = await inTurns(scenes.map((scene) => () => last(scene)));
  results.stop = [say(`${FORWARD}, 1 queue`, lists[0], "ms"), say(`${GATEWAY}, 2 queues`, lists[1], "ms")];
}

async function idle() {
  console.log(`processor time without traffic, four queues, of ${IDLE / 1000} s, medians:`);
  const scene = await sceneOf(FORWARD, 4);
  const folder = mkdtempSync(join(tmpdir(), "pktflow-bench-"));
  const share = async (standing) => {
    await pause(SETTLE);
    const before = standing.times().running;
    await pause(IDLE);
    const used = (standing.times().running - before) / (IDLE * 1e6);
    await standing.end();
    return 100 * used;
  };
  try {
    const built = compile("forward", folder);
    const peer = "why" in built ? [] : [async () => share(await startProgram(built.program, scene, ["2"]))];
    if ("why" in built) console.log(`  skipped forward.c: ${built.why}`);
    const [own, theirs] = await inTurns([async () => share(await startProcess(scene)), ...peer]);
    results.idle = [say(`${FORWARD}, the whole process`, own, "% of a core", 3)];
    if (theirs) results.idle.push(say("forward.c", theirs, "% of a core", 3));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function memory() {
  console.log("resident memory, two queues, offloads on, medians:");
  const scene = await sceneOf(FORWARD, 2);
  const load = { queues: 2, burst: 32, senders: 1, duration: 500, signal: new AbortController().signal };
  const atStart = [];
  const pktflow = async () => {
    const running = await startProcess(scene);
    try {
      await pause(SETTLE);
      atStart.push(residentMemory(running.pid).now / MIB);
      for (const kind of [
        { traffic: "tcp", flows: 8, size: 1500 },
        { traffic: "udp", flows: 256, size: 64 },
      ]) {
        await underLoad(running.stage, { ...load, ...kind }, () => ({}), running.ended);
      }
      return residentMemory(running.pid).most / MIB;
    } finally {
      await running.end();
    }
  };
  const node = async () => {
    const child = spawn(process.execPath, ["-e", "setTimeout(() => {}, 1e5)"]);
    await pause(300);
    const { now } = residentMemory(child.pid);
    child.kill();
    return now / MIB;
  };
  const [most, bare] = await inTurns([pktflow, node]);
  results.memory = [
    say("at the start", atStart, "MiB"),
    say("the most, after 8 TCP streams and a UDP flood", most, "MiB"),
    say("node with nothing to do", bare, "MiB"),
  ];
}

const parts = { start, stop, idle, memory };
for (const name of positionals.length > 0 ? positionals : Object.keys(parts)) {
  if (parts[name] === undefined) throw new Error(`${name}: it is one of ${Object.keys(parts).join(", ")}`);
  await parts[name]();
}
if (options.save !== undefined) writeFileSync(options.save, `${JSON.stringify(results, null, 2)}\n`);
