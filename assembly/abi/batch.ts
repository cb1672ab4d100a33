// The packets of one call of process(), for filters whose loop matters. A view: the address is that of the vector
// of descriptor addresses, the count is the call's.
//
// Example: the loop that packet() has by itself.
//
//   export function batch(b: Batch): void {
//     for (let i: u32 = 0; i < b.count; i++) b.at(i).output = OUTPUT_NEXT;
//   }

import { Packet } from "./packet";

let packets: u32 = 0;

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
    return changetype<Packet>(<usize>load<u32>(changetype<usize>(this) + ((<usize>index) << 2)));
  }
}

/** For the generated entry only. @internal */
export function batchOf(vector: i32, count: i32): Batch {
  packets = <u32>count;
  return changetype<Batch>(<usize>vector);
}
