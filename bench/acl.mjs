/**
 * What access control costs: ns a packet over few and many rules, for flows whose packets return and for packets of
 * flows that are not known; with connections; and how long a hundred thousand rules take from a file's text to their trees. Rules and
 * packets are random but the same in each run: IPv4 and IPv6 prefixes of all lengths, ports, ranges and protocols; three
 * packets in four are made to lie in some rule, the others are drawn at large. Run after `npm run build`:
 * node bench/acl.mjs [rules...]
 */
import { readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { BATCH, CONTEXT, DESCRIPTOR } from "../build/batches/layout.js";
import { batchPush, descriptorReset, PacketMemory } from "../build/batches/memory.js";
import { loadManifest } from "../build/config/manifest.js";
import { BUILTIN } from "../build/filters/build.js";
import { loadFilter } from "../build/filters/library.js";
import { instantiate, SCRATCH_PARAMS, stateSizes } from "../build/filters/load.js";
import { buildPacket } from "../build/filters/notation.js";
import { encodeParams } from "../build/params/encode.js";
import { parseParams } from "../build/params/parse.js";

const PACKETS = 4096;
const FLOWS = 10_240;
const BATCH_PACKETS = 64;

/** mulberry32: the same numbers in each run. */
function chance(seed) {
  let s = seed >>> 0;
  return (below) => {
    s = (s + 0x6d2b79f5) | 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * below);
  };
}

const v4 = (n) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
const mask4 = (n, length) => (length === 0 ? 0 : (n & (~0 << (32 - length))) >>> 0);
const v6 = (groups) => groups.map((group) => group.toString(16)).join(":");
const mask6 = (groups, length) =>
  groups.map((group, i) => group & (0xffff << Math.max(0, Math.min(16, 16 * (i + 1) - length))) & 0xffff);

/** An address of a prefix. */
const within4 = (n, length, r) => (n | (length === 32 ? 0 : r(2 ** (32 - length)))) >>> 0;
function within6(groups, length, r) {
  const network = mask6([65535, 65535, 65535, 65535, 65535, 65535, 65535, 65535], length);
  return groups.map((group, i) => group | (r(65536) & ~network[i] & 0xffff));
}

/** One rule of a mixed set, and what makes packets in it: each of a flow of its own, as far as the rule leaves room for one. */
function rule(r) {
  const isIpv4 = r(10) < 6;
  const side = () => {
    const kind = r(10);
    const length = isIpv4 ? (kind < 3 ? 32 : 8 + r(25)) : kind < 3 ? 128 : 16 + r(113);
    const groups = [0x2001, 0xdb8 + r(64), ...Array.from({ length: 6 }, () => r(65536))];
    const at = isIpv4 ? mask4(r(2 ** 32), length) : mask6(groups, length);
    const text = isIpv4 ? `${v4(at)}/${length}` : `${v6(at)}/${length}`;
    return {
      text,
      address: (chance) => (isIpv4 ? v4(within4(at, length, chance)) : v6(within6(at, length, chance))),
    };
  };
  const [from, to] = [side(), side()];
  const which = r(10);
  const proto = ["tcp", "tcp", "tcp", "udp", "udp", isIpv4 ? "icmp" : "icmpv6", "gre"][r(7)];
  const port = 1 + r(60000);
  const ports = proto === "tcp" || proto === "udp" ? r(4) : 0;
  const said = {
    action: ["accept", "drop"][r(2)],
    proto,
    ...(which < 7 ? { from: from.text } : {}),
    ...(which > 2 ? { to: to.text } : {}),
    ...(ports === 1 ? { "to-port": port } : ports === 2 ? { "to-port": `${port}-${port + r(5000)}` } : {}),
    ...(ports === 3 ? { "to-port": [port, 443], "from-port": "1024-65535" } : {}),
  };
  return { said, hit: { isIpv4, from: from.address, to: to.address, proto, port } };
}

export function ruleSet(count, seed = 1) {
  const r = chance(seed);
  return Array.from({ length: count }, () => rule(r));
}

function packetOf({ isIpv4, from: source, to: destination, proto, port }, r) {
  const [from, to] = [source(r), destination(r)];
  const ports = { "from-port": 1024 + r(64_512), "to-port": port };
  const number = { gre: 47, icmp: 1, icmpv6: 58 }[proto];
  const ip = isIpv4 ? { ipv4: { from, to } } : { ipv6: { from, to } };
  if (proto === "tcp") return { ...ip, tcp: ports };
  if (proto === "udp") return { ...ip, udp: ports };
  if (proto === "icmp") return { ...ip, icmp: {} };
  if (proto === "icmpv6") return { ...ip, icmpv6: {} };
  const numbered = isIpv4
    ? { ipv4: { from, to, protocol: number } }
    : { ipv6: { from, to, "next-header": number } };
  return { ...numbered, payload: { bytes: 8 } };
}

