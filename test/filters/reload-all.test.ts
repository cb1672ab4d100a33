// What a reload does to the built-in filters, by their own cases: nothing where the parameters are the same, and where they are
// others, what a filter does that was started with these. A filter without `reload: true` is never reloaded.
import { readFileSync } from "node:fs";
import { basename, relative } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { beforeAll, describe, expect, test } from "vitest";
import { loadManifest } from "../../src/config/manifest.ts";
import type { FilterConfig } from "../../src/config/types.ts";
import { buildCore, builtinFilters, PACKAGE } from "../../src/filters/build.ts";
import { type Case, type Fields, readCases } from "../../src/filters/cases.ts";
import { loadFilter } from "../../src/filters/library.ts";
import { SCRATCH_PARAMS, stateSizes } from "../../src/filters/load.ts";
import { Bench, runCase } from "../../src/filters/runner.ts";
import { EncodedParams } from "../../src/params/encode.ts";

let core: WebAssembly.Module;
beforeAll(async () => {
  core = new WebAssembly.Module(readFileSync((await buildCore()).wasm));
});

/** Of each filter, about so many pairs of cases, and one for each case at least. */
const PAIRS = 20;

/** Parameters of whose first values something stays, as manifests say: tokens in buckets that were full by them. */
const LASTING: Record<string, string[]> = { police: ["cir", "cbs", "ebs", "pir", "pbs"] };

const at = (one: Case) => `${relative(PACKAGE, one.file)}:${one.line}`;

const reloadable = ({ manifest }: FilterConfig) => manifest.params.filter(({ reload }) => reload === true);

/** Which parameters differ. */
function differing(a: FilterConfig, b: FilterConfig): string[] {
  const names = a.manifest.params.map(({ name }) => name);
  return names.filter((name) => !isDeepStrictEqual(a.params[name], b.params[name]));
}

/** May a filter that runs with the first parameters go over to the second ones? */
function canBecome(a: FilterConfig, b: FilterConfig): boolean {
  const names = reloadable(a).map(({ name }) => name);
  const changed = differing(a, b);
  if (changed.length === 0 || !changed.every((name) => names.includes(name))) return false;
  return isDeepStrictEqual(new Set(a.outputs), new Set(b.outputs));
}

/** The second case, of a filter that was started with the parameters of the first. */
function startedWith(first: Case, second: Case): Case {
  const { outputs } = first.filter;
  const reloads = new Map([[0, second.filter], ...second.reloads]);
  const renumbered = new Map([...reloads].map(([i, config]) => [i, { ...config, outputs }]));
  return { ...second, filter: first.filter, reloads: renumbered };
}

/** For each case those that can become it, a few: such as differ in parameters in which those before did not, first. */
function pairsOf(cases: Case[]): [Case, Case][] {
  const seen = new Set<string>();
  const most = Math.max(1, Math.floor(PAIRS / cases.length));
  return cases.flatMap((second, i) => {
    const others = [...cases.slice(i + 1), ...cases.slice(0, i)].filter((one) =>
      canBecome(one.filter, second.filter),
    );
    const news = (one: Case) => differing(one.filter, second.filter).filter((name) => !seen.has(name)).length;
    const chosen = others.sort((a, b) => news(b) - news(a)).slice(0, most);
    for (const one of chosen) for (const name of differing(one.filter, second.filter)) seen.add(name);
    return chosen.map((first): [Case, Case] => [first, second]);
  });
}

/** Has a filter that was started with the first parameters as much state as the second ones want? Otherwise a reload is refused. */
function hasRoom(module: WebAssembly.Module, a: FilterConfig, b: FilterConfig): boolean {
  const [has, wants] = [a, b].map(({ manifest, params, outputs }) =>
    stateSizes(module, manifest, new EncodedParams(manifest.params, params, outputs, SCRATCH_PARAMS).bytes),
  );
  return wants.worker <= has.worker && wants.shared <= has.shared;
}

