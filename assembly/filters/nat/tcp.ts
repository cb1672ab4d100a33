// What a mapping knows of the TCP connections through it, for its timeout (RFC 5382 REQ-5, RFC 7857 section 2). A
// mapping may carry several connections; it counts as established as long as one of them may be.

import { TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN } from "pktflow/assembly";
import { CLASS_ESTABLISHED, CLASS_TRANSITORY, mappings } from "./settings";

/** A segment with ACK came back: somebody answers. */
const ANSWERED: u8 = 1;
const FIN_OUT: u8 = 2;
const FIN_IN: u8 = 4;
const RESET: u8 = 8;
const CLOSED: u8 = FIN_OUT | FIN_IN;

/** A segment from inside passes through the mapping seen last; it refreshes it. */
export function trackOutbound(segment: u8, now: u64): void {
  let flags = mappings.flags;
  let timeoutClass = mappings.timeoutClass;
  if ((segment & TCP_RST) != 0) {
    flags |= RESET;
    timeoutClass = CLASS_TRANSITORY;
  } else if ((segment & (TCP_SYN | TCP_ACK)) == TCP_SYN) {
    // A new connection, maybe beside one that is established.
    if (timeoutClass != CLASS_ESTABLISHED) flags = 0;
  } else {
    if ((segment & TCP_FIN) != 0) flags |= FIN_OUT;
    // An inside host that goes on after a reset never saw it, or it was forged (RFC 7857, section 2.2).
    else flags &= ~RESET;
    timeoutClass = classOf(flags);
  }
  mappings.use(timeoutClass, flags, true, now);
}

/** A segment from outside: it changes the state but does not refresh (RFC 4787 REQ-6), lest outsiders keep it open. */
export function trackInbound(segment: u8, now: u64): void {
  let flags = mappings.flags;
  const before = mappings.timeoutClass;
  let timeoutClass = before;
  if ((segment & TCP_RST) != 0) {
    flags |= RESET;
    timeoutClass = CLASS_TRANSITORY;
  } else {
    if ((segment & TCP_ACK) != 0) flags |= ANSWERED;
    if ((segment & TCP_FIN) != 0) flags |= FIN_IN;
    if ((flags & CLOSED) == CLOSED) timeoutClass = CLASS_TRANSITORY;
  }
  // The transitory time begins at the end of the established one, not at the last packet from inside long ago.
  const ended = before == CLASS_ESTABLISHED && timeoutClass == CLASS_TRANSITORY;
  mappings.use(timeoutClass, flags, ended, now);
}

/** Established: answered, and neither closed by both sides nor reset. */
function classOf(flags: u8): u8 {
  return (flags & ANSWERED) != 0 && (flags & CLOSED) != CLOSED && (flags & RESET) == 0
    ? CLASS_ESTABLISHED
    : CLASS_TRANSITORY;
}
