/**
 * What longest prefix match costs over large tables: ns a packet, how long a file of prefixes takes to load, and memory.
 * Tables have the lengths of the Internet's (IPv4: most are /24, then /22, /23, /20 to /16; IPv6: /48, /32, /44, /40, /36);
 * addresses are drawn from them. 16,384 packets go round in batches of 64. Run after `npm run build`:
 * node bench/route.mjs [routes...]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parsePipeline } from "../build/config/pipeline.js";
import { load, time } from "./acl.mjs";

const PACKETS = 16_384;
const OUTPUTS = ["next", "drop", "west", "east", "south", "north"];
/** Length and its share, percent, as in public collectors' tables of 2024. */
const LENGTHS4 = [
  [24, 60],
  [23, 11],
  [22, 12],
  [21, 5],
  [20, 4],
  [19, 3],
  [18, 2],
  [17, 1],
  [16, 2],
];
const LENGTHS6 = [
  [48, 47],
  [32, 12],
  [44, 11],
  [40, 10],
  [36, 6],
  [46, 5],
  [47, 4],
  [33, 2],
  [29, 3],
];

const TOPS6 = [
  0x2001,
  0x2003,
  ...[0x2400, 0x2600, 0x2800, 0x2a00].flatMap((top) => Array.from({ length: 16 }, (_, i) => top + i)),
];

let state = 1;
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}

function drawLength(lengths) {
  let left = random(100);
  for (const [length, share] of lengths) {
    if (left < share) return length;
    left -= share;
  }
  return lengths[0][0];
}

const v4 = (n) => [24, 16, 8, 0].map((shift) => (n >>> shift) & 255).join(".");
const v6 = (groups) => groups.map((group) => group.toString(16)).join(":");

function prefix(isIpv4) {
  const length = drawLength(isIpv4 ? LENGTHS4 : LENGTHS6);
  if (isIpv4) {
    // 1.0.0.0 to 223.255.255.255.
    const bits = (((1 + random(223)) << 24) | random(2 ** 24)) >>> 0;
    const network = (bits & (~0 << (32 - length))) >>> 0;
    return { text: `${v4(network)}/${length}`, inside: v4((network | random(2 ** (32 - length))) >>> 0) };
  }
  // As they are given out: a few blocks of the registries, tens of thousands of /32 in them.
  const groups = [TOPS6[random(TOPS6.length)], random(1024) * 8, random(65_536), 0, 0, 0, 0, 0];
  const masked = groups.map(
    (group, i) => group & (0xffff << Math.max(0, Math.min(16, 16 * (i + 1) - length))) & 0xffff,
  );
  const inside = masked.map((group, i) => (16 * i >= length ? random(65_536) : group));
  return { text: `${v6(masked)}/${length}`, inside: v6(inside) };
}

console.log(`${cpus()[0].model}, node ${process.version}, ${PACKETS} packets in batches of 64`);
console.log("version   routes  ns/packet   read s  encode  build ms   state MB   bytes/route");
const counts = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), "pktflow-route-"));
for (const count of counts.length > 0 ? counts : [10, 10_000, 1_000_000]) {
  for (const isIpv4 of [true, false]) {
    const table = Array.from({ length: count }, () => prefix(isIpv4));
    const file = join(folder, "table.txt");
    writeFileSync(file, table.map(({ text }) => `${text} ${OUTPUTS[2 + random(4)]}\n`).join(""));
    const wires = OUTPUTS.slice(2).map((name) => `${name}: p`);
    const began = performance.now();
    const [filter] = parsePipeline(
      `pktflow: 1
devices: { a: { kind: pcap, read: a.pcap }, b: { kind: discard } }
filters: { table: { kind: route, routes: { file: ${file} } } }
paths: { q: { from: a, through: [{ table: { ${wires.join(", ")} } }], to: b }, p: { to: b } }
`,
      "bench.yaml",
    ).filters;
    const read = (performance.now() - began) / 1000;
    const packets = Array.from({ length: PACKETS }, () => {
      const to = table[random(count)].inside;
      return isIpv4 ? { ipv4: { from: "192.0.2.1", to }, udp: {} } : { ipv6: { from: "::1", to }, udp: {} };
    });
    const one = await load(filter.params, packets, filter.outputs, "route");
    const ns = time(one.run, PACKETS);
    const cells = [
      (isIpv4 ? "IPv4" : "IPv6").padEnd(7),
      String(count).padStart(8),
      ns.toFixed(1).padStart(10),
      read.toFixed(2).padStart(8),
      one.times.encode.toFixed(0).padStart(7),
      one.times.compile.toFixed(0).padStart(9),
      (one.sizes.prepared / 1e6).toFixed(1).padStart(10),
      (one.sizes.prepared / count).toFixed(1).padStart(13),
    ];
    console.log(cells.join(" "));
  }
}
rmSync(folder, { recursive: true });
