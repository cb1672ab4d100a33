// The packets of one call of process(), for filters whose loop matters. A view: the address is that of the vector
// of descriptor addresses, the count is the call's.
//
// Example: the loop that packet() has by itself.
//
//   export function batch(b: Batch): void {
//     for (let i: u32 = 0; i < b.count; i++) b.at(i).output = OUTPUT_NEXT;
//   }

import { OUTPUT_NONE } from "./layout";
import { Packet } from "./packet";

let packets: u32 = 0;
let isWatched: bool = false;

/** Address in the vector of the last packet that at() has given, for the host to read when batch() traps. @internal */
export let touched: usize = 0;

@unmanaged
export class Batch {
  /** How many packets there are: 0 to BATCH_PACKETS. */
  @inline get count(): u32 {
    return packets;
  }
  /**
   * The packet at a place of the batch.
   * @param index from 0, below `count`: not checked
   * @returns the packet, its descriptor
   */
  @inline at(index: u32): Packet {
    const at = changetype<usize>(this) + ((<usize>index) << 2);
    // Where nobody watches, the compiler leaves this out.
    if (isWatched && at > touched) touched = at;
    return changetype<Packet>(<usize>load<u32>(at));
  }
}

/** For the generated entry only. @internal */
export function batchOf(vector: i32, count: i32): Batch {
  packets = <u32>count;
  return changetype<Batch>(<usize>vector);
}

/**
 * The same, of a filter that is not the package's own: packets have no output until it gives them one, so that after a trap it is
 * known which ones are done, and which ones it has not even looked at. @internal
 */
export function watchedBatchOf(vector: i32, count: i32): Batch {
  isWatched = true;
  touched = <usize>vector;
  const end = <usize>vector + ((<usize>count) << 2);
  for (let at = <usize>vector; at < end; at += 4) {
    changetype<Packet>(<usize>load<u32>(at)).output = OUTPUT_NONE;
  }
  return batchOf(vector, count);
}
