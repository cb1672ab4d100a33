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
import { binaryBytes, terminalWidth, textTable, wrap } from "../format.ts";

/** @returns what to print @throws FilterError, ConfigError */
export function list(folder: string | undefined, json: boolean): string {
  const manifests = [...builtinManifests(), ...(folder === undefined ? [] : manifestsIn(folder))];
  if (json) {
    const rows = manifests.map(({ kind, summary, location }) => ({ kind, summary, location }));
    return `${JSON.stringify(rows, null, 2)}\n`;
  }
  const rows = manifests.map(({ kind, summary }) => [kind, summary]);
  return `${textTable(["filter", "summary"], rows)}\n`;
}

/** @returns the reference page @throws FilterError, ConfigError */
export function markdown(name: string): string {
  return referencePage(findFilter(name));
}

/** @returns what to print @throws FilterError, ConfigError */
export async function show(name: string, json: boolean): Promise<string> {
  const manifest = findFilter(name);
  const { bytes, module } = await loadFilter(manifest);
  const cost = await costOf(manifest, bytes);
  const exports = WebAssembly.Module.exports(module).map((one) => one.name);
  const isBuilt = manifest.location.endsWith(".wasm");
  const path = isBuilt ? manifest.location : wasmPath(manifest.location, isolationOf(manifest));
  const { kind, location, summary, outputs, counters, state, converts } = manifest;
  if (!json) return showText(manifest, { path, bytes: bytes.length, exports }, cost);
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

function showText(
  manifest: Manifest,
  module: { path: string; bytes: number; exports: string[] },
  cost: Cost | { failed: string } | undefined,
): string {
  const { kind, summary, outputs, counters, state, converts } = manifest;
  const params = paramRows(manifest.params).map((row) => [
    row.name,
    row.type,
    row.default,
    row.range,
    row.doc,
  ]);
  const parts = [wrap(`${colors.bold(kind)}: ${summary}`, terminalWidth())];
  if (params.length > 0) parts.push(textTable(["parameter", "type", "default", "range", ""], params));
  const named = [...STANDARD_OUTPUTS, ...outputs].map(({ name, doc }) => [name, doc]);
  parts.push(textTable(["output", ""], named));
  if (counters.length > 0) {
    const rows = counters.map(({ name, doc, each }) => [each === undefined ? name : `${name}.*`, doc]);
    parts.push(textTable(["counter", ""], rows));
  }
  for (const { name, doc, keys, values } of manifest.tables ?? []) {
    parts.push(`${colors.bold(`table ${name}`)} ${doc}`);
    parts.push(
      textTable(
        ["column", ""],
        [...keys, ...values].map((one) => [one.name, one.doc]),
      ),
    );
  }
  const size = (bytes: number | "computed") =>
    bytes === "computed" ? "computed from the parameters" : binaryBytes(bytes);
  const facts = [
    ["state", `of each worker ${size(state.worker)}, shared ${size(state.shared)}`],
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
  parts.push(
    facts.map(([name, text]) => wrap(`${colors.bold(name)} ${text}`, terminalWidth(), " ", "  ")).join("\n"),
  );
  return `${parts.join("\n\n")}\n`;
}
