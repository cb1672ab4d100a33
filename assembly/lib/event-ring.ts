// A ring of 32-byte events in shared memory: any worker writes, one program reads (src/filters/events.ts). Bounded and without a
// lock (Vyukov, "Bounded MPMC queue"): a writer that finds no room leaves its event out and is told so.
//
//    0        64       128        192                      (each word on a cache line of its own)
//   +--------+--------+----------+---------+---------+--
//   | head   | tail   | capacity | event 0 | event 1 |        head: writers', tail: the reader's, both count for ever;
//   +--------+--------+----------+---------+---------+--       capacity: a power of two
//    event
//    0          4      5          6        8        16       20        24       28        30       32
//   +----------+------+----------+--------+--------+--------+---------+--------+---------+--------+
//   | sequence | kind | protocol | inside | time,  | inside | outside | remote | outside | remote |
//   |          |      |          | port   | ns     | address| address | address| port    | port   |
//   +----------+------+----------+--------+--------+--------+---------+--------+---------+--------+
//   sequence: of the event numbered n, n while its place is free, n + 1 once it is written. Little-endian, addresses and
//   ports are numbers in host order; time is since the epoch. The memory must be zero.

const HEAD: usize = 0;
const TAIL: usize = 64;
const CAPACITY: usize = 128;
const EVENTS: usize = 192;
const EVENT: usize = 32;

@unmanaged
export class EventRing {
  @inline static at(address: usize): EventRing {
    return changetype<EventRing>(address);
  }

  /** @param events room for so many at least; 0: there is no ring */
  static bytes(events: u32): usize {
    return events == 0 ? 0 : EVENTS + <usize>places(events) * EVENT;
  }

  static format(at: usize, events: u32): void {
    const capacity = places(events);
    store<u32>(at, capacity, CAPACITY);
    for (let i: u32 = 0; i < capacity; i++) store<u32>(at + EVENTS + <usize>i * EVENT, i);
  }

  /** @returns address of a place to write an event to, and then to publish(), or 0: there is no room */
  claim(): usize {
    const at = changetype<usize>(this);
    const mask = load<u32>(at, CAPACITY) - 1;
    let head = atomic.load<u32>(at, HEAD);
    let place = at + EVENTS + <usize>(head & mask) * EVENT;
    // Behind: not read since the last turn.
    let ahead = <i32>(atomic.load<u32>(place) - head);
    while (ahead >= 0) {
      if (ahead == 0 && atomic.cmpxchg<u32>(at, head, head + 1, HEAD) == head) return place;
      head = atomic.load<u32>(at, HEAD);
      place = at + EVENTS + <usize>(head & mask) * EVENT;
      ahead = <i32>(atomic.load<u32>(place) - head);
    }
    return 0;
  }
}

/** Lets the reader see an event. */
export function publish(place: usize): void {
  atomic.store<u32>(place, load<u32>(place) + 1);
}

function places(events: u32): u32 {
  return events <= 2 ? 2 : (<u32>1) << (32 - clz<u32>(events - 1));
}