/** A filter on a memory of its own, with its packets dissected. @returns what runs it over all packets once */
export async function load(params, packets, outputs = ["next", "drop"], kind = "acl") {
  const manifest = loadManifest(join(BUILTIN, kind), kind);
  const { module } = await loadFilter(manifest);
  const began = performance.now();
  const parsed = parseParams(manifest.params, params);
  if ("problems" in parsed) throw new Error(parsed.problems.map(({ message }) => message).join("\n"));
  const encoded = performance.now();
  const bytes = encodeParams(manifest.params, parsed.value, outputs, SCRATCH_PARAMS);
  const sizes = stateSizes(module, manifest, bytes);
  let next = 65536;
  const take = (count) => {
    const at = next;
    next = Math.ceil((next + count) / 64) * 64;
    return at;
  };
  const [context, counters, worker] = [take(CONTEXT.SIZE), take(8 * 1_100_000), take(sizes.worker)];
  const paramsAt = take(bytes.length);
  const [shared, prepared] = [take(sizes.shared), take(sizes.prepared)];
  const batches = Math.ceil(packets.length / BATCH_PACKETS);
  const [vectors, descriptors] = [take(batches * 512), take(packets.length * 64)];
  const slots = take(packets.length * 512);
  const memory = new WebAssembly.Memory({
    initial: Math.ceil(next / 65536),
    maximum: Math.ceil(next / 65536),
    shared: true,
  });
  const m = new PacketMemory(memory);
  m.u8.set(encodeParams(manifest.params, parsed.value, outputs, paramsAt), paramsAt);
  m.u32[(context + CONTEXT.PARAMS) >>> 2] = paramsAt;
  m.u32[(context + CONTEXT.COUNTERS) >>> 2] = counters;
  m.u32[(context + CONTEXT.WORKER_STATE) >>> 2] = worker;
  m.u32[(context + CONTEXT.SHARED_STATE) >>> 2] = shared;
  m.u32[(context + CONTEXT.PREPARED_STATE) >>> 2] = prepared;
  m.u32[(context + CONTEXT.SHARED_STATE_BYTES) >>> 2] = sizes.shared;
  m.u32[(context + CONTEXT.WORKERS) >>> 2] = 1;
  m.u32[(context + CONTEXT.NOW) >>> 2] = 1e9;
  const wasm = new URL("../build/wasm/core.wasm", import.meta.url);
  const core = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(wasm)), { env: { memory } })
    .exports;
  const instance = instantiate(module, memory);
  const compiling = performance.now();
  instance.prepare?.(context);
  instance.initShared?.(context);
  const compiled = performance.now();
  instance.init(context);
  packets.forEach((packet, i) => {
    const descriptor = descriptors + i * 64;
    const data = slots + i * 512 + 128;
    const built = buildPacket(packet).bytes;
    m.u8.set(built, data);
    m.u32[(descriptor + DESCRIPTOR.SLOT) >>> 2] = data - 128;
    m.u32[(descriptor + DESCRIPTOR.CAPACITY) >>> 2] = 512;
    descriptorReset(m, descriptor, data, built.length, 0);
    batchPush(m, vectors + (i >> 6) * 512, descriptor);
  });
  for (let i = 0; i < batches; i++) core.dissect(vectors + i * 512, 3, counters, counters + 64);
  const run = () => {
    for (let i = 0; i < batches; i++) instance.process(vectors + i * 512 + BATCH.ENTRIES, BATCH_PACKETS);
  };
  return {
    run,
    /** Clears the worker's state: of a filter without connections, what it remembers of flows. */
    forget: () => m.u8.fill(0, worker, worker + sizes.worker),
    m,
    outputs: () => packets.map((_, i) => m.u8[descriptors + i * 64 + DESCRIPTOR.OUTPUT]),
    instance,
    context,
    sizes,
    times: {
      parse: encoded - began,
      encode: compiling - encoded,
      compile: compiled - compiling,
    },
  };
}

/** Best of nine, ns a packet. */
export function time(run, packets) {
  let best = Number.POSITIVE_INFINITY;
  run();
  for (let round = 0; round < 9; round++) {
    const start = performance.now();
    let rounds = 0;
    do {
      run();
      rounds++;
    } while (performance.now() - start < 60);
    best = Math.min(best, ((performance.now() - start) * 1e6) / (rounds * packets));
  }
  return best;
}

