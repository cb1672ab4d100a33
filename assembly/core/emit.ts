// Packets that a filter has held, or made, and now lets go (abi/hold.ts). Each goes on at the step at which it was held,
// whichever path is at hand. In: the batch at CONTEXT_EMITTED. Out: every packet in the batch where its output leads.

import {
  BATCH_COUNT,
  BATCH_ENTRIES,
  CONTEXT_BAD_OUTPUTS,
  CONTEXT_DESCRIPTORS,
  CONTEXT_EMITTED,
  CONTEXT_HOLDER,
  CONTEXT_HOLDERS,
  CONTEXT_OUTPUT_COUNTERS,
  CONTEXT_OUTPUTS,
  CONTEXT_STEP_TABLES,
  OUTPUT_DROP,
} from "../abi/layout";
import { add, append } from "./batch";

const STEP_MASK: u32 = 0xff;
const HOLDER_MASK: u32 = 0x7fff0000;
const EMITTED: u32 = 0x80000000;
const OUTPUT_SHIFT: u32 = 8;

/** Where it stands who holds a descriptor. */
function holderOf(descriptor: u32, context: usize): usize {
  return <usize>(
    (load<u32>(context, CONTEXT_HOLDERS) +
      (((descriptor - load<u32>(context, CONTEXT_DESCRIPTORS)) >> 6) << 2))
  );
}

/** Is the packet held by the filter whose context this is. */
export function isHeld(descriptor: u32, context: usize): bool {
  if (load<u32>(context, CONTEXT_HOLDERS) == 0) return false;
  return (load<u32>(holderOf(descriptor, context)) & HOLDER_MASK) == load<u32>(context, CONTEXT_HOLDER);
}

/**
 * Sends every emitted packet where its output leads from the step at which it was held, and counts it by output.
 */
export function emit(context: i32): void {
  const batch = <usize>load<u32>(context, CONTEXT_EMITTED);
  const count = load<u32>(batch, BATCH_COUNT);
  if (count == 0) return;
  const outputs = load<u32>(context, CONTEXT_OUTPUTS);
  const counters = <usize>load<u32>(context, CONTEXT_OUTPUT_COUNTERS);
  const tables = <usize>load<u32>(context, CONTEXT_STEP_TABLES);
  for (let i: u32 = 0; i < count; i++) {
    const descriptor = load<u32>(batch + BATCH_ENTRIES + ((<usize>i) << 2));
    const holder = holderOf(descriptor, context);
    const entry = load<u32>(holder);
    // A filter may have written to the batch past its SDK.
    if ((entry & ~0xffff) != (load<u32>(context, CONTEXT_HOLDER) | EMITTED)) {
      add(context + CONTEXT_BAD_OUTPUTS, 1);
      continue;
    }
    const table = load<u32>(tables + ((<usize>(entry & STEP_MASK)) << 2));
    store<u32>(holder, 0);
    let output = (entry >> OUTPUT_SHIFT) & 0xff;
    if (output >= outputs) {
      output = OUTPUT_DROP;
      add(context + CONTEXT_BAD_OUTPUTS, 1);
    }
    add(counters + ((<usize>output) << 3), 1);
    append(load<u32>(table + (output << 2)), descriptor);
  }
  store<u32>(batch, 0, BATCH_COUNT);
}
