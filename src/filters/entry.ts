/**
 * The module that the compiler starts from: it exports the Wasm ABI and imports the filter's index.ts. It is generated
 * in memory for each filter, because a Wasm export is there or not: what the filter does not export, the entry cannot.
 */
import { OUTPUT_HOLD } from "../batches/layout.ts";
import { type Diagnostic, Diagnostics } from "../config/diagnostics.ts";
import type { Source, Span } from "../config/source.ts";
import type { Isolation } from "../config/types.ts";
import { type Called, entryText } from "./entry-text.ts";
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
  const has = (name: Called) => exported.has(name);
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
  return entryText((name) => exported.has(name), isolation, isOurs);
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
