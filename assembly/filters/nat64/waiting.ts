// Fragments from outside that came before their first one wait for it, for two seconds (RFC 6146, 4: FRAGMENT_MIN). In the order
// in which they came.
//
//    one that waits, 16 bytes
//    0            4            8        16
//   +------------+------------+--------+
//   | descriptor | hairpinned | until  |
//   +------------+------------+--------+

import { hold, now, Packet, wakeAt } from "pktflow/assembly";
import { MOST_WAITING, waitingAt } from "./settings";

const FRAGMENT_MIN: u64 = 2_000_000_000;
const ENTRY: usize = 16;

export let waiting: u32 = 0;

/** @returns false: too many wait already */
export function wait(p: Packet, isHairpin: bool): bool {
  if (waiting == MOST_WAITING || !hold(p)) return false;
  const at = waitingAt() + <usize>waiting * ENTRY;
  store<u32>(at, <u32>changetype<usize>(p));
  store<u32>(at, isHairpin ? 1 : 0, 4);
  store<u64>(at, now() + FRAGMENT_MIN, 8);
  waiting++;
  if (waiting == 1) wakeAt(now() + FRAGMENT_MIN);
  return true;
}

export function waitingPacket(i: u32): Packet {
  return changetype<Packet>(<usize>load<u32>(waitingAt() + <usize>i * ENTRY));
}
export function isWaitingHairpin(i: u32): bool {
  return load<u32>(waitingAt() + <usize>i * ENTRY, 4) != 0;
}
/** Has it waited long enough? */
export function isWaitingOver(i: u32): bool {
  return load<u64>(waitingAt() + <usize>i * ENTRY, 8) <= now();
}

/** It waits no longer: whoever takes it emits it. */
export function takeWaiting(i: u32): void {
  const at = waitingAt() + <usize>i * ENTRY;
  waiting--;
  memory.copy(at, at + ENTRY, <usize>(waiting - i) * ENTRY);
  wakeAt(waiting == 0 ? 0 : load<u64>(waitingAt(), 8));
}
