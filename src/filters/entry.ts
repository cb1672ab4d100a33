/**
 * The module that the compiler starts from: it exports the Wasm ABI and imports the filter's index.ts. It is generated
 * in memory for each filter, because a Wasm export is there or not: what the filter does not export, the entry cannot.
 */
import * as assemblyscript from "assemblyscript";
import { FilterError } from "./error.ts";

export const ENTRY_FILE = "pktflow-entry.ts";
/** What an index.ts may export to be called. */
const CALLED = [
  "packet",
  "batch",
  "init",
  "initShared",
  "tick",
  "workerStateSize",
  "sharedStateSize",
] as const;

/**
 * @param index text of the filter's index.ts
 * @param file its name, for errors
 */
export function generateEntry(index: string, file: string): string {
  const exported = exportedNames(index, file);
  const has = (name: (typeof CALLED)[number]) => exported.has(name);
  if (has("packet") === has("batch")) {
    throw new FilterError(
      `${file} exports ${has("packet") ? "both" : "neither"} packet(p: Packet): Output ` +
        `${has("packet") ? "and" : "nor"} batch(b: Batch): void: export one of them`,
    );
  }
  const parts = [
    `import { ABI_VERSION, Packet, batchOf, setContext, setParams } from "pktflow/assembly";`,
    `import * as filter from "./index";`,
    "export const abi: i32 = ABI_VERSION;",
    `export function init(context: i32): void { setContext(context); ${has("init") ? "filter.init();" : ""} }`,
    has("packet") ? PACKETS : BATCHES,
  ];
  if (has("initShared")) {
    parts.push(
      "export function initShared(context: i32): void { setContext(context); filter.initShared(); }",
    );
  }
  if (has("tick")) parts.push("export function tick(context: i32): void { filter.tick(); }");
  for (const name of ["workerStateSize", "sharedStateSize"] as const) {
    if (!has(name)) continue;
    parts.push(
      `export function ${name}(params: i32): u32 { setParams(params); return <u32>filter.${name}(<usize>params); }`,
    );
  }
  return parts.join("\n") + "\n";
}

const PACKETS = `export function process(vector: i32, count: i32): void {
  let at = <usize>vector;
  const end = at + (<usize>count << 2);
  while (at < end) {
    const p = changetype<Packet>(<usize>load<u32>(at));
    p.output = filter.packet(p);
    at += 4;
  }
}`;

const BATCHES = `export function process(vector: i32, count: i32): void {
  filter.batch(batchOf(vector, count));
}`;

/** Names that a module exports itself or by name from another. `export *` says no names, so it does not count. */
function exportedNames(text: string, file: string): Set<string> {
  const program = assemblyscript.newProgram(assemblyscript.newOptions());
  assemblyscript.parse(program, text, file, true);
  const names = new Set<string>();
  for (const statement of program.sources.flatMap((source) => source.statements)) {
    const { flags, name, members } = statement as unknown as ParsedStatement;
    if (name && ((flags ?? 0) & assemblyscript.CommonFlags.Export) !== 0) names.add(name.text);
    for (const member of members ?? []) if (member.exportedName) names.add(member.exportedName.text);
  }
  return names;
}

/** What the parser's declarations and export statements have, as far as it is read here. */
interface ParsedStatement {
  flags?: number;
  name?: { text: string };
  members?: { exportedName?: { text: string } }[] | null;
}
