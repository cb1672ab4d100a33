/**
 * What NAT64 costs: ns a packet with so many live sessions, from inside and from outside. Only the calls into Wasm are timed, a
 * batch of 64 each; packets are UDP with 36 bytes of data, each batch from flows in an order without locality, written and dissected
 * anew before each call. Run after `npm run build`: node bench/nat64.mjs [sessions...]
 */
import { readFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { BATCH, BATCH_PACKETS, CONTEXT, DESCRIPTOR, DEVICE_INFO, HEADROOM } from "../build/batches/layout.js";
import { batchPush, descriptorReset, PacketMemory, u64Write } from "../build/batches/memory.js";
import { loadManifest } from "../build/config/manifest.js";
import { BUILTIN } from "../build/filters/build.js";
import { loadFilter } from "../build/filters/library.js";
import { instantiate, SCRATCH_PARAMS, stateSizes } from "../build/filters/load.js";
import { buildPacket } from "../build/filters/notation.js";
import { encodeParams } from "../build/params/encode.js";
import { parseParams } from "../build/params/parse.js";

const SLOT = 512;
const OUTSIDES = 32;

async function prepare(sessions) {
  const manifest = loadManifest(join(BUILTIN, "nat64"), "nat64");
  const { module } = await loadFilter(manifest);
  const outside = Array.from({ length: OUTSIDES }, (_, i) => `198.51.100.${i + 1}`);
  const parsed = parseParams(manifest.params, { outside, sessions, mappings: sessions });
  if ("problems" in parsed) throw new Error(parsed.problems.map(({ message }) => message).join("\n"));
  const encode = (at) => encodeParams(manifest.params, parsed.value, ["next", "drop"], at);
  const sizes = stateSizes(module, manifest, encode(SCRATCH_PARAMS));
  let next = 65_536;
  const take = (bytes) => {
    const at = next;
    next = Math.ceil((next + bytes) / 64) * 64;
    return at;
  };
  const at = {
    params: take(encode(0).length),
    shared: take(sizes.shared),
    device: take(DEVICE_INFO.SIZE),
    context: take(CONTEXT.SIZE),
    counters: take(1024),
    state: take(sizes.worker),
    batch: take(BATCH.ENTRIES + 4 * BATCH_PACKETS),
    descriptors: take(64 * BATCH_PACKETS),
    slots: take(SLOT * BATCH_PACKETS),
  };
  const pages = Math.ceil(next / 65_536);
  const memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
  const m = new PacketMemory(memory);
  m.u8.set(encode(at.params), at.params);
  const word = (address, value) => {
    m.u32[address >>> 2] = value;
  };
  word(at.device + DEVICE_INFO.MTU, 1500);
  for (const [offset, value] of [
    [CONTEXT.PARAMS, at.params],
    [CONTEXT.COUNTERS, at.counters],
    [CONTEXT.WORKER_STATE, at.state],
    [CONTEXT.SHARED_STATE, at.shared],
    [CONTEXT.WORKERS, 1],
    [CONTEXT.RANDOM, 12_345],
    [CONTEXT.DEVICES, at.device],
    [CONTEXT.DEVICE_COUNT, 1],
  ])
    word(at.context + offset, value);
  u64Write(m, at.context + CONTEXT.NOW, 3600e9);
  instantiate(module, memory).initShared(at.context);
  const filter = instantiate(module, memory);
  filter.init(at.context);
  const wasm = readFileSync(new URL("../build/wasm/core.wasm", import.meta.url));
  const core = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } }).exports;
  for (let i = 0; i < BATCH_PACKETS; i++) {
    word(at.descriptors + i * DESCRIPTOR.SIZE + DESCRIPTOR.SLOT, at.slots + i * SLOT);
    word(at.descriptors + i * DESCRIPTOR.SIZE + DESCRIPTOR.CAPACITY, SLOT);
  }
  return {
    megabytes: sizes.shared / 1e6,
    /** @param template of all packets; @param write puts flow n's ends into the packet at an address @returns ns a packet */
    process(template, write, flows) {
      m.u32[at.batch >>> 2] = 0;
      for (let i = 0; i < BATCH_PACKETS; i++) {
        const [d, data] = [at.descriptors + i * DESCRIPTOR.SIZE, at.slots + i * SLOT + HEADROOM];
        m.u8.set(template, data);
        write(m, data, flows[i]);
        descriptorReset(m, d, data, template.length, 0);
        batchPush(m, at.batch, d);
      }
      core.dissect(at.batch, 3, at.counters + 512, at.counters + 640);
      const start = performance.now();
      filter.process(at.batch + BATCH.ENTRIES, BATCH_PACKETS);
      return ((performance.now() - start) * 1e6) / BATCH_PACKETS;
    },
    result(i) {
      const d = at.descriptors + i * DESCRIPTOR.SIZE;
      if (m.u8[d + DESCRIPTOR.OUTPUT] !== 0) throw new Error("a packet was dropped");
      const data = m.u32[(d + DESCRIPTOR.DATA) >>> 2];
      return m.u8.slice(data, data + m.u32[(d + DESCRIPTOR.LENGTH) >>> 2]);
    },
  };
}

