import type { DeviceManifest } from "../../config/types.ts";

/** Long enough for any packet to fit into half of it. */
const LEAST_BUFFER = 256 * 1024;

export const manifest: DeviceManifest = {
  kind: "memory",
  summary: 'Packets from and to the program that runs the pipeline: import { run } from "pktflow".',
  layer: "any",
  source: true,
  sink: true,
  params: [
    {
      name: "layer",
      type: { kind: "u8" },
      default: 3,
      min: 2,
      max: 3,
      doc: "3: the packets that the program sends start with the IP header; 2: with the Ethernet header.",
    },
    {
      name: "queues",
      type: { kind: "u16" },
      default: 1,
      min: 1,
      max: 256,
      doc: "Queues; the program says for which one packets are.",
    },
    {
      name: "mtu",
      type: { kind: "u32" },
      default: 1500,
      min: 68,
      max: 65535,
      doc: "Longest packet that the program may send, without the Ethernet header, bytes.",
    },
    {
      name: "buffer",
      type: { kind: "size" },
      default: "1MiB",
      min: LEAST_BUFFER,
      max: 2 ** 28,
      doc: "Room for packets under way between the program and a worker, for each queue and direction.",
    },
  ],
};
