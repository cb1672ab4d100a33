// Packets that wait for a neighbor, on this worker: in the order in which they came, held until somebody has answered, whichever
// worker the answer came to, or nobody has.
//
//    own addresses   0       8            an entry of the queue
//   +---------------+-------+-----------+------------+------+-----+
//   | OWN_BYTES     | count | due       | descriptor | high | low | ...
//   +---------------+-------+-----------+------------+------+-----+

import {
  counter,
  emit,
  hold,
  now,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  Output,
  Packet,
  wakeAt,
  workerState,
  workers,
} from "pktflow/assembly";
import { ask } from "./ask";
import { addHeader } from "./link";
import { OWN_BYTES } from "./own";
import { Counters, Outputs, params } from "./params";
import { dueOf, FREE, find, giveUp, INCOMPLETE, macOf, stateOf, takeTurn, tryAgain } from "./table";

const DUE: usize = 8;
const HEADER: u32 = 16;
const ENTRY: u32 = 24;
const HIGH: usize = 8;
const LOW: usize = 16;
/** How often a worker looks whether another has got an answer, ns. */
const LOOK: u64 = 1_000_000;

export function waitingBytes(): u32 {
  return HEADER + params.queue * ENTRY;
}

function queue(): usize {
  return workerState() + OWN_BYTES;
}

function entryAt(i: u32): usize {
  return queue() + HEADER + i * ENTRY;
}

export function count(): u32 {
  return load<u32>(queue());
}

/** Holds a packet until the neighbor of an entry is known, and asks for it. */
export function wait(p: Packet, entry: usize, high: u64, low: u64): Output {
  const n = count();
  let same: u32 = 0;
  for (let i: u32 = 0; i < n; i++) {
    if (load<u64>(entryAt(i), HIGH) == high && load<u64>(entryAt(i), LOW) == low) same++;
  }
  // One place is for the question.
  if (n + 1 >= params.queue || same >= params.waiting || !hold(p)) {
    counter(Counters.queueFull).add(1);
    return OUTPUT_DROP;
  }
  const at = entryAt(n);
  store<u32>(at, <u32>changetype<usize>(p));
  store<u64>(at, high, HIGH);
  store<u64>(at, low, LOW);
  store<u32>(queue(), n + 1);
  counter(Counters.waited).add(1);
  if (takeTurn(entry) && tryAgain(entry)) ask(p, high, low, p.isIpv4, 0);
  wakeBy(dueOf(entry));
  return OUTPUT_HOLD;
}

function wakeBy(time: u64): void {
  if (workers() > 1) time = min(time, now() + LOOK);
  const due = load<u64>(queue(), DUE);
  if (due != 0 && due <= time && due > now()) return;
  store<u64>(queue(), time, DUE);
  wakeAt(time);
}

/** Lets go of packets whose neighbor is known, and of those whose neighbor will not answer; asks for others again. */
export function release(): void {
  const n = count();
  let kept: u32 = 0;
  let next: u64 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const at = entryAt(i);
    const p = changetype<Packet>(<usize>load<u32>(at));
    const high = load<u64>(at, HIGH);
    const low = load<u64>(at, LOW);
    const entry = find(high, low);
    const state = entry == 0 ? FREE : stateOf(entry);
    if (state > INCOMPLETE) {
      if (addHeader(p, macOf(entry))) {
        counter(Counters.added).add(1);
        emit(p, OUTPUT_NEXT);
      } else emit(p, OUTPUT_DROP);
      continue;
    }
    if (state == INCOMPLETE && takeTurn(entry)) {
      if (tryAgain(entry)) ask(p, high, low, p.isIpv4, 0);
      else giveUp(entry, FREE);
    }
    if (entry == 0 || stateOf(entry) == FREE) {
      counter(Counters.unresolved).add(1);
      emit(p, Outputs.unresolved);
      continue;
    }
    const due = dueOf(entry);
    if (next == 0 || due < next) next = due;
    memory.copy(entryAt(kept), at, ENTRY);
    kept++;
  }
  store<u32>(queue(), kept);
  store<u64>(queue(), 0, DUE);
  if (kept != 0) wakeBy(next);
  else wakeAt(0);
}
