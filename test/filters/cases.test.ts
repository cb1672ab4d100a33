// Every built-in filter's cases.yaml, a test for each case.
import { readFileSync } from "node:fs";
import { basename, relative } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import { buildCore, builtinFilters, PACKAGE } from "../../src/filters/build.ts";
import { type Case, type Fields, readCases } from "../../src/filters/cases.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { runCase } from "../../src/filters/runner.ts";

let core: WebAssembly.Module;
beforeAll(async () => {
  core = new WebAssembly.Module(readFileSync((await buildCore()).wasm));
});

const filters = builtinFilters().map((folder) => [basename(folder), folder] as const);

describe.each(filters)("%s", (name, folder) => {
  let module: WebAssembly.Module;
  beforeAll(async () => {
    module = (await loadFilter(loadManifest(folder, name))).module;
  });

  const cases = casesOrFailure(folder);
  if (cases === undefined) return;
  test.each(cases.map((one) => [one.purpose, one] as const))("%s", (_, one) => {
    const where = `${relative(PACKAGE, one.file)}:${one.line}`;
    expect(runCase(one, core, module), where).toEqual([]);
  });

  test("every counter and every output that the manifest names is seen in a case", () => {
    const { outputs, counters } = loadManifest(folder, name);
    const counted = new Set(cases.flatMap((one) => Object.keys(one.counters)));
    const emitted = (packet: Fields) => (packet["emits"] ?? []) as Fields[];
    const taken = new Set(
      cases.flatMap((one) =>
        one.packets.flatMap((packet) => [packet, ...emitted(packet)].map(({ out }) => out)),
      ),
    );
    for (const { name: counter, each } of counters) {
      const isThis = (c: string) => (each === undefined ? c === counter : c.startsWith(`${counter}.`));
      expect([...counted].some(isThis), `counter ${counter}`).toBe(true);
    }
    for (const output of outputs) expect(taken.has(output.name), `output ${output.name}`).toBe(true);
  });
});

/** A file that cannot be read fails a test of its own filter, not those of all. */
function casesOrFailure(folder: string): Case[] | undefined {
  try {
    return readCases(folder);
  } catch (error) {
    test("cases.yaml is as the format says", () => {
      throw error;
    });
    return undefined;
  }
}
