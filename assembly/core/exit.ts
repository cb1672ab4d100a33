// The last step before a packet leaves: what it leaves undone is done here unless the device of exit does it. In: a
// batch of packets for one port. Out: the batch that the engine or sink writes, in the same order. Super-packets are cut
// (lib/segment.ts), small ones put together (coalesce.ts), checksums completed, and the vnet header is written.

import {
  BATCH_COUNT,
  BATCH_ENTRIES,
  DEVICE_INFO_OFFLOADS,
  DEVICE_INFO_VNET_HEADER,
  OFFLOAD_CSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
  OUTPUT_FINISH,
  PACKET_FLAG_CSUM_PARTIAL,
} from "../abi/layout";
import { Packet } from "../abi/packet";
import { complement, sum } from "../lib/checksum";
import { clearSuper, completeChecksum, cutSegment, dataBytes, isSuper, segmentFits } from "../lib/segment";
import { PROTOCOL_TCP } from "../wire/ipv4";
import { VNET_NEEDS_CSUM } from "../wire/virtio-net";
import { add, append, take } from "./batch";
import { coalesce } from "./coalesce";
import { describe, hasInnerPartial, isSegmentable, writeHeader } from "./vnet";

// By the index in OFFLOAD_COUNTERS of src/batches/counters.ts.
const SEGMENTED: usize = 0;
const COALESCED: usize = 8;
const CHECKSUMMED: usize = 16;

/**
 * Moves packets from `exit` to the end of `ready`, finished for the device.
 * @param info its DEVICE_INFO
 * @param free the worker's free list, for segments
 * @param flows COALESCE_FLOWS u32 to work with
 * @param counters u64 each, by OFFLOAD_COUNTERS
 * @returns packets that stay in `exit`, for no slot was free: transmit `ready`, then call again
 */
export function finish(exit: i32, ready: i32, info: i32, free: i32, flows: i32, counters: i32): i32 {
  const offloads = load<u32>(info, DEVICE_INFO_OFFLOADS);
  const hasHeader = load<u32>(info, DEVICE_INFO_VNET_HEADER) != 0;
  if (hasHeader && load<u32>(exit, BATCH_COUNT) > 1 && (offloads & ~OFFLOAD_CSUM) != 0) {
    const merged = coalesce(exit, free, flows, offloads);
    if (merged != 0) add(<usize>counters + COALESCED, merged);
  }
  const count = load<u32>(exit, BATCH_COUNT);
  const first = <usize>exit + BATCH_ENTRIES;
  for (let i: u32 = 0; i < count; i++) {
    const at = first + ((<usize>i) << 2);
    const p = changetype<Packet>(<usize>load<u32>(at));
    const does = p.output == OUTPUT_FINISH ? 0 : offloads;
    if (isSuper(p) && !cutWhere(p, does, ready, free, counters, hasHeader)) {
      memory.copy(first, at, (count - i) << 2);
      store<u32>(exit, count - i, BATCH_COUNT);
      return count - i;
    }
    complete(p, does, ready, counters, hasHeader);
  }
  store<u32>(exit, 0, BATCH_COUNT);
  return 0;
}

/**
 * Cuts a super-packet unless the device does it.
 * @returns false: no slot is free, and what is left of it stays
 */
function cutWhere(p: Packet, does: u32, ready: usize, free: usize, counters: usize, hasHeader: bool): bool {
  if (!isSegmentable(p)) {
    clearSuper(p);
    return true;
  }
  if ((does & offloadFor(p)) != 0 && dataBytes(p) > <u32>p.vnetGsoSize) return true;
  while (dataBytes(p) > <u32>p.vnetGsoSize) {
    const descriptor = take(free);
    if (descriptor == 0) return false;
    const segment = changetype<Packet>(<usize>descriptor);
    if (!segmentFits(p, segment)) {
      append(free, descriptor);
      break;
    }
    cutSegment(p, segment);
    add(counters + SEGMENTED, 1);
    complete(segment, does, ready, counters, hasHeader);
  }
  clearSuper(p);
  return true;
}

function offloadFor(p: Packet): u32 {
  if (p.protocol == PROTOCOL_TCP) return p.isIpv4 ? OFFLOAD_TSO4 : OFFLOAD_TSO6;
  return p.isIpv4 ? OFFLOAD_USO4 : OFFLOAD_USO6;
}

function complete(p: Packet, does: u32, ready: usize, counters: usize, hasHeader: bool): void {
  if ((does & OFFLOAD_CSUM) == 0) {
    if (p.has(PACKET_FLAG_CSUM_PARTIAL)) {
      if (p.ipEnd <= p.end) completeChecksum(p);
      add(counters + CHECKSUMMED, 1);
    } else if (hasInnerPartial(p)) {
      completeInner(p);
      add(counters + CHECKSUMMED, 1);
    }
  }
  describe(p);
  if (hasHeader) writeHeader(p);
  append(ready, <u32>changetype<usize>(p));
}

/** As skb_checksum_help: from csumStart to the end, whatever is there. */
function completeInner(p: Packet): void {
  const start = <u32>p.vnetCsumStart;
  const field = start + <u32>p.vnetCsumOffset;
  p.vnetFlags &= ~VNET_NEEDS_CSUM;
  if (field + 2 > p.length) return;
  const right = complement(sum(p.data + start, p.length - start));
  store<u16>(p.data + field, right == 0 ? 0xffff : right);
}
