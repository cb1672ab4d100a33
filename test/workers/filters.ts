/** Filters that misbehave on purpose, written into a folder. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const IMPORTS = `import { Batch, OUTPUT_NEXT, Output, Packet, Udp } from "pktflow/assembly";
import { Counters, params } from "./params";
`;
const MANIFEST = `summary: Misbehaves at a port.
params: { port: { type: port, doc: Where. } }
counters: { seen: Packets that it was called for. }
`;
/** What it does at a packet to its port. */
const BAD = {
  trap: "unreachable();",
  "out-of-bounds": "load<u8>(0xfffffff0);",
  loop: "while (atomic.load<u32>(<usize>p.slot) != 0xdeadbeef) {}",
};
export type Bad = keyof typeof BAD;

/** What its index.ts exports. */
const STYLES = {
  packet: "export function packet(p: Packet): Output { return one(p); }\n",
  batch:
    "export function batch(b: Batch): void { for (let i: u32 = 0; i < b.count; i++) b.at(i).output = one(b.at(i)); }\n",
  // Counts all of a batch, then decides on them.
  "two-passes": `export function batch(b: Batch): void {
  for (let i: u32 = 0; i < b.count; i++) counter(Counters.seen).add(b.at(i).length > 0 ? 1 : 0);
  for (let i: u32 = 0; i < b.count; i++) b.at(i).output = decide(b.at(i));
}
`,
  // Decides, and then is not content.
  afterwards: `export function batch(b: Batch): void {
  for (let i: u32 = 0; i < b.count; i++) b.at(i).output = OUTPUT_NEXT;
  for (let i: u32 = 0; i < b.count; i++) decide(b.at(i));
}
`,
};
export type Style = keyof typeof STYLES;

/** @returns its path */
export function misbehaving(folder: string, name: string, bad: Bad, style: Style = "packet"): string {
  const path = join(folder, name);
  mkdirSync(path, { recursive: true });
  const packet = `function one(p: Packet): Output {
  counter(Counters.seen).add(1);
  return decide(p);
}
function decide(p: Packet): Output {
  if (Udp.of(p).destinationPort == params.port) { ${BAD[bad]} }
  return OUTPUT_NEXT;
}
`;
  writeFileSync(join(path, "filter.yaml"), MANIFEST);
  writeFileSync(
    join(path, "index.ts"),
    IMPORTS.replace("Batch,", "Batch, counter,") + packet + STYLES[style],
  );
  return path;
}
