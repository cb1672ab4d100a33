import type { DeviceManifest } from "../../config/types.ts";

export const manifest: DeviceManifest = {
  kind: "pcap",
  summary: "Capture files: packets are read from one, packets are written to one.",
  layer: "file",
  source: true,
  sink: true,
  params: [
    {
      name: "read",
      type: { kind: "string" },
      default: null,
      doc: "Capture to take packets from, pcap or pcapng; a named pipe, or - for standard input, with one queue.",
    },
    {
      name: "write",
      type: { kind: "string" },
      default: null,
      doc: "Capture to make, replacing what is there: pcapng if its name ends in .pcapng, else pcap with nanoseconds; - is standard output.",
    },
    {
      name: "pace",
      type: { kind: "enum", values: ["asap", "recorded"] },
      default: "asap",
      doc: "When packets are read: as fast as they are taken, or with the gaps between them that were recorded.",
    },
    {
      name: "queues",
      type: { kind: "u16" },
      default: 1,
      min: 1,
      max: 256,
      doc: "Queues over which the flows of `read` are spread; both directions of a flow go to one.",
    },
  ],
};
