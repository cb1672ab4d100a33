/** A filter's reference page in Markdown, from its manifest alone: every parameter, output and counter there is. */
import { conversionText } from "../config/conversions.ts";
import type { Manifest } from "../config/types.ts";
import { formatSize } from "../params/quantities.ts";
import { paramRows, STANDARD_OUTPUTS } from "./catalog.ts";

/** @returns text that ends with a newline */
export function referencePage({
  kind,
  summary,
  params,
  outputs,
  counters,
  state,
  converts,
  tables,
}: Manifest): string {
  const size = (bytes: number | "computed") =>
    bytes === "computed" ? "computed from the parameters" : bytes === 0 ? "none" : formatSize(bytes);
  const parts = [`# ${kind}`, cell(summary)];
  if (converts) parts.push(`Packets: ${converts.map(conversionText).join("; ")}.`);
  parts.push("## Parameters");
  const rows = paramRows(params);
  parts.push(
    rows.length === 0
      ? "None."
      : table(
          ["parameter", "type", "default", "range", ""],
          rows.map(({ name, type, default: standard, range, doc }) => [
            code(name),
            words(type),
            standard === "" ? "" : standard === "required" ? "required" : code(standard),
            cell(range),
            cell(doc),
          ]),
        ),
  );
  const reloaded = params.filter(({ reload }) => reload).map(({ name }) => code(name));
  if (reloaded.length > 0)
    parts.push(
      `While a pipeline runs, \`pktflow reload\` takes over other values of ${reloaded.join(", ")}; of others only a restart.`,
    );
  parts.push(
    "## Outputs",
    table(["output", "what leaves by it"], [...STANDARD_OUTPUTS, ...outputs].map(documented)),
  );
  parts.push("## Counters");
  parts.push(
    counters.length === 0
      ? "None."
      : table(
          ["counter", "what it counts"],
          counters.map(({ name, doc, each }) =>
            documented({
              name: each === undefined ? name : `${name}.*`,
              doc: each === undefined ? doc : `${doc} One for each of ${each}, by its name or place.`,
            }),
          ),
        ),
  );
  for (const { name, doc, show, keys, values } of tables ?? []) {
    const most = typeof show === "number" ? `the first ${show} rows` : `as many rows as \`${show}\` says`;
    parts.push(
      `## Table ${name}`,
      `${cell(doc)} The report shows ${most}, in the order of \`${values[0]?.name}\`, and what \`others\` may have of it at most.`,
      table(["column", "what it says"], [...keys, ...values].map(documented)),
    );
  }
  const prepared =
    state.prepared === 0 ? "" : ` Made of the parameters, for all to read: ${size(state.prepared)}.`;
  parts.push(
    "## State",
    `Of each worker: ${size(state.worker)}. Shared by all: ${size(state.shared)}.${prepared}`,
  );
  return `${parts.join("\n\n")}\n`;
}

function documented({ name, doc }: { name: string; doc: string }): string[] {
  return [code(name), cell(doc)];
}

function table(head: string[], rows: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** Alternatives, each as it is written. */
function words(type: string): string {
  return type
    .split(" | ")
    .map((word) => (/^list of /.test(word) ? `list of ${code(word.slice(8))}` : code(word)))
    .join(", ");
}

function code(text: string): string {
  return `\`${text.replaceAll("|", "\\|")}\``;
}

function cell(text: string): string {
  return text.replace(/\s+/g, " ").replaceAll("|", "\\|").replaceAll("<", "&lt;").trim();
}