/** The same where no flow is known, as what a worker remembers of flows is cleared each time. */
function timeUnknown({ run, forget }, packets) {
  let best = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 200; round++) {
    forget();
    const start = performance.now();
    run();
    best = Math.min(best, ((performance.now() - start) * 1e6) / packets);
  }
  return best;
}

export function traffic(set, seed = 2) {
  const r = chance(seed);
  return Array.from({ length: PACKETS }, () =>
    packetOf(r(4) === 0 ? rule(r).hit : set[r(set.length)].hit, r),
  );
}

/** The rules of pipelines/nat-gateway.yaml. */
const GATEWAY = [
  { action: "accept", proto: "tcp", "to-port": [443, "8000-8999"] },
  { action: "accept", proto: "udp", "to-port": [53, 443] },
  { action: "accept", proto: "icmp" },
  { action: "drop", proto: "tcp", "to-port": 25 },
];

/** A thousand rules of which the last one matches, as bench/set.mjs has them. */
function thousand() {
  const rules = Array.from({ length: 999 }, (_, i) => ({
    action: "accept",
    from: `${v4(0xac100000 + i * 16)}/28`,
    proto: i & 1 ? "tcp" : "udp",
    "to-port": 10_000 + i,
  }));
  return [...rules, { action: "accept", proto: "udp", "to-port": 53 }];
}

/** UDP of so many flows to port 53. */
function datagrams(flows) {
  return Array.from({ length: flows }, (_, i) => ({
    ipv4: { from: v4(0x0a4d0000 + (i % 250) + 256 * (i >> 12)), to: "198.51.100.1" },
    udp: { "from-port": 1024 + ((i * 37) % 60_000), "to-port": 53 },
    payload: { bytes: 22 },
  }));
}

function answers(packets) {
  return packets.map(({ ipv4, udp, tcp, payload }) => {
    const said = udp ?? tcp;
    const ports = { "from-port": said["to-port"], "to-port": said["from-port"] };
    const layer = udp ? { udp: ports } : { tcp: { ...tcp, ...ports, seq: tcp.ack, ack: tcp.seq } };
    return { ipv4: { from: ipv4.to, to: ipv4.from }, ...layer, payload };
  });
}

function segments(flows) {
  return datagrams(flows).map(({ ipv4, udp }) => ({
    ipv4,
    tcp: { ...udp, "to-port": 443, seq: 1000, ack: 2000, window: 60_000, flags: ["ack"] },
    payload: { bytes: 8 },
  }));
}

async function main(counts) {
  console.log(`${cpus()[0].model}, node ${process.version}, batches of ${BATCH_PACKETS}`);
  console.log("ns a packet");
  const show = (ns, what) => console.log(`${ns.toFixed(1).padStart(8)}  ${what}`);
  const flows = datagrams(FLOWS);
  for (const [what, rules] of [
    ["4 rules", GATEWAY],
    ["1,000 rules, the last one matches", thousand()],
  ]) {
    show(time((await load({ rules }, flows)).run, FLOWS), `${what}, UDP of ${FLOWS} flows`);
  }
  const all = [{ action: "accept", from: "10.0.0.0/8" }];
  for (const [what, out] of [
    ["UDP", datagrams(FLOWS)],
    ["TCP", segments(FLOWS)],
  ]) {
    const both = [...out, ...answers(out)];
    const { run } = await load({ stateful: true, rules: all }, both);
    show(time(run, both.length), `stateful, ${what} of ${FLOWS} connections both ways`);
  }
  console.log("   rules  flows return    flows unknown  parse  encode  compile ms   state MB");
  for (const count of counts) {
    const set = ruleSet(count);
    const rules = set.map(({ said }) => said);
    const filter = await load({ rules }, traffic(set));
    const ns = time(filter.run, PACKETS);
    const alone = timeUnknown(filter, PACKETS);
    const { parse, encode, compile } = filter.times;
    const cells = [String(count).padStart(8), ns.toFixed(1).padStart(13), alone.toFixed(1).padStart(16)];
    for (const ms of [parse, encode, compile]) cells.push(ms.toFixed(0).padStart(6));
    console.log(
      `${cells.join(" ")} ${((filter.sizes.shared + filter.sizes.prepared) / 1e6).toFixed(1).padStart(14)}`,
    );
  }
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const counts = process.argv.slice(2).map(Number);
  await main(counts.length > 0 ? counts : [100, 1000, 100_000]);
}
