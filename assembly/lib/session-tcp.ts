// What a session knows of the TCP connections through it, for its timeout (RFC 5382 REQ-5, RFC 7857 section 2). Where
// filtering leaves the remote port out of sessions, one may carry several connections; it counts as established as long as
// one of them may be.

import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from "../wire/tcp";
import { CLASS_ESTABLISHED, CLASS_TRANSITORY, setTimer } from "./session-table";

/** A segment with ACK came back: somebody answers. */
const ANSWERED: u8 = 1;
const FIN_OUT: u8 = 2;
const FIN_IN: u8 = 4;
const RESET: u8 = 8;
/** It counts among those of its subscriber that nobody has answered. */
export const COUNTED: u8 = 16;
const CLOSED: u8 = FIN_OUT | FIN_IN;

/** Segments with one of these change what is known. */
const NOTABLE: u8 = TCP_SYN | TCP_FIN | TCP_RST;
/** Class and flags of a session in whose connections nothing but data is to come. */
const STEADY: u64 = ((<u64>ANSWERED) << 8) | <u64>CLASS_ESTABLISHED;

/** May a segment change the state of its session, whatever that is? */
export function changesState(segment: u8): bool {
  return (segment & NOTABLE) != 0;
}

/** Does a segment leave the state of its session as it is? Then only the time of its use is to be noted. */
export function isSteady(segment: u8, timer: u64): bool {
  return (segment & NOTABLE) == 0 && (timer & 0xffff) == STEADY;
}

/** A segment from inside passes through a session; it refreshes it. */
export function trackOutbound(segment: u8, record: usize, timer: u64, units: u32): void {
  let flags = <u8>(timer >> 8);
  let timeoutClass = <u8>timer;
  if ((segment & TCP_RST) != 0) {
    flags |= RESET;
    timeoutClass = CLASS_TRANSITORY;
  } else if ((segment & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
    // A new connection, maybe beside one that is established.
    if (timeoutClass != CLASS_ESTABLISHED) flags &= COUNTED;
  } else {
    if ((segment & TCP_FIN) != 0) flags |= FIN_OUT;
    // An inside host that goes on after a reset never saw it, or it was forged (RFC 7857, section 2.2).
    else flags &= ~RESET;
    timeoutClass = classOf(flags);
  }
  setTimer(record, timer, timeoutClass, flags, units);
}

/**
 * A segment from outside: it changes the state but does not refresh (RFC 4787 REQ-6), lest outsiders keep it open.
 * @param refresh it does
 * @returns whether a session that was COUNTED no longer is: somebody answered
 */
export function trackInbound(segment: u8, record: usize, timer: u64, units: u32, refresh: bool): bool {
  let flags = <u8>(timer >> 8);
  const before = <u8>timer;
  let timeoutClass = before;
  let settled = false;
  if ((segment & TCP_RST) != 0) {
    flags |= RESET;
    timeoutClass = CLASS_TRANSITORY;
  } else {
    if ((segment & TCP_ACK) != 0) {
      settled = (flags & COUNTED) != 0;
      flags = (flags | ANSWERED) & ~COUNTED;
    }
    if ((segment & TCP_FIN) != 0) flags |= FIN_IN;
    if ((flags & CLOSED) == CLOSED) timeoutClass = CLASS_TRANSITORY;
  }
  // The transitory time begins at the end of the established one, not at the last packet from inside long ago.
  const ended = before == CLASS_ESTABLISHED && timeoutClass == CLASS_TRANSITORY;
  const used = ended || refresh ? units : <u32>(timer >> 32);
  // Where another worker was faster, it has settled that.
  return setTimer(record, timer, timeoutClass, flags, used) && settled;
}

/** Established: answered, and neither closed by both sides nor reset. */
function classOf(flags: u8): u8 {
  return (flags & ANSWERED) != 0 && (flags & CLOSED) != CLOSED && (flags & RESET) == 0
    ? CLASS_ESTABLISHED
    : CLASS_TRANSITORY;
}
