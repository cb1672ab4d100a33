// core.wasm: what the host does to whole batches in Wasm. One instance a worker, on the pipeline's memory, between the
// I/O engine and the filters. Nothing here allocates or traps, whatever the packets hold.

import {
  BATCH_COUNT,
  BATCH_ENTRIES,
  CONTEXT_BAD_OUTPUTS,
  CONTEXT_OUTPUT_BATCHES,
  CONTEXT_OUTPUT_COUNTERS,
  CONTEXT_OUTPUTS,
  DESCRIPTOR_DATAGRAMS,
  DESCRIPTOR_L3,
  DESCRIPTOR_LENGTH,
  DESCRIPTOR_OUTPUT,
  DESCRIPTOR_TIMESTAMP,
  DESCRIPTOR_VNET_FLAGS,
  HEADROOM,
  MALFORMED_NONE,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  PACKET_FLAG_MALFORMED,
} from "../abi/layout";
import { checkPacketLayout, Packet } from "../abi/packet";
import { add, append } from "./batch";
import { dissectPacket } from "./dissect";
import { PlainPacket } from "./dissect-plain";
import { isHeld } from "./emit";
import { checkVnet, readHeader } from "./vnet";

export { emit } from "./emit";
export { finish } from "./exit";

checkPacketLayout();

/** In the place of a packet's output, which no filter has chosen yet: dissectPacket's. */
const NOT_PLAIN: u8 = 0xff;

/** Takes the struct virtio_net_hdr right before each packet of a batch into its descriptor. Before dissect. */
export function takeHeaders(batch: i32): void {
  const end = <usize>batch + BATCH_ENTRIES + ((<usize>load<u32>(batch, BATCH_COUNT)) << 2);
  for (let at = <usize>batch + BATCH_ENTRIES; at < end; at += 4) {
    readHeader(changetype<Packet>(<usize>load<u32>(at)));
  }
}

/**
 * Finds the headers of every packet of a batch and counts them in.
 * @param layer 2 or 3, of the device that the batch came from
 * @param rx u64 each: packets, bytes, datagrams
 * @param malformed u64 each, by index in MALFORMED
 * @param path where all of them are going, the same as `rx`; 0: they are counted there
 */
export function dissect(batch: i32, layer: i32, rx: i32, malformed: i32, path: i32): void {
  const count = load<u32>(batch, BATCH_COUNT);
  const first = <usize>batch + BATCH_ENTRIES;
  const end = first + ((<usize>count) << 2);
  let bytes: u64 = 0;
  let others: u32 = 0;
  for (let at = first; at < end; at += 4) {
    const p = changetype<Packet>(<usize>load<u32>(at));
    bytes += p.length;
    others |= load<u16>(changetype<usize>(p), DESCRIPTOR_VNET_FLAGS);
    if (layer == 3) {
      if (PlainPacket.dissect(p)) continue;
    }
    p.output = NOT_PLAIN;
    others = 1;
  }
  // One each, and what super-packets have more.
  const datagrams = others == 0 ? <u64>count : <u64>count + dissectOthers(first, end, layer, malformed);
  addAll(rx, count, bytes, datagrams);
  if (path != 0) addAll(path, count, bytes, datagrams);
}

function addAll(counters: usize, packets: u64, bytes: u64, datagrams: u64): void {
  add(counters, packets);
  add(counters + 8, bytes);
  add(counters + 16, datagrams);
}

/** What the first loop leaves over, so that there is no call in it. @returns datagrams of super-packets beyond one each */
function dissectOthers(first: usize, end: usize, layer: u32, malformed: usize): u64 {
  let datagrams: u64 = 0;
  for (let at = first; at < end; at += 4) {
    const p = changetype<Packet>(<usize>load<u32>(at));
    if (p.output == NOT_PLAIN) {
      p.output = OUTPUT_NEXT;
      const error = dissectPacket(p, layer);
      if (error != MALFORMED_NONE) {
        p.flags |= PACKET_FLAG_MALFORMED;
        p.error = error;
        add(malformed + ((<usize>error) << 3), 1);
      }
    }
    if (load<u16>(changetype<usize>(p), DESCRIPTOR_VNET_FLAGS) == 0) continue;
    checkVnet(p);
    datagrams += p.datagrams - 1;
  }
  return datagrams;
}

