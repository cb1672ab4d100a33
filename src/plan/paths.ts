/** Paths of names to paths of indices, in an order in which each comes after those that lead to it. */
import { layerAfter } from "../config/conversions.ts";
import type { PathConfig, Pipeline } from "../config/types.ts";
import type { PathPlan } from "./types.ts";

/** @throws Error on a cycle; config reports cycles with their position before this. */
export function orderPaths(paths: PathConfig[]): PathConfig[] {
  const byId = new Map(paths.map((path) => [path.id, path]));
  const done = new Set<string>();
  const active = new Set<string>();
  const order: PathConfig[] = [];
  const visit = (path: PathConfig): void => {
    if (done.has(path.id)) return;
    if (active.has(path.id)) throw new Error(`paths form a cycle through "${path.id}"`);
    active.add(path.id);
    for (const id of successors(path)) visit(byId.get(id)!);
    active.delete(path.id);
    done.add(path.id);
    order.push(path);
  };
  // Backwards, so that paths that do not depend on each other keep the order of the file.
  for (const path of [...paths].reverse()) visit(path);
  return order.reverse();
}

function successors(path: PathConfig): string[] {
  const ids = path.through.flatMap((step) => Object.values(step.outputs));
  if (path.to.kind === "path") ids.push(path.to.path);
  return ids;
}

export function planPaths(pipeline: Pipeline): PathPlan[] {
  const ordered = orderPaths(pipeline.paths);
  const pathIndex = new Map(ordered.map((path, i) => [path.id, i]));
  const deviceIndex = new Map(pipeline.devices.map((device, i) => [device.id, i]));
  const filterIndex = new Map(pipeline.filters.map((filter, i) => [filter.id, i]));
  return ordered.map((path) => ({
    id: path.id,
    from: path.from.map((id) => deviceIndex.get(id)!),
    steps: path.through.map((step) => {
      const filter = filterIndex.get(step.filter)!;
      const outputs = pipeline.filters[filter].outputs.map((name) => {
        const target = step.outputs[name];
        return target === undefined ? -1 : pathIndex.get(target)!;
      });
      return { filter, outputs };
    }),
    to:
      path.to.kind === "device"
        ? { kind: "device", device: deviceIndex.get(path.to.device)! }
        : path.to.kind === "path"
          ? { kind: "path", path: pathIndex.get(path.to.path)! }
          : { kind: "drop" },
  }));
}

/** Ids of the devices whose packets may leave by device `id`, in the pipeline's order. */
export function sourcesOf(pipeline: Pipeline, id: string): string[] {
  const sources = new Set<string>();
  const reached = new Set<string>();
  const into = (path: PathConfig): void => {
    if (reached.has(path.id)) return;
    reached.add(path.id);
    for (const device of path.from) sources.add(device);
    for (const other of pipeline.paths) if (successors(other).includes(path.id)) into(other);
  };
  for (const path of pipeline.paths) if (path.to.kind === "device" && path.to.device === id) into(path);
  return pipeline.devices.map((device) => device.id).filter((device) => sources.has(device));
}

/**
 * The layers of the packets that may leave by device `id`, each with a device that they come from.
 * @param layerOf a source's; 0: it has none
 */
export function layersInto(
  pipeline: Pipeline,
  id: string,
  layerOf: (device: string) => 0 | 2 | 3,
): Map<2 | 3, string> {
  const leaving = new Map<2 | 3, string>();
  const arrived = new Map(pipeline.paths.map((path) => [path.id, new Map<2 | 3, string>()]));
  const add = (to: Map<2 | 3, string>, layer: 0 | 2 | 3 | undefined, from: string) => {
    if (layer !== undefined && layer !== 0 && !to.has(layer)) to.set(layer, from);
  };
  for (const path of orderPaths(pipeline.paths)) {
    let flows = arrived.get(path.id)!;
    for (const device of path.from) add(flows, layerOf(device), device);
    for (const step of path.through) {
      const filter = pipeline.filters.find((one) => one.id === step.filter)!;
      const after = new Map<2 | 3, string>();
      for (const [layer, from] of flows) {
        for (const [output, target] of Object.entries(step.outputs))
          add(arrived.get(target)!, layerAfter(filter, layer, output), from);
        add(after, layerAfter(filter, layer), from);
      }
      flows = after;
    }
    for (const [layer, from] of flows) {
      if (path.to.kind === "path") add(arrived.get(path.to.path)!, layer, from);
      else if (path.to.kind === "device" && path.to.device === id) add(leaving, layer, from);
    }
  }
  return leaving;
}
