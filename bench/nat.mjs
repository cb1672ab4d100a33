/**
 * What address translation costs: ns a packet with so many live sessions, outwards and inwards, and how many new sessions a
 * second one worker makes, and two at once on shared tables. Only the calls into Wasm are timed, a batch of 64 each; packets are UDP
 * of 64 bytes, each batch from flows in an order without locality. Run after `npm run build`: node bench/nat.mjs [sessions...]
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { BATCH, BATCH_PACKETS, CONTEXT, DESCRIPTOR } from "../build/batches/layout.js";
import { batchPush, counterRead, descriptorReset, PacketMemory, u64Write } from "../build/batches/memory.js";
import { loadManifest } from "../build/config/manifest.js";
import { BUILTIN } from "../build/filters/build.js";
import { loadFilter } from "../build/filters/library.js";
import { instantiate, SCRATCH_PARAMS, stateSizes } from "../build/filters/load.js";
import { buildPacket } from "../build/filters/notation.js";
import { encodeParams } from "../build/params/encode.js";
import { parseParams } from "../build/params/parse.js";

const SLOT = 256;
const HEADROOM = 128;
const INSIDE = 0x0a000000;
const REMOTE = 0xc0000201;
const OUTSIDES = 32;
/** Of those who make sessions. */
const TURNS = [0, 1];
const swap32 = (n) => ((n << 24) | ((n & 0xff00) << 8) | ((n >>> 8) & 0xff00) | (n >>> 24)) >>> 0;
const swap16 = (n) => ((n & 255) << 8) | (n >>> 8);

/** nat with its tables, and what each of its workers needs. */
async function prepare(sessions, workers, extra = {}) {
  const manifest = loadManifest(join(BUILTIN, "nat"), "nat");
  const { module } = await loadFilter(manifest);
  const outside = Array.from({ length: OUTSIDES }, (_, i) => `198.51.100.${i + 1}`);
  const said = { inside: "10.0.0.0/8", outside, sessions, mappings: sessions, ...extra };
  const parsed = parseParams(manifest.params, said);
  if ("problems" in parsed) throw new Error(parsed.problems.map(({ message }) => message).join("\n"));
  const encode = (at) => encodeParams(manifest.params, parsed.value, ["next", "drop"], at);
  const sizes = stateSizes(module, manifest, encode(SCRATCH_PARAMS));
  let next = 65536;
  const take = (count) => {
    const at = next;
    next = Math.ceil((next + count) / 64) * 64;
    return at;
  };
  const [params, shared] = [take(encode(0).length), take(sizes.shared)];
  const places = Array.from({ length: workers }, () => ({
    context: take(CONTEXT.SIZE),
    counters: take(512),
    state: take(sizes.worker),
    batch: take(512),
    descriptors: take(64 * BATCH_PACKETS),
    slots: take(SLOT * BATCH_PACKETS),
  }));
  const pages = Math.ceil(next / 65536);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const m = new PacketMemory(memory);
  m.u8.set(encode(params), params);
  places.forEach((place, worker) => {
    const word = (at, value) => {
      m.u32[(place.context + at) >>> 2] = value;
    };
    word(CONTEXT.PARAMS, params);
    word(CONTEXT.COUNTERS, place.counters);
    word(CONTEXT.WORKER_STATE, place.state);
    word(CONTEXT.SHARED_STATE, shared);
    word(CONTEXT.WORKER, worker);
    word(CONTEXT.WORKERS, workers);
    word(CONTEXT.RANDOM, 12345 + worker);
    u64Write(m, place.context + CONTEXT.NOW, 3600e9);
  });
  instantiate(module, memory).initShared(places[0].context);
  return {
    memory,
    module,
    places,
    counters: manifest.counters.map(({ name }) => name),
    shared: sizes.shared,
  };
}

