// Sessions end here when their time is over, and mappings with their last one: in each worker's tick a part of the table, and once
// a batch where there is no room. What became of them is said to whoever reads the events.

import { counter, now, worker, workers } from "pktflow/assembly";
import {
  isCounted,
  SESSION_IN,
  SESSION_LIVE,
  SESSION_MAPPING,
  timerOf,
  unitsOf,
} from "pktflow/assembly/lib/session-table";
import { COUNTED } from "pktflow/assembly/lib/session-tcp";
import { SUBSCRIBER_HALF_OPEN, SUBSCRIBER_SESSIONS } from "pktflow/assembly/lib/subscribers";
import { MAPPING_ENDED, SESSION_ENDED, say } from "./events";
import { endMapping } from "./mappings";
import { Counters } from "./params";
import { wakeRested } from "./resting";
import { KIND_TWICE, mappings, sessions, subscribers } from "./settings";
import { leaveTwicePort } from "./twice";

/** Sessions looked at in a tick, and once a batch when there is no room: some 80 us and 10 us. */
const REAP_TICK: u32 = 8192;
const REAP_NO_ROOM: u32 = 1024;

let reapFrom: u32 = 0;
let reapedAt: u64 = 0;

/**
 * Ends a session that is over, and its mapping with the last one; and what is left of a session. Needs the lock.
 * @returns false: it was used meanwhile
 */
export function endLocked(bucket: usize, at: usize, seen: u64): bool {
  if ((seen & SESSION_LIVE) == 0 && !isCounted(seen)) return sessions.expel(at, seen);
  const mapping = mappings.at(load<u32>(at, SESSION_MAPPING));
  // Read before its record may become another's.
  const inside = load<u32>(at);
  const protocol = load<u8>(at, 12);
  const insidePort = load<u16>(at, 8);
  const outside = load<u32>(at, SESSION_IN + 4);
  const outsidePort = load<u16>(at, SESSION_IN + 10);
  const isTwice = (load<u64>(at, 8) & KIND_TWICE) != 0;
  const shown = load<u32>(at, 4);
  const shownPort = load<u16>(at, 10);
  const remote = isTwice ? load<u32>(at, SESSION_IN) : shown;
  const remotePort = isTwice ? load<u16>(at, SESSION_IN + 8) : shownPort;
  const isEnded = (seen & SESSION_LIVE) != 0 ? sessions.remove(at, seen) : sessions.expel(at, seen);
  if (!isEnded) return false;
  counter(Counters.sessionsExpired).add(1);
  say(SESSION_ENDED, protocol, inside, insidePort, outside, outsidePort, remote, remotePort);
  if (isTwice) leaveTwicePort(protocol, shown, shownPort);
  giveBack(mapping.subscriber, <u8>(seen >> 8));
  if (--mapping.sessions != 0) return true;
  endMapping(bucket, mapping, inside, true);
  counter(Counters.mappingsExpired).add(1);
  say(MAPPING_ENDED, protocol, inside, insidePort, outside, outsidePort, 0, 0);
  return true;
}

/** Is there no room, and has that not been seen to yet in this batch? */
export function isTimeToReap(): bool {
  if (reapedAt == now()) return false;
  reapedAt = now();
  return true;
}

/** Looks for what is over where there is no room. */
export function reapForRoom(): void {
  reap(reapFrom, REAP_NO_ROOM);
  reapFrom += REAP_NO_ROOM;
  wakeRested(now());
}

/** Ends sessions whose time is over; the workers share the table out between them. */
export function reapInTurn(): void {
  reap(reapFrom + worker() * REAP_TICK, REAP_TICK);
  reapFrom += workers() * REAP_TICK;
  wakeRested(now());
}

/** Among `count` records from `from` on, around the end. */
function reap(from: u32, count: u32): void {
  const records = sessions.records;
  const used = records.used;
  if (used == 0) return;
  const units = unitsOf(now());
  let at = from % used;
  for (let left = min(count, used); left != 0; left--) {
    const candidate = records.at(at);
    const seen = timerOf(candidate);
    if (sessions.isOver(seen, units)) reapOne(candidate, seen);
    at = at + 1 == used ? 0 : at + 1;
  }
}

function reapOne(candidate: usize, seen: u64): void {
  const mapping = atomic.load<u32>(candidate, SESSION_MAPPING);
  if (mapping == 0) return;
  // If the session ended since, this may be another mapping's key, or none: then the timer has changed, too.
  const key = mappings.keyOf(mapping);
  if (key == 0) {
    if (!isCounted(seen)) sessions.expel(candidate, seen);
    return;
  }
  const bucket = mappings.lock(key);
  if (bucket == 0) return;
  if (timerOf(candidate) == seen) endLocked(bucket, candidate, seen);
  mappings.unlock(bucket);
}

/** What a session counted for its subscriber counts no more. */
export function giveBack(subscriber: u32, flags: u8): void {
  if (subscriber == 0) return;
  subscribers.give(subscriber, SUBSCRIBER_SESSIONS);
  if ((flags & COUNTED) != 0) subscribers.give(subscriber, SUBSCRIBER_HALF_OPEN);
}

/** Says to whoever reads the events what became of a session, or of its mapping. */
export function tell(kind: u8, at: usize, withRemote: bool): void {
  const isTwice = (load<u64>(at, 8) & KIND_TWICE) != 0;
  const remote = load<u32>(isTwice ? at + SESSION_IN : at + 4);
  const remotePort = load<u16>(isTwice ? at + SESSION_IN + 8 : at + 10);
  say(
    kind,
    load<u8>(at, 12),
    load<u32>(at),
    load<u16>(at, 8),
    load<u32>(at, SESSION_IN + 4),
    load<u16>(at, SESSION_IN + 10),
    withRemote ? remote : 0,
    withRemote ? remotePort : 0,
  );
}
