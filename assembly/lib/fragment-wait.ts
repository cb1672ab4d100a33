// Fragments that are held until their datagram's first one has come (fragment-table.ts): a filter that finds nothing for one holds
// it, adds it here, and asks again after each batch and in wake(). A worker's own; in the order in which they came.
//
//    0       8         16       20
//   +-------+---------+--------+-------+--
//   | count | due     | packet |       | ...     due: ns, when it has waited long enough
//   +-------+---------+--------+-------+--

import { Batch } from "../abi/batch";
import { workers } from "../abi/context";
import { hold, wakeAt } from "../abi/hold";
import { OUTPUT_DROP, OUTPUT_HOLD } from "../abi/layout";
import { Packet } from "../abi/packet";

const ENTRIES: usize = 8;
const ENTRY_SHIFT: usize = 4;
const PACKET: usize = 8;
/** How often it is asked whether the first fragment has come to another worker, ns. */
const LOOK_AGAIN: u64 = 5_000_000;

@unmanaged
export class FragmentWait {
  /** @param packets as many as the filter may hold */
  static bytes(packets: u32): usize {
    return ENTRIES + ((<usize>packets) << ENTRY_SHIFT);
  }

  /** Empty. */
  static format(at: usize): FragmentWait {
    store<u32>(at, 0);
    return changetype<FragmentWait>(at);
  }

  @inline get count(): u32 {
    return load<u32>(changetype<usize>(this));
  }

  /**
   * Holds those packets of a batch whose output is OUTPUT_HOLD, and adds them; where there is no room they are dropped.
   * @returns how many were
   */
  holdAll(b: Batch, due: u64): u32 {
    let refused: u32 = 0;
    for (let i: u32 = 0; i < b.count; i++) {
      const p = b.at(i);
      if (p.output != OUTPUT_HOLD) continue;
      if (hold(p)) {
        this.add(p, due);
      } else {
        p.output = OUTPUT_DROP;
        refused++;
      }
    }
    return refused;
  }

  /** There must be room. */
  add(p: Packet, due: u64): void {
    const count = this.count;
    const entry = this.entry(count);
    store<u64>(entry, due);
    store<u32>(entry, <u32>changetype<usize>(p), PACKET);
    store<u32>(changetype<usize>(this), count + 1);
  }

  at(index: u32): Packet {
    return changetype<Packet>(<usize>load<u32>(this.entry(index), PACKET));
  }

  dueOf(index: u32): u64 {
    return load<u64>(this.entry(index));
  }

  /** Those behind it move up. */
  remove(index: u32): void {
    const left = this.count - 1;
    const entry = this.entry(index);
    memory.copy(entry, this.entry(index + 1), (<usize>(left - index)) << ENTRY_SHIFT);
    store<u32>(changetype<usize>(this), left);
  }

  /** Asks for wake() when the first is due, and before if another worker may find what it waits for. */
  wake(now: u64): void {
    if (this.count == 0) {
      wakeAt(0);
      return;
    }
    const due = this.dueOf(0);
    wakeAt(workers() == 1 ? due : min<u64>(due, now + LOOK_AGAIN));
  }

  @inline private entry(index: u32): usize {
    return changetype<usize>(this) + ENTRIES + ((<usize>index) << ENTRY_SHIFT);
  }
}
