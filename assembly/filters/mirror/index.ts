// Copies leave at once by their own output; packets go on untouched. A copy that is cut off is no longer what its headers say:
// who is to look at it knows.

import {
  copyOf,
  counter,
  emit,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_MALFORMED,
  Packet,
  randomBelow,
} from "pktflow/assembly";
import { completeChecksum, isSuper, keepFirstSegment } from "pktflow/assembly/lib/segment";
import { Counters, Outputs, params } from "./params";

/** No limit: a frame with the longest IP packet in it is longer still. */
const WHOLE: u32 = 65535;

export function packet(p: Packet): Output {
  if (params.oneIn > 1 && randomBelow(params.oneIn) != 0) return OUTPUT_NEXT;
  const copy = copyOf(p);
  if (changetype<usize>(copy) == 0) {
    counter(Counters.noRoom).add(1);
    return OUTPUT_NEXT;
  }
  if (params.first != WHOLE && copy.length > params.first) cut(copy);
  counter(Counters.copied).add(1);
  emit(copy, Outputs.copy);
  return OUTPUT_NEXT;
}

function cut(copy: Packet): void {
  if (isSuper(copy)) keepFirstSegment(copy);
  if (copy.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(copy);
  copy.length = min<u32>(copy.length, params.first);
  // No later filter may read what is not there.
  copy.flags = PACKET_FLAG_MALFORMED;
  copy.l4 = 0;
  copy.payload = 0;
  copy.protocol = 0;
}