/** A case's packets with nothing said of what comes out; without those that say what came out before. */
function sent({ packets }: Case): Fields[] {
  return packets.flatMap((packet) => {
    const { in: input, device, queue, mark, gso } = packet;
    if (input === undefined || JSON.stringify(input).includes('"$')) return [];
    const one = Object.fromEntries(
      Object.entries({ in: input, device, queue, mark, gso }).filter(([, v]) => v !== undefined),
    );
    return new Array<Fields>(Math.min(3, Number(packet["repeat"] ?? 1))).fill(one);
  });
}

/** Whatever comes out, it must be possible. */
const IMPOSSIBLE = /which the filter does not have|outside its slot/;

/** A filter without such parameters has nothing to be tested here, which is no test left out. */
const testWhere = (holds: boolean): ((name: string, body: () => void) => void) => (holds ? test : () => {});

describe.each(builtinFilters().map((folder) => [basename(folder), folder] as const))("%s", (name, folder) => {
  const manifest = loadManifest(folder, name);
  const cases = readCases(folder);
  const isReloaded = manifest.params.length === 0 || manifest.params.some(({ reload }) => reload === true);
  let module: WebAssembly.Module;
  beforeAll(async () => {
    module = (await loadFilter(manifest)).module;
  });

  testWhere(isReloaded)("exports what takes over other parameters: it is not made anew", () => {
    const exported = WebAssembly.Module.exports(module).map((one) => one.name);
    expect(exported).toContain("reload");
  });

  testWhere(isReloaded)(
    "the same parameters in another place, before each call: nothing comes of it, and where they were is not looked at",
    () => {
      for (const one of cases) expect(runCase(one, core, module, true), at(one)).toEqual([]);
    },
  );

  const pairs = pairsOf(cases);
  testWhere(pairs.length > 0)(
    "started with other parameters and reloaded, it does all that a case says",
    () => {
      for (const [first, second] of pairs) {
        const lasting = differing(first.filter, second.filter).filter((one) => LASTING[name]?.includes(one));
        if (lasting.length > 0 || !hasRoom(module, first.filter, second.filter)) continue;
        const which = `${at(second)}, started as ${at(first)}`;
        expect(runCase(startedWith(first, second), core, module), which).toEqual([]);
      }
    },
  );

  testWhere(pairs.length > 0)(
    "reloaded with packets under way, it loses none, doubles none, and does not trap",
    () => {
      for (const [first, second] of pairs) {
        const which = `${at(first)}, reloaded as ${at(second)}`;
        const { layer, devices, slots } = first;
        if (layer !== second.layer || !hasRoom(module, first.filter, second.filter)) continue;
        const bench = new Bench(
          { ...startedWith(first, second), workers: 2, devices: [...devices, ...second.devices], slots },
          core,
          module,
        );
        const pass = (packets: Fields[], from: number) =>
          packets.forEach((packet, i) => {
            const at = `${from + i}ms`;
            const failures = bench.send({ ...packet, device: 0, at, worker: i % 2 });
            expect(
              failures.filter(({ text }) => IMPOSSIBLE.test(text)),
              which,
            ).toEqual([]);
            expect(bench.missing, which).toBe(0);
          });
        const [before, after] = [sent(first), sent(second)];
        pass(before, 0);
        bench.reload({ ...second.filter, outputs: first.filter.outputs });
        expect(bench.missing, which).toBe(0);
        pass(after, before.length);
        pass(before, before.length + after.length);
        // What still waits leaves, or waits on.
        bench.send({ at: "100d" });
        expect(bench.missing, which).toBe(0);
      }
    },
  );

  const changed = new Set([
    ...pairs.flatMap(([first, second]) => differing(first.filter, second.filter)),
    ...cases.flatMap(({ filter, reloads }) =>
      [...reloads.values()].flatMap((config) => differing(filter, config)),
    ),
  ]);
  testWhere(isReloaded)("every parameter that may change while a pipeline runs does in some case", () => {
    const names = manifest.params.filter(({ reload }) => reload === true).map((one) => one.name);
    expect(names.filter((one) => !changed.has(one))).toEqual([]);
  });
});
