import type { DeviceManifest } from "../../config/types.ts";
import type { ParamSpec, ParamValues } from "../../params/types.ts";

/** What tun and tap devices have in common. A default of null: absent unless said. */
export const tunParams: ParamSpec[] = [
  {
    name: "name",
    type: { kind: "string" },
    default: null,
    doc: "Name of the interface, at most 15 bytes; the device's id unless said.",
  },
  {
    name: "queues",
    type: { kind: "u16" },
    default: 1,
    min: 1,
    max: 256,
    doc: "Queues: as many workers can share the device.",
  },
  {
    name: "address",
    type: { kind: "list", of: { kind: "interface-address" } },
    doc: "The kernel's addresses on the interface, each with the length of its prefix.",
  },
  {
    name: "routes",
    type: { kind: "list", of: { kind: "prefix" } },
    doc: "Prefixes that the kernel sends into the device; 0.0.0.0/0 and ::/0 are the default routes.",
  },
  {
    name: "mtu",
    type: { kind: "u32" },
    default: 1500,
    min: 68,
    max: 65521,
    doc: "Longest packet, bytes without the Ethernet header.",
  },
  {
    name: "netns",
    type: { kind: "string" },
    default: null,
    doc: "Network namespace it is in: a name of `ip netns`, a path or a process id; the current one unless said.",
  },
  {
    name: "offload",
    type: { kind: "enum", values: ["auto", "on", "off"] },
    default: "auto",
    doc: "Packets of many segments with unfinished checksums, both ways (CSUM, TSO, USO): what the kernel has, all of CSUM and TSO or an error, or none.",
  },
  {
    name: "persist",
    type: { kind: "bool" },
    default: false,
    doc: "The interface stays when the pipeline ends.",
  },
  {
    name: "owner",
    type: { kind: "string" },
    default: null,
    doc: "User (name or uid) who may attach to the device without CAP_NET_ADMIN.",
  },
  {
    name: "group",
    type: { kind: "string" },
    default: null,
    doc: "Group (name or gid) that may attach to the device without CAP_NET_ADMIN.",
  },
  {
    name: "txqueuelen",
    type: { kind: "u32" },
    default: null,
    min: 1,
    doc: "Packets that the kernel keeps for each queue; 500 on tun and 1000 on tap unless said.",
  },
];

/** The kernel refuses an address that an interface has already. */
export function sameTwice({ address }: ParamValues): { path: (string | number)[]; message: string }[] {
  const addresses = address as string[];
  return addresses.flatMap((one, i) =>
    addresses.indexOf(one) < i ? [{ path: ["address", i], message: `address has ${one} twice` }] : [],
  );
}

export const manifest: DeviceManifest = {
  kind: "tun",
  summary: "A network interface of the kernel whose IP packets the pipeline reads and writes.",
  layer: 3,
  source: true,
  sink: true,
  params: tunParams,
  contradictions: sameTwice,
};