const out = buildPacket({
  ipv6: { from: "2001:db8::", to: "64:ff9b::8.8.8.8" },
  udp: { "to-port": 53, checksum: "none" },
  payload: { bytes: 36 },
}).bytes;
const into = buildPacket({
  ipv4: { from: "8.8.8.8", to: "198.51.100.1", flags: "df" },
  udp: { "from-port": 53 },
  payload: { bytes: 36 },
}).bytes;
/** Flow n is of one of so many hosts, each with 8 ports. */
function writeOut(m, data, n) {
  m.u32[(data + 20) >>> 2] = n >>> 3;
  m.u16[(data + 40) >>> 1] = 1024 + (n & 7) * 5;
}

async function steady(sessions) {
  const nat64 = await prepare(Math.max(131_072, Math.ceil(sessions * 1.25)));
  // The outside ends, as they lie in packets.
  const addresses = new Uint32Array(sessions);
  const ports = new Uint16Array(sessions);
  const writeInto = (m, data, n) => {
    m.u32[(data + 16) >>> 2] = addresses[n];
    m.u16[(data + 22) >>> 1] = ports[n];
  };
  // A step that has no divisor in common with the number of flows goes through all of them, far apart.
  const gcd = (a, b) => (b === 0 ? a : gcd(b, a % b));
  let step = Math.floor(sessions * 0.618) | 1;
  while (gcd(step, sessions) !== 1) step += 2;
  let flow = 0;
  const flows = new Uint32Array(BATCH_PACKETS);
  const batch = () => {
    for (let i = 0; i < BATCH_PACKETS; i++) {
      flow = (flow + step) % sessions;
      flows[i] = flow;
    }
    return flows;
  };
  const rounds = Math.ceil(sessions / BATCH_PACKETS);
  for (let i = 0; i < rounds; i++) {
    nat64.process(out, writeOut, batch());
    flows.forEach((n, at) => {
      const sent = nat64.result(at);
      addresses[n] = new DataView(sent.buffer).getUint32(12, true);
      ports[n] = new DataView(sent.buffer).getUint16(20, true);
    });
  }
  // The lowest of the medians of windows: what else the machine does comes on top.
  const measure = (template, write) => {
    const windows = Array.from({ length: 10 }, () => {
      const times = Array.from({ length: Math.min(4000, Math.max(1500, rounds / 4)) }, () =>
        nat64.process(template, write, batch()),
      );
      nat64.result(0);
      return times.sort((a, b) => a - b)[times.length >>> 1];
    });
    return Math.min(...windows);
  };
  measure(out, writeOut);
  return [measure(out, writeOut), measure(into, writeInto), nat64.megabytes];
}

console.log(
  `${cpus()[0].model}, Linux ${release()}, node ${process.version}, batches of ${BATCH_PACKETS}, UDP`,
);
console.log("sessions   out ns   in ns   state MB");
const counts = process.argv.slice(2).map(Number);
for (const count of counts.length > 0 ? counts : [64, 10_000, 100_000, 1_000_000]) {
  const figures = await steady(count);
  console.log(`${String(count).padStart(8)}${figures.map((n) => n.toFixed(1).padStart(9)).join("")}`);
}
