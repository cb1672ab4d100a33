/** The text of the module that the compiler starts from, by what the filter exports: entry.ts says what it is. */
import type { Isolation } from "../config/types.ts";

/** What an index.ts may export to be called. */
const CALLED = [
  "packet",
  "batch",
  "init",
  "initShared",
  "prepare",
  "reload",
  "tick",
  "wake",
  "workerStateSize",
  "sharedStateSize",
  "preparedStateSize",
] as const;

export type Called = (typeof CALLED)[number];

/** @param isOurs it is built in: nobody watches how far its batch() gets */
export function entryText(has: (name: Called) => boolean, isolation: Isolation, isOurs: boolean): string {
  const parts = [
    `import { ABI_VERSION, Packet, batchOf, setContext, setParams } from "pktflow/assembly";`,
    `import * as filter from "./index";`,
    "export const abi: i32 = ABI_VERSION;",
    `export function init(context: i32): void { setContext(context); ${has("init") ? "filter.init();" : ""} }`,
    has("packet") ? PACKETS : isOurs ? BATCHES : WATCHED_BATCHES,
  ];
  // The allocator takes all memory there is for its own, so the host asks it for a part.
  if (isolation === "memory") {
    parts.push("export function allocate(bytes: i32): i32 { return <i32>heap.alloc(<usize>bytes); }");
  }
  for (const name of ["initShared", "prepare"] as const) {
    if (has(name))
      parts.push(`export function ${name}(context: i32): void { setContext(context); filter.${name}(); }`);
  }
  // What init() has kept of parameters that are another time others, only the filter itself can put right.
  if (has("reload") || !has("init")) {
    const call = has("reload") ? "filter.reload();" : "";
    parts.push(`export function reload(context: i32): void { setContext(context); ${call} }`);
  }
  if (has("tick")) parts.push("export function tick(context: i32): void { filter.tick(); }");
  if (has("wake")) parts.push("export function wake(context: i32): void { filter.wake(); }");
  for (const name of ["workerStateSize", "sharedStateSize", "preparedStateSize"] as const) {
    if (!has(name)) continue;
    parts.push(
      `export function ${name}(params: i32): u32 { setParams(params); return <u32>filter.${name}(<usize>params); }`,
    );
  }
  return parts.join("\n") + "\n";
}

/** `progress` costs a store a packet: on a trap the host knows by it which packets are done, and which one is at fault. */
const PACKETS = `export let progress: i32 = 0;
export function process(vector: i32, count: i32): void {
  let at = <usize>vector;
  const end = at + (<usize>count << 2);
  while (at < end) {
    progress = <i32>at;
    const p = changetype<Packet>(<usize>load<u32>(at));
    p.output = filter.packet(p);
    at += 4;
  }
}`;

const BATCHES = `export function process(vector: i32, count: i32): void {
  filter.batch(batchOf(vector, count));
}`;

/** On a trap the host knows by `touched`, and by outputs that are not there, which packets are done, lost, or still to be seen. */
const WATCHED_BATCHES = `import { touched, watchedBatchOf } from "pktflow/assembly/abi/batch";
export { touched };
export function process(vector: i32, count: i32): void {
  filter.batch(watchedBatchOf(vector, count));
}`;

/** All that may be in such a text: what a module is made of beside its sources. */
export function entryTexts(): string[] {
  return [true, false].flatMap((isBatch) =>
    [true, false].flatMap((isOurs) =>
      (["none", "memory"] as const).map((isolation) =>
        entryText((name) => name !== (isBatch ? "packet" : "batch"), isolation, isOurs),
      ),
    ),
  );
}
