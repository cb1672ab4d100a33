/**
 * ns a packet of core and of single filters, without a kernel: 64-packet batches, one call into Wasm each, timed by
 * tinybench; the median of the calls. After `npm run build`: node bench/filters.mjs [MILLISECONDS EACH]
 */
import { readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { Bench } from "tinybench";
import { BATCH, CONTEXT, DESCRIPTOR } from "../build/batches/layout.js";
import { batchPush, descriptorReset, PacketMemory } from "../build/batches/memory.js";
import { loadManifest } from "../build/config/manifest.js";
import { BUILTIN } from "../build/filters/build.js";
import { loadFilter } from "../build/filters/library.js";
import { instantiate } from "../build/filters/load.js";
import { buildPacket } from "../build/filters/notation.js";
import { encodeParams } from "../build/params/encode.js";

const PACKETS = 64;
const [CONTEXT_AT, COUNTERS, PARAMS, TABLE, BATCH_AT, FREE] = [1024, 2048, 4096, 8192, 16_384, 24_576];
const [DESCRIPTORS, SLOTS, SLOT_BYTES] = [32_768, 65_536, 2048];

const memory = new WebAssembly.Memory({ initial: 16, maximum: 16, shared: true });
const m = new PacketMemory(memory);
const wasm = readFileSync(new URL("../build/wasm/core.wasm", import.meta.url));
const core = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } }).exports;

function fill(packet) {
  m.u32[BATCH_AT >>> 2] = 0;
  for (let i = 0; i < PACKETS; i++) {
    const ports = { "from-port": 1024 + i, "to-port": 53 };
    const { bytes } = buildPacket({ ...packet, ...(packet.tcp ? { tcp: ports } : { udp: ports }) });
    const [d, data] = [DESCRIPTORS + i * DESCRIPTOR.SIZE, SLOTS + i * SLOT_BYTES + 128];
    m.u8.set(bytes, data);
    descriptorReset(m, d, data, bytes.length, 0);
    batchPush(m, BATCH_AT, d);
  }
  core.dissect(BATCH_AT, 3, COUNTERS, COUNTERS + 64);
}

async function filter(name, params) {
  const manifest = loadManifest(join(BUILTIN, name), name);
  const { module } = await loadFilter(manifest);
  m.u8.set(encodeParams(manifest.params, params, ["next", "drop"], PARAMS), PARAMS);
  m.u32[(CONTEXT_AT + CONTEXT.PARAMS) >>> 2] = PARAMS;
  m.u32[(CONTEXT_AT + CONTEXT.COUNTERS) >>> 2] = COUNTERS;
  const instance = instantiate(module, memory);
  instance.init(CONTEXT_AT);
  return () => instance.process(BATCH_AT + BATCH.ENTRIES, PACKETS);
}

const V4 = { ipv4: { from: "10.0.0.1", to: "10.0.0.2", ttl: 255 } };
const V6 = { ipv6: { from: "2001:db8::1", to: "2001:db8::2" } };
const KINDS = {
  "UDP/IPv4 64 B": { ...V4, payload: { bytes: 36 } },
  "UDP/IPv4 1500 B": { ...V4, payload: { bytes: 1472 } },
  "TCP/IPv6 100 B": { ...V6, tcp: {}, payload: { bytes: 40 } },
};
m.u32.set([0, FREE], TABLE >>> 2);
m.u32[(CONTEXT_AT + CONTEXT.OUTPUTS) >>> 2] = 2;
m.u32[(CONTEXT_AT + CONTEXT.OUTPUT_COUNTERS) >>> 2] = COUNTERS + 512;
m.u32[(CONTEXT_AT + CONTEXT.OUTPUT_BATCHES) >>> 2] = TABLE;
// They share PARAMS, so each is made, with its parameters in place, right before it is timed.
const checksum = ["checksum", { verify: ["ipv4", "tcp", "udp", "icmp"], fix: [] }];
const dissect = () => core.dissect(BATCH_AT, 3, COUNTERS, COUNTERS + 64);
const ROWS = [
  ...Object.keys(KINDS).flatMap((kind) => [
    [`dissect, ${kind}`, kind, () => dissect],
    [`checksum (verify), ${kind}`, kind, () => filter(...checksum)],
  ]),
  ["partition, all next", "UDP/IPv4 64 B", () => () => core.partition(BATCH_AT, CONTEXT_AT)],
  ["measure", "UDP/IPv4 64 B", () => () => core.measure(BATCH_AT, COUNTERS)],
  ["ttl", "UDP/IPv4 64 B", () => filter("ttl", {}), refill],
];

/** A TTL runs out after some time, and then the packet takes the other way. */
function refill() {
  for (let i = 0; i < PACKETS; i++) m.u8[SLOTS + i * SLOT_BYTES + 128 + 8] = 255;
}

console.log(
  `${PACKETS}-packet batches, ns a packet: ${cpus()[0].model}, Linux ${release()}, node ${process.version}`,
);
const time = Number(process.argv[2] ?? 500);
for (const [name, kind, make, beforeEach] of ROWS) {
  fill(KINDS[kind]);
  const run = await make();
  const bench = new Bench({ time, warmupTime: time / 5, timestampProvider: "hrtimeNow" });
  bench.add(name, run, beforeEach ? { beforeEach } : {});
  const [task] = bench.runSync();
  const { latency } = task.result;
  console.log(`${((latency.p50 * 1e6) / PACKETS).toFixed(1).padStart(7)}  ${name}`);
}
console.log(`core.wasm ${wasm.length} B`);
