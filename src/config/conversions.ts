/** Filters that turn packets of one layer into packets of the other, or take packets of one layer alone. */
import type { ParamValues } from "../params/types.ts";
import type { Conversion, Manifest } from "./types.ts";

/** The conversions of a filter with these parameters, of which the first from a layer counts; undefined: it converts nothing. */
export function conversionsOf(manifest: Manifest, params: ParamValues): Conversion[] | undefined {
  return manifest.converts?.filter(({ when = {} }) =>
    Object.entries(when).every(([name, value]) => params[name] === value),
  );
}

/** Of which layer are packets that leave by an output, when they came as `layer`? undefined: they may not come so. */
export function layerAfter(
  { manifest, params }: { manifest: Manifest; params: ParamValues },
  layer: 2 | 3,
  output = "next",
): 2 | 3 | undefined {
  const named = manifest.outputs.find(({ name }) => name === output)?.layer;
  const conversions = conversionsOf(manifest, params);
  if (conversions === undefined) return named ?? layer;
  const conversion = conversions.find(({ from }) => from === layer);
  if (conversion === undefined) return undefined;
  return named ?? (output === "next" ? conversion.to : layer);
}

/** For people: "layer 2 to layer 3 with action: decap", "layer 2". */
export function conversionText({ from, to, when = {} }: Conversion): string {
  const words = Object.entries(when).map(([name, value]) => `${name}: ${value}`);
  const layers = from === to ? `layer ${from}` : `layer ${from} to layer ${to}`;
  return words.length === 0 ? layers : `${layers} with ${words.join(", ")}`;
}
