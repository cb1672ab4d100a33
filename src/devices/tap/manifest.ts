import type { DeviceManifest } from "../../config/types.ts";
import { sameTwice, tunParams } from "../tun/manifest.ts";

export const manifest: DeviceManifest = {
  kind: "tap",
  summary: "A network interface of the kernel whose Ethernet frames the pipeline reads and writes.",
  layer: 2,
  source: true,
  sink: true,
  params: [
    ...tunParams,
    {
      name: "mac",
      type: { kind: "mac" },
      default: null,
      doc: "MAC address of the kernel's side; a random one unless said.",
    },
    {
      name: "bridge",
      type: { kind: "string" },
      default: null,
      doc: "Bridge, in the same network namespace, that the interface is put into.",
    },
  ],
  contradictions: sameTwice,
};