/**
 * Sends each packet where its output leads, by the table at CONTEXT_OUTPUT_BATCHES: `next` stays, in order; another is
 * put at the end of its batch, which the plan made large enough. Counts by output at CONTEXT_OUTPUT_COUNTERS. An output
 * that the filter does not have is counted as a drop, and as a bad output in the context. What the filter holds (hold() in
 * abi/hold.ts) goes nowhere, and is counted when it is emitted.
 *
 * 0.8 ns a packet when all stay (measure: 0.6 ns): 64-packet batches, Node 20.20, one core of an AMD EPYC VM, 2026-11-23.
 */
export function partition(batch: i32, context: i32): void {
  const count = load<u32>(batch, BATCH_COUNT);
  const outputs = load<u32>(context, CONTEXT_OUTPUTS);
  const counters = <usize>load<u32>(context, CONTEXT_OUTPUT_COUNTERS);
  const table = <usize>load<u32>(context, CONTEXT_OUTPUT_BATCHES);
  const first = <usize>batch + BATCH_ENTRIES;
  const end = first + ((<usize>count) << 2);
  if (allNext(first, end)) {
    add(counters, count);
    return;
  }
  let kept = first;
  for (let at = first; at < end; at += 4) {
    const descriptor = load<u32>(at);
    let output = <u32>load<u8>(descriptor, DESCRIPTOR_OUTPUT);
    if (output == OUTPUT_NEXT) {
      store<u32>(kept, descriptor);
      kept += 4;
      continue;
    }
    if (output >= outputs) {
      if (output == OUTPUT_HOLD && isHeld(descriptor, context)) continue;
      output = OUTPUT_DROP;
      add(context + CONTEXT_BAD_OUTPUTS, 1);
    }
    add(counters + ((<usize>output) << 3), 1);
    append(load<u32>(table + ((<usize>output) << 2)), descriptor);
  }
  const next = <u32>((kept - first) >> 2);
  store<u32>(batch, next, BATCH_COUNT);
  add(counters, next);
}

function allNext(first: usize, end: usize): bool {
  let outputs: u32 = 0;
  let at = first;
  // Four a round: the compiled loop's own instructions are as many as a packet's.
  for (; at + 16 <= end; at += 16) {
    outputs |= load<u8>(load<u32>(at), DESCRIPTOR_OUTPUT) | load<u8>(load<u32>(at, 4), DESCRIPTOR_OUTPUT);
    outputs |= load<u8>(load<u32>(at, 8), DESCRIPTOR_OUTPUT) | load<u8>(load<u32>(at, 12), DESCRIPTOR_OUTPUT);
  }
  for (; at < end; at += 4) outputs |= load<u8>(load<u32>(at), DESCRIPTOR_OUTPUT);
  return outputs == OUTPUT_NEXT;
}

/** Adds a batch's packets, bytes and datagrams to three u64 counters. */
export function measure(batch: i32, counters: i32): void {
  const count = load<u32>(batch, BATCH_COUNT);
  let at = <usize>batch + BATCH_ENTRIES;
  const end = at + ((<usize>count) << 2);
  let bytes: u64 = 0;
  let datagrams: u64 = 0;
  while (at < end) {
    const descriptor = <usize>load<u32>(at);
    bytes += load<u32>(descriptor, DESCRIPTOR_LENGTH);
    datagrams += load<u32>(descriptor, DESCRIPTOR_DATAGRAMS);
    at += 4;
  }
  addAll(counters, count, bytes, datagrams);
}

/** The flow hash of the packet of one descriptor, after dissect. */
export function flowHash(descriptor: i32): u32 {
  return changetype<Packet>(<usize>descriptor).flowHash;
}

/**
 * Makes the packet of one descriptor that of another: its bytes, after the headroom of the other's slot, and all that
 * is known of it. The output is not copied.
 * @returns 1, or 0 when it does not fit the slot: then nothing has changed
 */
export function copy(to: i32, from: i32): i32 {
  const target = changetype<Packet>(<usize>to);
  const source = changetype<Packet>(<usize>from);
  const length = source.length;
  if (target.capacity < HEADROOM || length > target.capacity - HEADROOM) return 0;
  const output = target.output;
  target.data = target.slot + HEADROOM;
  target.length = length;
  memory.copy(target.data, source.data, length);
  memory.copy(
    <usize>to + DESCRIPTOR_L3,
    <usize>from + DESCRIPTOR_L3,
    DESCRIPTOR_TIMESTAMP + 8 - DESCRIPTOR_L3,
  );
  target.output = output;
  return 1;
}
