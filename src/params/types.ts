/**
 * The type system of parameters, shared by filters (filter.yaml) and devices (manifest.ts).
 * A spec says what may stand in the pipeline file; a value is what came out of it, checked and canonical,
 * and plain data, so that it can be cloned to a worker.
 */

export type ScalarType =
  | "bool"
  | "u8"
  | "u16"
  | "u32"
  | "u64"
  | "i32"
  | "f64"
  | "duration"
  | "size"
  | "rate"
  | "port"
  | "port-range"
  | "ipv4"
  | "ipv6"
  | "ip"
  | "prefix"
  | "interface-address"
  | "mac"
  | "string"
  | "domains"
  | "output"
  | "action"
  | "sets";

export type ParamType =
  | { kind: ScalarType }
  /** One of a few words; encoded as the word's index. */
  | { kind: "enum"; values: string[] }
  /** Either a word or a number in the spec's range, e.g. an IP protocol: encoded as u8, words map to `codes`. */
  | { kind: "code"; codes: Record<string, number> }
  | { kind: "list"; of: ParamType }
  | { kind: "record"; fields: ParamSpec[] };

export interface ParamSpec {
  name: string;
  type: ParamType;
  doc: string;
  /**
   * Written as in the pipeline file. Absent: the parameter is required (but a list that may be empty is empty);
   * null: it may be left out, and is then not among the values.
   */
  default?: unknown;
  /** Inclusive bounds of a number (ns for a duration, bytes for a size), or of the length of a list or prefix. */
  min?: number;
  max?: number;
  /** Of a prefix: the one that it must be of. */
  family?: 4 | 6;
  /** It may change while the pipeline runs: a reload takes it over. Of a parameter, not of a record's field. */
  reload?: true;
  /** Of a list of prefixes: the parameter (of type sets) whose names may stand among them. */
  sets?: string;
}

/** Bits or packets a second. */
export interface Rate {
  value: number;
  unit: "bit" | "packet";
}
export interface PortRange {
  first: number;
  last: number;
}

/**
 * bool: boolean; u8 u16 u32 i32 f64 port: number; u64 duration (ns) size (bytes): number, exact up to 2^53;
 * rate: Rate; port-range: PortRange; ipv4 ipv6 ip: canonical address; prefix: "address/length", host bits zero;
 * domains: names of the DNS in lower case, a blank between them, or ""; encoded as a string;
 * interface-address: "address/length" with host bits; mac: "xx:xx:xx:xx:xx:xx"; string, enum: the word;
 * code: number; output: the output's name ("next", "drop", ...);
 * sets: record of lists of prefixes by name, not encoded (what refers to them has the prefixes themselves);
 * action: an output's name, or "mark N"; list: array; record: object by field name. A list that is left out is empty, but
 * absent in a record, of which there may be a hundred thousand.
 */
export type ParamValue =
  | boolean
  | number
  | string
  | Rate
  | PortRange
  | ParamValue[]
  | { [field: string]: ParamValue };

export type ParamValues = Record<string, ParamValue>;
