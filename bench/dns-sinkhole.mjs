/**
 * What dns-sinkhole costs: how long a file of names takes from its text to the table, memory, and ns a query for listed names, for
 * others below the same top-level domains, and with all of it answered. Names are random but the same in each run: two to four labels
 * below forty top-level domains, 20 octets on average, as in public lists. Run after `npm run build`:
 * node bench/dns-sinkhole.mjs [names...]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parsePipeline } from "../build/config/pipeline.js";
import { load, time } from "./acl.mjs";

const PACKETS = 16_384;
const OUTPUTS = ["next", "drop", "reply"];
let state = 1;
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * below);
}
const word = (least, most) =>
  Array.from({ length: least + random(most - least + 1) }, () => String.fromCharCode(97 + random(26))).join(
    "",
  );
const TOPS = Array.from({ length: 40 }, () => word(2, 5));
const name = () => {
  const labels = [TOPS[random(TOPS.length)], word(5, 12)];
  for (let more = random(3); more > 0; more--) labels.unshift(word(2, 8));
  return labels.join(".");
};
function query(text) {
  const labels = text
    .split(".")
    .map((label) => label.length.toString(16).padStart(2, "0") + Buffer.from(label).toString("hex"));
  const hex = `123401000001000000000000${labels.join("")}0000010001`;
  return {
    ipv4: { from: "10.0.0.9", to: "9.9.9.9" },
    udp: { "from-port": 1024 + random(60_000), "to-port": 53 },
    payload: { hex },
  };
}

console.log(`${cpus()[0].model}, node ${process.version}, ${PACKETS} queries in batches of 64`);
console.log("file        names  read s  encode  build ms  memory MB   listed  below  others  ns a query");
const counts = process.argv.slice(2).map(Number);
const folder = mkdtempSync(join(tmpdir(), "pktflow-dns-"));
for (const count of counts.length > 0 ? counts : [1000, 100_000, 1_000_000]) {
  for (const kind of ["plain", "hosts"]) {
    const names = Array.from({ length: count }, name);
    const file = join(folder, "names.txt");
    writeFileSync(file, names.map((one) => `${kind === "hosts" ? "0.0.0.0 " : ""}${one}\n`).join(""));
    const began = performance.now();
    const [filter] = parsePipeline(
      `pktflow: 1
devices: { a: { kind: pcap, read: a.pcap }, b: { kind: discard } }
filters: { it: { kind: dns-sinkhole, names: { file: ${file} } } }
paths: { q: { from: a, through: [{ it: { reply: p } }], to: b }, p: { to: b } }
`,
      "bench.yaml",
    ).filters;
    const read = (performance.now() - began) / 1000;
    const rows = {
      listed: () => names[random(count)],
      below: () => `${word(3, 8)}.${names[random(count)]}`,
      others: name,
    };
    const cells = [];
    let sizes = "";
    for (const make of Object.values(rows)) {
      const isAnswered = make !== rows.others;
      const queries = isAnswered ? 4 * PACKETS : PACKETS;
      const packets = Array.from({ length: queries }, () => query(make()));
      const one = await load({ names: filter.params.names }, packets, OUTPUTS, "dns-sinkhole");
      const bytes = one.m.u8.length - queries * 584 - 8 * 1_100_000;
      sizes = `${one.times.encode.toFixed(0).padStart(7)} ${one.times.compile.toFixed(0).padStart(9)} ${(bytes / 1e6).toFixed(1).padStart(10)}`;
      // An answer is made in the query's place, and is no query any more: those are asked once, so many that it is warm soon.
      const start = performance.now();
      if (isAnswered) one.run();
      cells.push(isAnswered ? ((performance.now() - start) * 1e6) / queries : time(one.run, queries));
    }
    console.log(
      `${kind.padEnd(6)} ${String(count).padStart(10)} ${read.toFixed(2).padStart(7)} ${sizes} ${cells.map((ns) => ns.toFixed(0).padStart(7)).join("")}`,
    );
  }
}
console.log(`resident at most: ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MB`);
rmSync(folder, { recursive: true });
