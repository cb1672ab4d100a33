/**
 * Where parameters lie in Wasm memory. One parameter block a filter: every parameter at a fixed, naturally aligned offset
 * in the manifest's order; behind it what has no fixed size (elements of lists, bytes of strings), found by absolute
 * addresses in the block. Little-endian but for network addresses, which lie as in a packet.
 *
 *   bool u8 code enum output   u8 (enum: index of the word; output: its number)
 *   u16 port                   u16
 *   port-range                 u16 first, u16 last
 *   u32 i32                    4 bytes
 *   u64 duration size          u64 (ns, bytes)
 *   f64                        8 bytes
 *   rate                       u64 a second, u8 unit (0 bits, 1 packets), padding to 16
 *   ipv4                       4 bytes, network order
 *   ipv6                       16 bytes, network order
 *   ip                         16 bytes (IPv4 as ::ffff:a.b.c.d), u8 family (4, 6), padding to 20
 *   prefix interface-address   16 bytes, u8 length in 0..128 (IPv4: length + 96), u8 family (4, 6; 0: nobody's, NOBODY in
 *                              sets.ts), padding to 20
 *   mac                        6 bytes
 *   string domains             u32 address, u32 bytes of UTF-8
 *   action                     u8 output, u8 1: none, but a mark, padding to 4, u32 mark
 *   list                       u32 address of the first element, u32 count; the stride is the element's size
 *   sets                       nothing: lists that name a set have its prefixes, encoded once
 *   record                     its fields in order, each aligned; rounded up to its own alignment
 */
import type { ParamSpec, ParamType } from "./types.ts";

export interface Layout {
  /** Bytes, a multiple of `align`, so that it is also the stride in a list. */
  size: number;
  align: number;
}
export interface Field {
  spec: ParamSpec;
  offset: number;
  layout: Layout;
}
export interface RecordLayout extends Layout {
  fields: Field[];
}

/** Alignment of a parameter block: the largest that any parameter needs. */
export const BLOCK_ALIGN = 8;
/** Offsets within the values that have parts. */
export const PORT_RANGE = { FIRST: 0, LAST: 2 } as const;
export const RATE = { VALUE: 0, UNIT: 8 } as const;
export const RATE_UNITS = ["bit", "packet"] as const;
export const IP = { ADDRESS: 0, FAMILY: 16 } as const;
export const PREFIX = { ADDRESS: 0, LENGTH: 16, FAMILY: 17 } as const;
export const ACTION = { OUTPUT: 0, IS_MARK: 1, MARK: 4 } as const;
export const REFERENCE = { ADDRESS: 0, COUNT: 4 } as const;

const LEAVES: Record<Exclude<ParamType["kind"], "record">, Layout> = {
  bool: { size: 1, align: 1 },
  u8: { size: 1, align: 1 },
  code: { size: 1, align: 1 },
  enum: { size: 1, align: 1 },
  output: { size: 1, align: 1 },
  action: { size: 8, align: 4 },
  u16: { size: 2, align: 2 },
  port: { size: 2, align: 2 },
  "port-range": { size: 4, align: 2 },
  u32: { size: 4, align: 4 },
  i32: { size: 4, align: 4 },
  u64: { size: 8, align: 8 },
  duration: { size: 8, align: 8 },
  size: { size: 8, align: 8 },
  f64: { size: 8, align: 8 },
  rate: { size: 16, align: 8 },
  ipv4: { size: 4, align: 4 },
  ipv6: { size: 16, align: 4 },
  ip: { size: 20, align: 4 },
  prefix: { size: 20, align: 4 },
  "interface-address": { size: 20, align: 4 },
  mac: { size: 6, align: 1 },
  string: { size: 8, align: 4 },
  domains: { size: 8, align: 4 },
  list: { size: 8, align: 4 },
  sets: { size: 0, align: 1 },
};

export function layoutOf(type: ParamType): Layout {
  return type.kind === "record" ? recordLayout(type.fields) : LEAVES[type.kind];
}

const layouts = new WeakMap<ParamSpec[], RecordLayout>();

export function recordLayout(specs: ParamSpec[]): RecordLayout {
  let layout = layouts.get(specs);
  if (layout === undefined) {
    layout = layOut(specs);
    layouts.set(specs, layout);
  }
  return layout;
}

function layOut(specs: ParamSpec[]): RecordLayout {
  let offset = 0;
  let align = 1;
  const fields = specs.map((spec): Field => {
    const layout = layoutOf(spec.type);
    const field = { spec, offset: alignUp(offset, layout.align), layout };
    offset = field.offset + layout.size;
    align = Math.max(align, layout.align);
    return field;
  });
  return { fields, size: alignUp(offset, align), align };
}

/** A row of a table for the report: its key as a record, rounded up to 8, then numbers of 8 bytes. */
export function tableLayout(keys: ParamSpec[], values: number): { keyBytes: number; rowBytes: number } {
  const keyBytes = alignUp(recordLayout(keys).size, BLOCK_ALIGN);
  return { keyBytes, rowBytes: keyBytes + 8 * values };
}

/** The block's fixed part: as a record, but aligned for anything that follows it. */
export function blockLayout(specs: ParamSpec[]): RecordLayout {
  const record = recordLayout(specs);
  return { ...record, size: alignUp(record.size, BLOCK_ALIGN), align: BLOCK_ALIGN };
}

export function alignUp(offset: number, align: number): number {
  return Math.ceil(offset / align) * align;
}