/** One worker's instance, and its batch of packets. */
function open({ memory, module }, place) {
  const m = new PacketMemory(memory);
  const wasm = new URL("../build/wasm/core.wasm", import.meta.url);
  const core = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(wasm)), { env: { memory } })
    .exports;
  const filter = instantiate(module, memory);
  filter.init(place.context);
  const { bytes } = buildPacket({
    ipv4: { from: "10.0.0.1", to: "192.0.2.1" },
    udp: {},
    payload: { bytes: 36 },
  });
  for (let i = 0; i < BATCH_PACKETS; i++) {
    const data = place.slots + i * SLOT + HEADROOM;
    m.u8.set(bytes, data);
    descriptorReset(m, place.descriptors + i * DESCRIPTOR.SIZE, data, bytes.length, 0);
    batchPush(m, place.batch, place.descriptors + i * DESCRIPTOR.SIZE);
  }
  core.dissect(place.batch, 3, place.counters + 256, place.counters + 384);
  const address = (i, at) => (place.slots + i * SLOT + HEADROOM + at) >>> 2;
  const port = (i, at) => (place.slots + i * SLOT + HEADROOM + at) >>> 1;
  return {
    m,
    /** Endpoints of packet i: numbers as they lie in it. */
    set(i, from, fromPort, to, toPort) {
      m.u32[address(i, 12)] = from;
      m.u32[address(i, 16)] = to;
      m.u32[address(i, 20)] = fromPort | (toPort << 16);
    },
    source: (i) => [m.u32[address(i, 12)], m.u16[port(i, 20)]],
    output: (i) => m.u8[place.descriptors + i * DESCRIPTOR.SIZE + DESCRIPTOR.OUTPUT],
    /** ns. */
    process() {
      const start = performance.now();
      filter.process(place.batch + BATCH.ENTRIES, BATCH_PACKETS);
      return (performance.now() - start) * 1e6;
    },
  };
}

/** Flow n's inside endpoint: so many hosts, each with 8 ports. */
const insideAddress = (n) => swap32(INSIDE + (n >>> 3));
const insidePort = (n) => swap16(1024 + (n & 7) * 5);

/** What twice NAT (both ends change) needs: hosts inside know the remote one by another address. */
const TWICE = { remote: { inside: "203.0.113.7", outside: "192.0.2.1" } };
const TWICE_REMOTE = 0xcb007107;

/** @param isTwice both ends of each packet change */
async function steady(sessions, isTwice = false) {
  const nat = await prepare(Math.max(131072, Math.ceil(sessions * 1.25)), 1, isTwice ? TWICE : {});
  const worker = open(nat, nat.places[0]);
  const remote = swap32(REMOTE);
  const destination = isTwice ? swap32(TWICE_REMOTE) : remote;
  const dns = swap16(53);
  const outside = [new Uint32Array(sessions), new Uint16Array(sessions)];
  const rounds = Math.ceil(sessions / BATCH_PACKETS);
  // A step that has no divisor in common with the number of flows goes through all of them, far apart.
  let step = Math.floor(sessions * 0.618) | 1;
  const gcd = (a, b) => (b === 0 ? a : gcd(b, a % b));
  while (gcd(step, sessions) !== 1) step += 2;
  let flow = 0;
  const go = (fill, after) => {
    const flows = [];
    for (let i = 0; i < BATCH_PACKETS; i++) {
      fill(i, flow);
      flows.push(flow);
      flow = (flow + step) % sessions;
    }
    const ns = worker.process();
    after?.(flows);
    return ns;
  };
  const outwards = (i, n) => worker.set(i, insideAddress(n), insidePort(n), destination, dns);
  const inwards = (i, n) => worker.set(i, remote, dns, outside[0][n], outside[1][n]);
  for (let i = 0; i < rounds; i++) {
    go(outwards, (flows) => {
      flows.forEach((n, at) => {
        if (worker.output(at) !== 0) throw new Error("a packet was dropped");
        [outside[0][n], outside[1][n]] = worker.source(at);
      });
    });
  }
  // The lowest of the medians of windows: what else the machine does comes on top.
  const measure = (fill) => {
    const windows = [];
    for (let window = 0; window < 10; window++) {
      const times = [];
      for (let i = 0; i < Math.max(2000, rounds / 4); i++) times.push(go(fill) / BATCH_PACKETS);
      for (let i = 0; i < BATCH_PACKETS; i++) {
        if (worker.output(i) !== 0) throw new Error("a packet was dropped");
      }
      windows.push(times.sort((a, b) => a - b)[times.length >>> 1]);
    }
    return Math.min(...windows);
  };
  measure(outwards);
  return { outwards: measure(outwards), inwards: measure(inwards), megabytes: nat.shared / 1e6 };
}

/**
 * Threads make sessions, each its own, on shared tables: on such that were just made, and again when all have ended, where
 * everything has been used before.
 */
