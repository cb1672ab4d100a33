/** What filters keep in tables, as people read it. */
import colors from "picocolors";
import type { FilterReport, Report } from "../control/report.ts";
import { table, whole } from "./format.ts";

type Table = NonNullable<FilterReport["tables"]>[string];
type Cell = Table["rows"][number][string];

/** The tables of all filters, each under the names of its filter and its own; an empty one is left out. */
export function filterTables({ filters }: Report): string[] {
  return Object.entries(filters).flatMap(([id, { tables }]) =>
    Object.entries(tables ?? {})
      .filter(([, { rows }]) => rows.length > 0)
      .map(([name, one]) => tableText(`${id} ${name}`, one)),
  );
}

/** Columns stand in the order of the manifest; one that no row has is left out. */
function tableText(title: string, { rows, others }: Table): string {
  const widest = rows.reduce((most, row) =>
    Object.keys(row).length > Object.keys(most).length ? row : most,
  );
  const names = [...new Set([...Object.keys(widest), ...rows.flatMap(Object.keys)])];
  // Numbers come last, and stand to the right.
  const left = names.filter((name) => rows.some((row) => typeof row[name] === "string"));
  const right = names.filter((name) => !left.includes(name));
  const cells = rows.map((row) => [...left, ...right].map((name) => cell(row[name])));
  const note = others === 0 ? "" : `\nothers: at most ${whole(others)} each`;
  return `${colors.bold(title)}\n${table([...left, ...right], cells, left.length)}${note}`;
}

function cell(value: Cell | undefined): string {
  if (value === undefined) return "";
  return typeof value === "number" ? whole(value) : String(value);
}
