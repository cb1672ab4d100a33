/**
 * The module that the compiler starts from: it exports the Wasm ABI and imports the filter's index.ts. It is generated
 * in memory for each filter, because a Wasm export is there or not: what the filter does not export, the entry cannot.
 */
import { OUTPUT_HOLD } from "../batches/layout.ts";
import { type Diagnostic, Diagnostics } from "../config/diagnostics.ts";
import type { Source, Span } from "../config/source.ts";
import type { Isolation } from "../config/types.ts";
import { FilterError } from "./error.ts";
import {
  isExported,
  KIND,
  LITERAL,
  nameOf,
  parse,
  type Syntax,
  spanOf,
  syntaxErrors,
  walk,
} from "./syntax.ts";

export const ENTRY_FILE = "pktflow-entry.ts";
/** What an index.ts may export to be called. */
const CALLED = [
  "packet",
  "batch",
  "init",
  "initShared",
  "tick",
  "wake",
  "workerStateSize",
  "sharedStateSize",
] as const;

/**
 * @param index the filter's index.ts
 * @param isOurs it is built in: nobody watches how far its batch() gets
 * @param outputs names of those that it has; undefined: parameters name more
 * @throws FilterError when it does not parse, exports neither packet nor batch, or both, or returns what is no output
 */
export function generateEntry(
  index: Source,
  isolation: Isolation = "none",
  isOurs = false,
  outputs?: string[],
): string {
  const unreadable = syntaxErrors(index);
  if (unreadable.length > 0) throw new FilterError(unreadable[0].message, unreadable);
  const exported = exportedNames(index);
  const has = (name: (typeof CALLED)[number]) => exported.has(name);
  if (has("packet") === has("batch")) {
    const diagnostics = new Diagnostics();
    const span = exported.get("batch") ?? { source: index, start: 0, end: 0 };
    const which = has("packet") ? ["both", "and"] : ["neither", "nor"];
    const message = `it exports ${which[0]} packet(p: Packet): Output ${which[1]} batch(b: Batch): void: export one of them`;
    diagnostics.error(span, "no-entry", message);
    throw new FilterError(message, diagnostics.sorted());
  }
  const noOutputs = wrongOutputs(index, outputs);
  if (noOutputs.length > 0) throw new FilterError(noOutputs[0].message, noOutputs);
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
  if (has("initShared")) {
    parts.push(
      "export function initShared(context: i32): void { setContext(context); filter.initShared(); }",
    );
  }
  if (has("tick")) parts.push("export function tick(context: i32): void { filter.tick(); }");
  if (has("wake")) parts.push("export function wake(context: i32): void { filter.wake(); }");
  for (const name of ["workerStateSize", "sharedStateSize"] as const) {
    if (!has(name)) continue;
    parts.push(
      `export function ${name}(params: i32): u32 { setParams(params); return <u32>filter.${name}(<usize>params); }`,
    );
  }
  return parts.join("\n") + "\n";
}

/** What would be taken for an output without a word, as any small number is. */
const NUMBERS = /^(bool|[iu](8|16|32|64)|[iu]size|f32|f64)$/;

/** Where packet() returns what is no output of the filter. */
function wrongOutputs(index: Source, outputs: string[] | undefined): Diagnostic[] {
  const diagnostics = new Diagnostics();
  const packet = parse(index).find(
    (statement) => statement.kind === KIND.FUNCTION_DECLARATION && nameOf(statement) === "packet",
  );
  const type = (packet?.["signature"] as Syntax | undefined)?.["returnType"] as Syntax | undefined;
  const name = type && index.text.slice(type.range.start, type.range.end);
  const all = "OUTPUT_NEXT, OUTPUT_DROP, or an output of filter.yaml (Outputs.name)";
  if (type && name !== undefined && name !== "u8" && NUMBERS.test(name)) {
    diagnostics.error(
      spanOf(index, type),
      "no-output",
      `packet(p: Packet): Output returns ${all}, not ${name}`,
    );
  }
  if (packet && outputs) {
    walk(packet, (node) => {
      const value = node.kind === KIND.RETURN ? (node["value"] as Syntax | null) : null;
      if (value?.kind !== KIND.LITERAL || value["literalKind"] !== LITERAL.INTEGER) return true;
      const number = Number(index.text.slice(value.range.start, value.range.end).replaceAll("_", ""));
      if (number < outputs.length || number === OUTPUT_HOLD) return true;
      const has = outputs.map((output, i) => `${output} (${i})`).join(", ");
      diagnostics.error(spanOf(index, value), "no-output", `there is no output ${number}: it has ${has}`);
      return true;
    });
  }
  return diagnostics.sorted();
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

/** What a module exports itself or by name from another. `export *` says no names, so it does not count. */
function exportedNames(index: Source): Map<string, Span> {
  const names = new Map<string, Span>();
  for (const statement of parse(index)) {
    const name = nameOf(statement);
    if (name !== undefined && isExported(statement)) {
      names.set(name, spanOf(index, statement["name"] as Syntax));
    }
    for (const member of (statement["members"] as Syntax[] | null | undefined) ?? []) {
      const exported = member["exportedName"] as (Syntax & { text: string }) | undefined;
      if (exported) names.set(exported.text, spanOf(index, exported));
    }
  }
  return names;
}
