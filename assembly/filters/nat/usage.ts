// A packet passes through a session: what that changes of it.

import { SESSION_SUBSCRIBER, setTimer, timerOf } from "pktflow/assembly/lib/session-table";
import { trackInbound, trackOutbound } from "pktflow/assembly/lib/session-tcp";
import { SUBSCRIBER_HALF_OPEN } from "pktflow/assembly/lib/subscribers";
import { disturb } from "./flow-cache";
import { params } from "./params";
import { OUTWARDS } from "./rewrite";
import { subscribers } from "./settings";

/** Used now. Seldom: a session's time is kept in units. */
export function refresh(way: usize, record: usize, timer: u64, units: u32): void {
  if (way == OUTWARDS || params.inboundRefresh) setTimer(record, timer, <u8>timer, <u8>(timer >> 8), units);
}

/** A segment of TCP passes that may change something. */
export function track(segment: u8, way: usize, record: usize, timer: u64, units: u32): void {
  trackSegment(segment, way, record, timer, units);
  if (((timerOf(record) ^ timer) & STATE) != 0) disturb();
}

/** Of a timer: class and flags. */
const STATE: u64 = 0xffff;

function trackSegment(segment: u8, way: usize, record: usize, timer: u64, units: u32): void {
  if (way == OUTWARDS) {
    trackOutbound(segment, record, timer, units);
  } else {
    // Before the state changes, which only the session's own timer lets it: afterwards it may end, and be another host's.
    const subscriber = atomic.load<u32>(record, SESSION_SUBSCRIBER);
    if (trackInbound(segment, record, timer, units, params.inboundRefresh))
      subscribers.give(subscriber, SUBSCRIBER_HALF_OPEN);
  }
}
