import type { DeviceManifest } from "../../config/types.ts";

export const manifest: DeviceManifest = {
  kind: "discard",
  summary: "Swallows every packet and counts it.",
  layer: "any",
  source: false,
  sink: true,
  params: [],
};
