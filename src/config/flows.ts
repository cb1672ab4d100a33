/** What only shows when paths are seen together: cycles, paths that nothing enters, layers that do not fit. */
import { conversionsOf, layerAfter } from "./conversions.ts";
import type { DeviceSymbol } from "./devices.ts";
import type { Diagnostics } from "./diagnostics.ts";
import type { PathSymbol } from "./paths.ts";
import type { Span } from "./source.ts";

const LAYERS = { 2: "Ethernet frames (layer 2)", 3: "IP packets (layer 3)" };

/** Which layer's packets flow, and the device that they come from. */
interface Flow {
  layer: 2 | 3;
  device: string;
}

export function checkFlows(
  paths: Map<string, PathSymbol>,
  devices: Map<string, DeviceSymbol>,
  diagnostics: Diagnostics,
): void {
  for (const { id, keySpan, hasSource, entered } of paths.values()) {
    if (hasSource || entered) continue;
    diagnostics.error(
      keySpan,
      "unused-path",
      `path ${JSON.stringify(id)} has no "from", and no other path leads to it`,
    );
  }
  const order = topologicalOrder(paths, diagnostics);
  if (order) checkLayers(order, paths, devices, diagnostics);
}

/** Where packets go from a path to other paths, in the order in which they meet the places. */
function edges(path: PathSymbol): { path: string; span: Span }[] {
  const wires = path.steps.flatMap((step) => step.outputs);
  const { to } = path;
  return to?.target.kind === "path" ? [...wires, { path: to.target.path, span: to.span }] : wires;
}

/** Depth first; an edge back to a path that is still open closes a cycle. undefined: there is one. */
function topologicalOrder(
  paths: Map<string, PathSymbol>,
  diagnostics: Diagnostics,
): PathSymbol[] | undefined {
  const finished: PathSymbol[] = [];
  const done = new Set<string>();
  const open: string[] = [];
  let cyclic = false;
  const visit = (path: PathSymbol): void => {
    open.push(path.id);
    for (const edge of edges(path)) {
      const at = open.indexOf(edge.path);
      if (at >= 0) {
        cyclic = true;
        const cycle = [...open.slice(at), edge.path].join(" -> ");
        diagnostics.error(edge.span, "path-cycle", `packets could go round for ever: ${cycle}`);
      } else if (!done.has(edge.path)) {
        visit(paths.get(edge.path)!);
      }
    }
    open.pop();
    done.add(path.id);
    finished.push(path);
  };
  for (const path of paths.values()) if (!done.has(path.id)) visit(path);
  return cyclic ? undefined : finished.reverse();
}

/** Follows packets from their devices on: on every path, and into every device, there is one layer. */
function checkLayers(
  order: PathSymbol[],
  paths: Map<string, PathSymbol>,
  devices: Map<string, DeviceSymbol>,
  diagnostics: Diagnostics,
): void {
  const arrived = new Map<string, Flow>();
  const arrive = (id: string, flow: Flow | undefined, span: Span): void => {
    const first = arrived.get(id);
    if (!flow || first?.layer === flow.layer) return;
    if (!first) {
      arrived.set(id, flow);
      return;
    }
    const message =
      `path ${JSON.stringify(id)} would mix ${LAYERS[first.layer]} from ${JSON.stringify(first.device)} ` +
      `with ${LAYERS[flow.layer]} from ${JSON.stringify(flow.device)}`;
    diagnostics.error(span, "mixed-layers", message);
  };
  for (const path of order) {
    for (const { device, span } of path.from) arrive(path.id, sourceFlow(device), span);
    let flow = arrived.get(path.id);
    for (const { filter, span, outputs } of path.steps) {
      if (!flow || !filter.config) {
        for (const output of outputs) arrive(output.path, flow, output.span);
        continue;
      }
      const came: Flow = flow;
      const conversions = conversionsOf(filter.config.manifest, filter.config.params);
      if (conversions?.length && !conversions.some(({ from }) => from === came.layer)) {
        const [{ from, to }] = conversions;
        const does = from === to ? "takes" : "converts";
        const message = `${JSON.stringify(filter.id)} ${does} ${LAYERS[from]}, but gets ${description(came)}`;
        diagnostics.error(span, "mixed-layers", message);
      }
      const after = (name: string): Flow => {
        const layer = layerAfter(filter.config!, came.layer, name) ?? conversions?.[0]?.to ?? came.layer;
        return { layer, device: came.device };
      };
      for (const output of outputs) arrive(output.path, after(output.name), output.span);
      flow = after("next");
    }
    const { to } = path;
    if (!flow || !to) continue;
    if (to.target.kind === "path" && paths.has(to.target.path)) arrive(to.target.path, flow, to.span);
    if (to.target.kind !== "device") continue;
    const layer = devices.get(to.target.device)?.manifest?.layer;
    if ((layer === 2 || layer === 3) && layer !== flow.layer) {
      const message = `${JSON.stringify(to.target.device)} takes ${LAYERS[layer]}, but gets ${description(flow)}`;
      diagnostics.error(to.span, "mixed-layers", message);
    }
  }
}

function sourceFlow({ id, manifest, config }: DeviceSymbol): Flow | undefined {
  // Of a kind that takes any layer, a source says which it has.
  const layer = manifest?.layer === "any" ? config?.params["layer"] : manifest?.layer;
  return layer === 2 || layer === 3 ? { layer, device: id } : undefined;
}

function description({ layer, device }: Flow): string {
  return `${LAYERS[layer]} from ${JSON.stringify(device)}`;
}
