/** What filters keep in tables, as people read it. */
import colors from "picocolors";
import type { FilterReport, Report } from "../control/report.ts";
import { table, whole } from "./format.ts";

type Table = NonNullable<FilterReport["tables"]>[string];

/** The tables of all filters, each under the names of its filter and its own; an empty one is left out. */
export function filterTables({ filters }: Report): string[] {
  return Object.entries(filters).flatMap(([id, { tables }]) =>
    Object.entries(tables ?? {})
      .filter(([, { rows }]) => rows.length > 0)
      .map(([name, one]) => tableText(`${id} ${name}`, one)),
  );
}

/** Columns stand in the order of the manifest, keys first; one that no row has is left out. */
function tableText(title: string, { keys, rows, others }: Table): string {
  const widest = rows.reduce((most, row) =>
    Object.keys(row).length > Object.keys(most).length ? row : most,
  );
  const left = keys.filter((name) => rows.some((row) => row[name] !== undefined));
  const right = Object.keys(widest).filter((name) => !keys.includes(name));
  const cells = rows.map((row) => [
    // A port or an identifier is no quantity.
    ...left.map((name) => String(row[name] ?? "")),
    ...right.map((name) => whole(Number(row[name]))),
  ]);
  const note = others === 0 ? "" : `\nothers: at most ${whole(others)} each`;
  return `${colors.bold(title)}\n${table([...left, ...right], cells, left.length)}${note}`;
}
