/** What comes out of the config stage: the pipeline file, checked, defaults filled in, plain data. */
import type { ParamSpec, ParamValues } from "../params/types.ts";

/** It takes packets of a layer, and what leaves by `next` is of this one or the other. */
export interface Conversion {
  from: 2 | 3;
  to: 2 | 3;
  /** Parameters that must have these values; absent: whatever they are. */
  when?: Record<string, string | number | boolean>;
}

/** A filter's filter.yaml. `outputs` and `counters` are in the order in which they are numbered. */
export interface Manifest {
  /** Folder name of a built-in; the path as written in the pipeline file for a filter of the user's. */
  kind: string;
  /** Absolute path of the folder, or of the built .wasm. */
  location: string;
  summary: string;
  params: ParamSpec[];
  /** Named outputs beside `next` (0) and `drop` (1), numbered from 2; `layer` where it is not that of what came. */
  outputs: { name: string; doc: string; layer?: 2 | 3 }[];
  /** A counter, or one counter for each element of the list parameter `each` (named by its `name` field or its index). */
  counters: { name: string; doc: string; each?: string }[];
  /** Messages that it may say, numbered; in a text {a} and {b} stand for numbers. Absent: none. */
  logs?: { name: string; text: string }[];
  /** Tables that it keeps for the report, numbered. Absent: none. */
  tables?: TableSpec[];
  /** Bytes of private state a worker, of state shared by all workers, and of what is made of the parameters for all to read. */
  state: { worker: number | "computed"; shared: number | "computed"; prepared: number | "computed" };
  /** Most packets that it holds at a time on a worker: a number, or the name of the parameter that says it. 0: none. */
  holds: number | string;
  /** false: wants packets one by one, as they are on the wire. */
  superPackets: boolean;
  /** The first that holds counts, see conversions.ts. Absent: it takes packets of both layers, and they leave as they came. */
  converts?: Conversion[];
  /** It needs a memory of its own; absent: it does not. */
  isolation?: "memory";
}

/** A table of a filter's, as its manifest declares it. */
export interface TableSpec {
  name: string;
  doc: string;
  /** Most rows that the report shows: a number, or the name of the parameter that says it. */
  show: number | string;
  /** The columns that tell rows apart. */
  keys: ParamSpec[];
  /** The columns that are numbers, summed over the workers; rows are in the order of the first. */
  values: { name: string; doc: string }[];
}

export interface DeviceManifest {
  kind: string;
  summary: string;
  /** 3: packets start with the IP header; 2: with the Ethernet header; "any": takes both (sinks), "file": by link type. */
  layer: 2 | 3 | "any" | "file";
  /** Can packets come from it, can they leave by it. pcap decides by its parameters. */
  source: boolean;
  sink: boolean;
  params: ParamSpec[];
  /** What of parameters that are each right contradicts another; `path` leads to the place among them. */
  contradictions?: (params: ParamValues) => { path: (string | number)[]; message: string }[];
}

export interface DeviceConfig {
  id: string;
  kind: string;
  params: ParamValues;
}

export type OnTrap = "drop" | "pass" | "stop";
export type Isolation = "none" | "memory";

export interface FilterConfig {
  id: string;
  manifest: Manifest;
  params: ParamValues;
  onTrap: OnTrap;
  /** "memory": in a memory of its own, so that it cannot touch other filters' state. Absent means "none". */
  isolation?: Isolation;
  /** All output names, numbered: ["next", "drop", ...manifest outputs, ...outputs named by parameters]. */
  outputs: string[];
  /** All counter names, numbered, `each` expanded. */
  counters: string[];
}

export interface StepConfig {
  filter: string;
  /** Output name -> path id. `next` and `drop` are never here. */
  outputs: Record<string, string>;
}

export type Target = { kind: "device"; device: string } | { kind: "path"; path: string } | { kind: "drop" };

export interface PathConfig {
  id: string;
  /** Device ids; empty: entered only from other paths. */
  from: string[];
  through: StepConfig[];
  to: Target;
}

export interface Pipeline {
  file: string;
  name: string;
  workers: number;
  devices: DeviceConfig[];
  filters: FilterConfig[];
  paths: PathConfig[];
  /** What is right and yet seldom meant, a line each; absent: nothing. */
  warnings?: string[];
}
