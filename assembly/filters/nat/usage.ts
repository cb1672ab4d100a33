// A packet passes through a session: what that changes of it.

import { setTimer } from "pktflow/assembly/lib/session-table";
import { params } from "./params";
import { OUTWARDS } from "./rewrite";
import { trackInbound, trackOutbound } from "./tcp";

/** Used now. Seldom: a session's time is kept in units. */
export function refresh(way: usize, record: usize, timer: u64, units: u32): void {
  if (way == OUTWARDS || params.inboundRefresh) setTimer(record, timer, <u8>timer, <u8>(timer >> 8), units);
}

/** A segment of TCP passes. */
export function track(segment: u8, way: usize, record: usize, timer: u64, units: u32): void {
  if (way == OUTWARDS) trackOutbound(segment, record, timer, units);
  else trackInbound(segment, record, timer, units, params.inboundRefresh);
}
