/**
 * What the form of a filter costs, without a kernel: the same work written as packet() and as batch(), and in a memory of
 * its own. 64-packet batches, one call of process() each, in turn; the median of the calls. After `npm run build`:
 * node bench/own-filters.mjs [ROUNDS]
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { BATCH, CONTEXT, DESCRIPTOR, DEVICE_INFO } from "../build/batches/layout.js";
import { batchPush, descriptorReset, PacketMemory } from "../build/batches/memory.js";
import { loadManifest } from "../build/config/manifest.js";
import { coreBytes, loadFilter } from "../build/filters/library.js";
import { makeInstance } from "../build/filters/load.js";
import { buildPacket } from "../build/filters/notation.js";

const PACKETS = 64;
const SLOT_BYTES = 1728;
const rounds = Number(process.argv[2] ?? 20_000);

/** Two filters' work: nearly nothing, and a header read and changed with its checksum. */
const WORK = {
  "a port looked at": `function one(p: Packet): Output {
  return p.isTransport(PROTOCOL_UDP) && Udp.of(p).destinationPort == 9 ? OUTPUT_DROP : OUTPUT_NEXT;
}`,
  "TTL decremented": `function one(p: Packet): Output {
  if (!p.isIpv4) return OUTPUT_NEXT;
  const ip = Ipv4.of(p);
  ip.ttl = ip.ttl - 1;
  return OUTPUT_NEXT;
}`,
};
const HEAD =
  'import { Batch, OUTPUT_DROP, OUTPUT_NEXT, Output, Packet, PROTOCOL_UDP, Udp, Ipv4 } from "pktflow/assembly";\n';
const ENTRY = {
  packet: "export function packet(p: Packet): Output { return one(p); }\n",
  batch: `export function batch(b: Batch): void {
  const count = b.count;
  for (let i: u32 = 0; i < count; i++) { const p = b.at(i); p.output = one(p); }
}\n`,
};

const folder = mkdtempSync(join(tmpdir(), "pktflow-bench-"));
process.env.XDG_CACHE_HOME = folder;

async function make(work, form, isolation, size) {
  const path = join(folder, `${form}-${Object.keys(WORK).indexOf(work)}`);
  mkdirSync(path, { recursive: true });
  writeFileSync(join(path, "filter.yaml"), "summary: Measured.\n");
  writeFileSync(join(path, "index.ts"), HEAD + WORK[work] + "\n" + ENTRY[form]);
  const { module } = await loadFilter(loadManifest(path), isolation);
  const memory = new WebAssembly.Memory({ initial: 8, maximum: 8, shared: true });
  const m = new PacketMemory(memory);
  const core = new WebAssembly.Instance(new WebAssembly.Module(coreBytes()), { env: { memory } }).exports;
  const at = {
    context: 1024,
    devices: 1536,
    counters: 2048,
    scratch: 4096,
    batch: 8192,
    descriptors: 16_384,
    slots: 65_536,
  };
  m.u32[(at.context + CONTEXT.DEVICES) >>> 2] = at.devices;
  m.u32[(at.context + CONTEXT.COUNTERS) >>> 2] = at.counters;
  m.u32[(at.context + CONTEXT.OUTPUTS) >>> 2] = 2;
  m.u32[(at.devices + DEVICE_INFO.LAYER) >>> 2] = 3;
  const { bytes } = buildPacket({
    ipv4: { from: "10.0.0.1", to: "10.0.0.2", ttl: 255 },
    udp: { "from-port": 1024, "to-port": 53 },
    payload: { bytes: size - 28 },
  });
  for (let i = 0; i < PACKETS; i++) {
    const d = at.descriptors + i * DESCRIPTOR.SIZE;
    const slot = at.slots + i * SLOT_BYTES;
    m.u32[(d + DESCRIPTOR.SLOT) >>> 2] = slot;
    m.u32[(d + DESCRIPTOR.CAPACITY) >>> 2] = SLOT_BYTES;
    m.u8.set(bytes, slot + 128);
    descriptorReset(m, d, slot + 128, bytes.length, 0);
    batchPush(m, at.batch, d);
  }
  const dissect = () => core.dissect(at.batch, 3, at.scratch, at.scratch + 64);
  dissect();
  const shape = {
    slotBytes: SLOT_BYTES,
    paramsBytes: 0,
    references: [],
    workerStateBytes: 0,
    counters: 0,
    devices: 1,
    scratch: at.scratch + 512,
  };
  const instance = makeInstance(module, m, shape);
  instance.init(at.context);
  const process = () => instance.process(at.batch + BATCH.ENTRIES, PACKETS);
  // After an isolated filter packets are dissected again: that is part of its price.
  const run =
    isolation === "memory"
      ? () => {
          process();
          dissect();
        }
      : process;
  return { run, times: new Float64Array(rounds) };
}

const median = (times) => times.slice(times.length >> 2).sort()[Math.floor((times.length * 3) / 8)] / PACKETS;
console.log(
  `${PACKETS}-packet batches, ns a packet: ${cpus()[0].model}, Linux ${release()}, node ${process.version}`,
);
try {
  for (const size of [64, 1500]) {
    for (const work of Object.keys(WORK)) {
      const ways = [
        ["packet()", await make(work, "packet", "none", size)],
        ["batch()", await make(work, "batch", "none", size)],
        ["packet(), memory of its own", await make(work, "packet", "memory", size)],
      ];
      for (let round = 0; round < rounds; round++) {
        for (const [, { run, times }] of ways) {
          const start = performance.now();
          run();
          times[round] = (performance.now() - start) * 1e6;
        }
      }
      for (const [name, { times }] of ways)
        console.log(`${median(times).toFixed(2).padStart(7)}  ${size} B, ${work}, ${name}`);
    }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
