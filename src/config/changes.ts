/**
 * What differs between a pipeline that runs and its file as it is now, by what may change while it runs: parameters of filters whose
 * manifests say `reload: true`. In: two checked pipelines. Pure.
 */
import { isDeepStrictEqual } from "node:util";
import type { ParamSpec, ParamValue } from "../params/types.ts";
import type { FilterConfig, PathConfig, Pipeline } from "./types.ts";

/** A filter that has other parameters. */
export interface FilterChange {
  /** Its place among the filters of the pipeline that runs. */
  index: number;
  /** As the running pipeline numbers its outputs. */
  config: FilterConfig;
  /** Which: a parameter's name, `sets.NAME` for a named set. */
  params: string[];
}

export interface Changes {
  filters: FilterChange[];
  /** What only a restart changes, a line each, by its place in the file; with any of these, nothing may be taken over. */
  restart: string[];
}

/** @param before what runs @param after its file now */
export function changesBetween(before: Pipeline, after: Pipeline): Changes {
  const restart: string[] = [];
  const differs = (place: string, a: unknown, b: unknown) => {
    if (!isDeepStrictEqual(a, b)) restart.push(`${place}: only a restart changes it`);
  };
  differs("name", before.name, after.name);
  differs("workers", before.workers, after.workers);
  compareById("devices", before.devices, after.devices, restart, (a, b) => {
    differs(`devices.${a.id}.kind`, a.kind, b.kind);
    if (a.kind !== b.kind) return;
    for (const name of new Set([...Object.keys(a.params), ...Object.keys(b.params)]))
      differs(`devices.${a.id}.${name}`, a.params[name], b.params[name]);
  });
  const filters: FilterChange[] = [];
  compareById("filters", before.filters, after.filters, restart, (a, b) => {
    const index = before.filters.indexOf(a);
    const change = filterChange(a, b, restart);
    if (change.params.length > 0) filters.push({ index, ...change });
  });
  compareById("paths", before.paths, after.paths, restart, (a, b) =>
    differs(`paths.${a.id}`, a, wiredAsBefore(a, b, after.filters)),
  );
  return { filters, restart };
}

function compareById<T extends { id: string }>(
  section: string,
  before: T[],
  after: T[],
  restart: string[],
  compare: (a: T, b: T) => void,
): void {
  const now = new Map(after.map((one) => [one.id, one]));
  for (const one of before) {
    const twin = now.get(one.id);
    if (twin === undefined) restart.push(`${section}.${one.id}: only a restart takes it away`);
    else compare(one, twin);
    now.delete(one.id);
  }
  for (const id of now.keys()) restart.push(`${section}.${id}: only a restart adds it`);
}

/** A wire of an output that no parameter names any more does no harm: it stays, and is there when one names it again. */
function wiredAsBefore(before: PathConfig, after: PathConfig, filters: FilterConfig[]): PathConfig {
  const through = after.through.map((step, i) => {
    const outputs = { ...step.outputs };
    const named = filters.find(({ id }) => id === step.filter)?.outputs ?? [];
    for (const [name, path] of Object.entries(before.through[i]?.outputs ?? {}))
      if (!named.includes(name)) outputs[name] ??= path;
    return { ...step, outputs };
  });
  return { ...after, through };
}

function filterChange(before: FilterConfig, after: FilterConfig, restart: string[]) {
  const place = `filters.${before.id}`;
  const none = { config: before, params: [] };
  if (before.manifest.location !== after.manifest.location) {
    restart.push(`${place}.kind: only a restart changes it`);
    return none;
  }
  if (!isDeepStrictEqual(before.manifest, after.manifest)) {
    restart.push(`${place}: its filter.yaml has changed, which only a restart takes over`);
    return none;
  }
  if (before.onTrap !== after.onTrap) restart.push(`${place}.on-trap: only a restart changes it`);
  if (before.isolation !== after.isolation) restart.push(`${place}.isolation: only a restart changes it`);
  const params: string[] = [];
  for (const spec of before.manifest.params) {
    const names = differences(spec, before, after);
    if (spec.reload === true) params.push(...names);
    else restart.push(...names.map((name) => `${place}.${name}: only a restart changes it`));
  }
  const news = after.outputs.filter((name) => !before.outputs.includes(name));
  if (news.length > 0) restart.push(`${place}: only a restart gives it more outputs (${news.join(", ")})`);
  // Its packets part by the numbers that its outputs have now.
  return { config: { ...after, outputs: before.outputs }, params };
}

function differences({ name, type }: ParamSpec, before: FilterConfig, after: FilterConfig): string[] {
  const [a, b] = [before.params[name], after.params[name]];
  if (isDeepStrictEqual(a, b)) return [];
  // Where nothing but a set is another one, it is said of the set.
  if (type.kind === "list" && isDeepStrictEqual(withNames(a, before), withNames(b, after))) return [];
  if (type.kind !== "sets") return [name];
  const [old, now] = [a, b].map((value) => (value ?? {}) as { [set: string]: ParamValue });
  const sets = new Set([...Object.keys(old), ...Object.keys(now)]);
  return [...sets].filter((set) => !isDeepStrictEqual(old[set], now[set])).map((set) => `${name}.${set}`);
}

/** A list's elements with the names of sets in the place of lists that are a set's, as those have them that name one alone. */
function withNames(value: ParamValue, { manifest, params }: FilterConfig): unknown {
  const names = new Map<unknown, string>();
  for (const { name, type } of manifest.params) {
    if (type.kind !== "sets") continue;
    for (const [set, list] of Object.entries((params[name] ?? {}) as { [set: string]: ParamValue }))
      names.set(list, set);
  }
  if (names.size === 0) return value;
  return (value as ParamValue[]).map((element) => {
    if (element === null || typeof element !== "object" || Array.isArray(element)) return element;
    const fields = Object.entries(element).map(([key, field]) => [key, names.get(field) ?? field]);
    return Object.fromEntries(fields);
  });
}

/**
 * Where each counter of a filter stood before its parameters changed: counters keep their values under their names. Elements without
 * a name are told apart by their places as long as there are as many; if not, the first ones and the last ones are known by being as
 * they were, and those in between are new.
 * @returns for each counter now, its number before, or -1: it begins at 0
 */
export function keptCounters(before: FilterConfig, after: FilterConfig): number[] {
  const places = new Map(before.counters.map((name, i) => [name, i]));
  for (const { name, each } of after.manifest.counters) {
    if (each === undefined) continue;
    const [old, now] = [before, after].map(({ params }) => (params[each] ?? []) as ParamValue[]);
    if (old.length === now.length) continue;
    const same = sameEnds(old, now);
    const moved = now.map((element, i): [string, number | undefined] | undefined => {
      if ((element as { name?: string }).name) return undefined;
      return [`${name}.${i}`, same[i] < 0 ? undefined : places.get(`${name}.${same[i]}`)];
    });
    for (const one of moved) if (one !== undefined) places.set(one[0], one[1] ?? -1);
  }
  return after.counters.map((name) => places.get(name) ?? -1);
}

/** For each element now, its place before: for those at the beginning and at the end that are as they were; else -1. */
function sameEnds(old: ParamValue[], now: ParamValue[]): number[] {
  const places = now.map(() => -1);
  const most = Math.min(old.length, now.length);
  let first = 0;
  while (first < most && isDeepStrictEqual(old[first], now[first])) places[first] = first++;
  for (let left = most - first, i = now.length - 1, k = old.length - 1; left > 0; left--, i--, k--) {
    if (!isDeepStrictEqual(old[k], now[i])) break;
    places[i] = k;
  }
  return places;
}
