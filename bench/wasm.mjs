/**
 * ns a packet of core and of filters alone, without a kernel: 64-packet batches, each loop run for half a second, the
 * best of seven. Run after `npm run build`: node bench/wasm.mjs
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { basename, join } from "node:path";
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
const wasm = new URL("../build/wasm/core.wasm", import.meta.url);
const core = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(wasm)), { env: { memory } })
  .exports;

function fill(packet, dissect = true) {
  m.u32[BATCH_AT >>> 2] = 0;
  for (let i = 0; i < PACKETS; i++) {
    const ports = { "from-port": 1024 + i, "to-port": 53 };
    const { bytes } = buildPacket({ ...packet, ...(packet.tcp ? { tcp: ports } : { udp: ports }) });
    const [d, data] = [DESCRIPTORS + i * DESCRIPTOR.SIZE, SLOTS + i * SLOT_BYTES + 128];
    m.u8.set(bytes, data);
    descriptorReset(m, d, data, bytes.length, 0);
    batchPush(m, BATCH_AT, d);
  }
  if (dissect) core.dissect(BATCH_AT, 3, COUNTERS, COUNTERS + 64);
}

/** Best of seven, ns a packet. */
function time(run) {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 7; round++) {
    const end = performance.now() + 500 / 7;
    let batches = 0;
    const start = performance.now();
    do {
      for (let i = 0; i < 200; i++) run();
      batches += 200;
    } while (performance.now() < end);
    best = Math.min(best, ((performance.now() - start) * 1e6) / (batches * PACKETS));
  }
  return best.toFixed(1).padStart(7);
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
console.log(`${cpus()[0].model}, node ${process.version}, ${PACKETS}-packet batches, ns a packet`);
m.u32.set([0, FREE], TABLE >>> 2);
m.u32[(CONTEXT_AT + CONTEXT.OUTPUTS) >>> 2] = 2;
m.u32[(CONTEXT_AT + CONTEXT.OUTPUT_COUNTERS) >>> 2] = COUNTERS + 512;
m.u32[(CONTEXT_AT + CONTEXT.OUTPUT_BATCHES) >>> 2] = TABLE;
const checksum = await filter("checksum", { verify: ["ipv4", "tcp", "udp", "icmp"], fix: [] });
for (const [kind, packet] of Object.entries(KINDS)) {
  fill(packet);
  console.log(`${time(() => core.dissect(BATCH_AT, 3, COUNTERS, COUNTERS + 64))}  dissect           ${kind}`);
  console.log(`${time(checksum)}  checksum (verify) ${kind}`);
}
fill(KINDS["UDP/IPv4 64 B"]);
console.log(`${time(() => core.partition(BATCH_AT, CONTEXT_AT))}  partition, all next`);
console.log(`${time(() => core.measure(BATCH_AT, COUNTERS))}  measure`);
const ttl = await filter("ttl", {});
// It runs out after some time, and then takes the other way out: refilled before each call, less the refill's cost.
const refill = () => {
  for (let i = 0; i < PACKETS; i++) m.u8[SLOTS + i * SLOT_BYTES + 128 + 8] = 255;
};
const both = () => {
  refill();
  ttl();
};
console.log(`${(Number(time(both)) - Number(time(refill))).toFixed(1).padStart(7)}  ttl`);
console.log(`core.wasm ${readFileSync(wasm).length} B (${basename(wasm.pathname)})`);