async function inserts(sessions, workers) {
  const nat = await prepare(Math.ceil(sessions * 1.05), workers);
  const control = new Int32Array(new SharedArrayBuffer(8));
  const results = nat.places.map(() => []);
  const threads = nat.places.map(
    (_, worker) =>
      new Worker(new URL(import.meta.url), { workerData: { nat, worker, workers, sessions, control } }),
  );
  const counted = (name) => {
    const at = nat.counters.indexOf(name) * 8;
    return nat.places.reduce(
      (sum, { counters }) => sum + counterRead(new PacketMemory(nat.memory), counters + at),
      0,
    );
  };
  for (const turn of TURNS) {
    if (turn > 0) endAll(nat, turn, () => counted("sessions-expired") === counted("sessions-made"));
    const replies = threads.map(
      (thread) => new Promise((resolve, reject) => thread.once("message", resolve).once("error", reject)),
    );
    Atomics.store(control, 1, turn + 1);
    Atomics.notify(control, 1);
    for (const [worker, ns] of (await Promise.all(replies)).entries()) results[worker].push(ns);
  }
  await Promise.all(threads.map((thread) => thread.terminate()));
  return { turns: TURNS.map((turn) => results.map((own) => own[turn])), count: counted("sessions-made") };
}

/** Lets the time pass in which all sessions end, and a worker remove them. */
function endAll({ memory, module, places }, turn, isOver) {
  const m = new PacketMemory(memory);
  for (const { context } of places) u64Write(m, context + CONTEXT.NOW, 3600e9 * (turn + 1));
  const filter = instantiate(module, memory);
  filter.init(places[0].context);
  while (!isOver()) filter.tick(places[0].context);
}

function insertThread() {
  const { nat, worker, workers, sessions, control } = workerData;
  const own = open(nat, nat.places[worker]);
  const remote = swap32(REMOTE);
  const share = Math.floor(sessions / workers / BATCH_PACKETS) * BATCH_PACKETS;
  const first = worker * share;
  /** @returns ns in the filter */
  const make = (from, to) => {
    let inside = 0;
    for (let n = from; n < to; n += BATCH_PACKETS) {
      for (let i = 0; i < BATCH_PACKETS; i++)
        own.set(i, insideAddress(n + i), insidePort(n + i), remote, swap16(53));
      inside += own.process();
    }
    return inside;
  };
  for (const turn of TURNS) {
    Atomics.wait(control, 1, turn);
    // Compiled, and its pages there, before it counts: a twentieth of the sessions.
    const warm = Math.floor(share / 20 / BATCH_PACKETS) * BATCH_PACKETS;
    make(first, first + warm);
    Atomics.add(control, 0, 1);
    while (Atomics.load(control, 0) < workers * (turn + 1));
    parentPort.postMessage(make(first + warm, first + share) / (share - warm));
  }
}

async function main(counts) {
  console.log(`${cpus()[0].model}, node ${process.version}, batches of ${BATCH_PACKETS}, UDP of 64 bytes`);
  console.log("sessions   out ns   in ns   state MB");
  for (const [count, isTwice] of [...counts.map((one) => [one, false]), [10_000, true]]) {
    const { outwards, inwards, megabytes } = await steady(count, isTwice);
    const cells = [
      outwards.toFixed(1).padStart(9),
      inwards.toFixed(1).padStart(8),
      megabytes.toFixed(1).padStart(11),
    ];
    console.log(`${String(count).padStart(8)}${cells.join("")}${isTwice ? "  twice NAT" : ""}`);
  }
  console.log("workers  new sessions, M/s   ns each     again, M/s   ns each");
  for (const workers of [1, 2]) {
    const { turns } = await inserts(1_000_000, workers);
    const cells = turns.map((each) => {
      const rate = each.reduce((sum, ns) => sum + 1e3 / ns, 0);
      return `${rate.toFixed(2).padStart(19)}   ${each
        .map((ns) => ns.toFixed(0))
        .join(", ")
        .padEnd(8)}`;
    });
    console.log(`${String(workers).padStart(7)}${cells.join("")}`);
  }
}

if (!isMainThread) insertThread();
else
  await main(
    process.argv.slice(2).length > 0 ? process.argv.slice(2).map(Number) : [64, 10_000, 100_000, 1_000_000],
  );
