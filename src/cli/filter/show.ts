/** `pktflow filter list` and `show`. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import colors from "picocolors";
import { conversionText } from "../../config/conversions.ts";
import { ConfigError } from "../../config/diagnostics.ts";
import type { Manifest } from "../../config/types.ts";
import { readWholeCapture } from "../../devices/pcap/whole.ts";
import { wasmPath } from "../../filters/build.ts";
import { readCases } from "../../filters/cases.ts";
import {
  builtinManifests,
  findFilter,
  manifestsIn,
  paramRows,
  STANDARD_OUTPUTS,
  shownPath,
} from "../../filters/catalog.ts";
import type { Cost } from "../../filters/cost.ts";
import { FilterError } from "../../filters/error.ts";
import { isolationOf, loadFilter } from "../../filters/library.ts";
import { referencePage } from "../../filters/page.ts";
import { Trial } from "../../workers/trial.ts";
import { binaryBytes, table, wordTable, wrap } from "../format.ts";

/** @returns what to print @throws FilterError, ConfigError */
export function list(folder: string | undefined, json: boolean): string {
  const manifests = [...builtinManifests(), ...(folder === undefined ? [] : manifestsIn(folder))];
  if (json) {
    const rows = manifests.map(({ kind, summary, location }) => ({ kind, summary, location }));
    return `${JSON.stringify(rows, null, 2)}\n`;
  }
  const rows = manifests.map(({ kind, summary }) => [kind, summary]);
  return `${table(["filter", "summary"], rows, 2)}\n`;
}

/** @returns the reference page @throws FilterError, ConfigError */
export function markdown(name: string): string {
  return referencePage(findFilter(name));
}

/** @param columns of the terminal @returns what to print @throws FilterError, ConfigError */
export async function show(name: string, json: boolean, columns = Infinity): Promise<string> {
  const manifest = findFilter(name);
  const { bytes, module } = await loadFilter(manifest);
  const cost = await costOf(manifest, bytes);
  const exports = WebAssembly.Module.exports(module).map((one) => one.name);
  const isBuilt = manifest.location.endsWith(".wasm");
  const path = isBuilt ? manifest.location : wasmPath(manifest.location, isolationOf(manifest));
  const { kind, location, summary, outputs, counters, state, converts } = manifest;
  if (!json) return showText(manifest, { path, bytes: bytes.length, exports }, cost, columns);
  const shown = {
    ...{ kind, location, summary, params: paramRows(manifest.params) },
    ...{ outputs: [...STANDARD_OUTPUTS, ...outputs], counters, state, ...(converts ? { converts } : {}) },
    ...(manifest.tables ? { tables: manifest.tables } : {}),
    ...{ module: { path, bytes: bytes.length, exports }, ...(cost ? { cost } : {}) },
  };
  return `${JSON.stringify(shown, null, 2)}\n`;
}

/** Of a filter without cases there is nothing to measure; of one that traps or does not end, `failed` says so. */
async function costOf(
  manifest: Manifest,
  module: Uint8Array,
): Promise<Cost | { failed: string } | undefined> {
  if (!existsSync(join(manifest.location, "cases.yaml"))) return undefined;
  const trial = new Trial(module);
  try {
    return await trial.cost(readCases(manifest.location, readWholeCapture));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    const { message } = error as Error;
    return { failed: error instanceof FilterError ? message : `trapped: ${message}` };
  } finally {
    await trial.close();
  }
}

/** @param columns of the terminal @returns what show prints */
export function showText(
  manifest: Manifest,
  module: { path: string; bytes: number; exports: string[] },
  cost: Cost | { failed: string } | undefined,
  columns: number,
): string {
  const { kind, summary, outputs, counters, state, converts } = manifest;
  const params = paramRows(manifest.params).map((row) => [
    row.name,
    row.type,
    row.default,
    row.range,
    row.doc,
  ]);
  const parts = [fact(`${kind}:`, summary, columns)];
  if (params.length > 0)
    parts.push(wordTable(["parameter", "type", "default", "range", ""], params, columns));
  const named = [...STANDARD_OUTPUTS, ...outputs].map(({ name, doc }) => [name, doc]);
  parts.push(wordTable(["output", ""], named, columns));
  if (counters.length > 0) {
    const rows = counters.map(({ name, doc, each }) => [each === undefined ? name : `${name}.*`, doc]);
    parts.push(wordTable(["counter", ""], rows, columns));
  }
  for (const { name, doc, keys, values } of manifest.tables ?? []) {
    parts.push(fact(`table ${name}`, doc, columns));
    parts.push(
      wordTable(
        ["column", ""],
        [...keys, ...values].map((one) => [one.name, one.doc]),
        columns,
      ),
    );
  }
  const size = (bytes: number | "computed") =>
    bytes === "computed" ? "computed from the parameters" : binaryBytes(bytes);
  const reloaded = manifest.params.filter(({ reload }) => reload).map(({ name }) => name);
  const prepared = state.prepared === 0 ? "" : `, prepared ${size(state.prepared)}`;
  const facts = [
    ...(reloaded.length > 0 ? [["reload", reloadText(reloaded, manifest.params.length)]] : []),
    ["state", `of each worker ${size(state.worker)}, shared ${size(state.shared)}${prepared}`],
    ["module", `${shownPath(module.path)} (${binaryBytes(module.bytes)})`],
    ["exports", module.exports.join(" ")],
  ];
  if (converts) facts.push(["packets", converts.map(conversionText).join("; ")]);
  if (cost && "failed" in cost) {
    facts.push(["cost", `not measured: with the packets of its first case it ${cost.failed}`]);
  } else if (cost) {
    const ns = String(Number(cost.nsPerPacket.toPrecision(2)));
    facts.push([
      "cost",
      `about ${ns} ns a packet, measured now in memory with the packets of: ${cost.purpose}`,
    ]);
  }
  parts.push(facts.map(([name, text]) => fact(name, text, columns)).join("\n"));
  return `${parts.join("\n\n")}\n`;
}

function fact(name: string, text: string, columns: number): string {
  const lines = wrap(`${name} ${text}`, columns, "  ");
  return colors.bold(lines.slice(0, name.length)) + lines.slice(name.length);
}

function reloadText(reloaded: string[], all: number): string {
  if (reloaded.length === all) return "takes over all parameters";
  return `takes over ${reloaded.join(", ")}; other parameters want a restart`;
}
