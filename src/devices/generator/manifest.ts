import type { DeviceManifest } from "../../config/types.ts";
import type { ParamValue } from "../../params/types.ts";
import { flowProblems } from "./flows.ts";

export const manifest: DeviceManifest = {
  kind: "generator",
  summary: "Makes packets: valid IPv4 or IPv6 with TCP, UDP or ICMP echo, from any number of flows.",
  layer: 3,
  source: true,
  sink: false,
  contradictions: (params) => flowProblems(params["flows"] as ParamValue[]),
  params: [
    {
      name: "flows",
      doc: "What is sent, one packet of each flow in turn.",
      min: 1,
      type: {
        kind: "list",
        of: {
          kind: "record",
          fields: [
            {
              name: "proto",
              type: { kind: "enum", values: ["udp", "tcp", "icmp", "icmpv6"] },
              default: "udp",
              doc: "Protocol; icmp is the echo request of the addresses' IP version, icmpv6 only that of IPv6.",
            },
            {
              name: "from",
              type: { kind: "prefix" },
              doc: "Source address, or a prefix whose hosts are walked through first.",
            },
            {
              name: "to",
              type: { kind: "prefix" },
              doc: "Destination address, or a prefix, walked through third.",
            },
            {
              name: "from-port",
              type: { kind: "port-range" },
              default: "1024-65535",
              doc: "Source ports, walked through second; identifiers of ICMP echo.",
            },
            {
              name: "to-port",
              type: { kind: "port-range" },
              default: 9,
              doc: "Destination ports, walked through last.",
            },
            {
              name: "size",
              type: { kind: "list", of: { kind: "u16" } },
              default: 64,
              min: 1,
              max: 64,
              doc: "Bytes of the IP packet; of a list, the flow's packets take one after the other.",
            },
            {
              name: "count",
              type: { kind: "u32" },
              default: 1,
              min: 1,
              max: 1048576,
              doc: "How many different flows this entry makes, walking through its addresses and ports.",
            },
          ],
        },
      },
    },
    {
      name: "rate",
      type: { kind: "rate" },
      default: null,
      min: 1,
      doc: "Packets, or bits of IP packets, a second, of all queues together; as fast as possible unless said.",
    },
    { name: "packets", type: { kind: "u64" }, default: 0, doc: "How many in all, then it ends; 0: no end." },
    {
      name: "seed",
      type: { kind: "u32" },
      default: 1,
      doc: "Payloads and TCP sequence numbers follow from it: the same seed makes the same packets.",
    },
    {
      name: "queues",
      type: { kind: "u16" },
      default: 1,
      min: 1,
      max: 256,
      doc: "Queues over which the flows are spread.",
    },
  ],
};
