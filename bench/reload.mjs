/**
 * What a reload costs: how long one takes of a set of so many prefixes, from the file's text to every worker, and what one worker
 * that drops and accepts as fast as it can does meanwhile, by what it did before. Run after `npm run build`:
 * node bench/reload.mjs [prefixes...]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median } from "../build/bench/median.js";
import { load, run } from "../build/library/index.js";

const TURNS = 5;
const folder = mkdtempSync(join(tmpdir(), "pktflow-reload-"));
const list = join(folder, "blocked.txt");
const file = join(folder, "reload.yaml");
writeFileSync(
  file,
  `pktflow: 1
workers: 1
devices:
  load: { kind: generator, flows: { from: 10.0.0.1, to: 192.0.2.1, to-port: "1-10000", count: 10000, size: 64 } }
  out: { kind: discard }
filters:
  bans: { kind: acl, default: accept, sets: { blocked: { file: blocked.txt } }, rules: [{ action: drop, from: blocked }] }
paths:
  main: { from: load, through: [bans], to: out }
`,
);

/** As a feed has them: /32 to /24, and another tenth of them each time. */
function write(count, turn) {
  const lines = Array.from({ length: count }, (_, i) => {
    const n = Math.imul(i % 10 === 0 ? i + turn * 7919 : i, 0x9e3779b1) >>> 0;
    const net = `${32 + (n >>> 27)}.${(n >>> 16) & 255}.${(n >>> 8) & 255}`;
    return i % 4 === 0 ? `${net}.0/24` : `${net}.${n & 255}`;
  });
  writeFileSync(list, `${lines.join("\n")}\n`);
}

console.log("prefixes  reload ms (of which reading the file)  packets/s meanwhile, by before  memory MB");
for (const count of process.argv.length > 2
  ? process.argv.slice(2).map(Number)
  : [100, 10_000, 100_000, 1_000_000]) {
  write(count, 0);
  const running = await run(load(file));
  const packets = () => running.report().filters.bans.packets;
  const times = [];
  const readings = [];
  const ratios = [];
  for (let turn = 1; turn <= TURNS; turn++) {
    write(count, turn);
    await new Promise((resolve) => setTimeout(resolve, 300));
    const [p0, t0] = [packets(), performance.now()];
    await new Promise((resolve) => setTimeout(resolve, 300));
    const [p1, t1] = [packets(), performance.now()];
    const version = load(file);
    const read = performance.now();
    await running.reload(version);
    const [p2, t2] = [packets(), performance.now()];
    times.push(t2 - t1);
    readings.push(read - t1);
    ratios.push((p2 - p1) / (t2 - t1) / ((p1 - p0) / (t1 - t0)));
  }
  const cells = [
    String(count).padStart(8),
    `${median(times).toFixed(0)} (${median(readings).toFixed(0)})`.padStart(25),
    median(ratios).toFixed(2).padStart(28),
    (running.memory / 1e6).toFixed(0).padStart(10),
  ];
  console.log(cells.join("  "));
  await running.stop();
}
rmSync(folder, { recursive: true });
