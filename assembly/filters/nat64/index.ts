// Stateful NAT64 (RFC 6146): IPv6 hosts reach IPv4 ones, whose addresses stand in a prefix. In: packets of both directions. Out:
// those from inside to the prefix as IPv4 packets from an outside address, those to an outside address as IPv6 packets to the host
// that has a mapping there, anything else as it came.
//
//                    out.ts                                   sessions.ts
//   IPv6 to the prefix ──► walk() extensions ──► session, made if there is none ──► toIpv4() ──► IPv4
//   IPv6 ◄── toIpv6(), cut() ◄── session ◄── into.ts ◄── IPv4 to an outside address
//
// The tables lie in the state that all workers share, as a reply may arrive on any worker.

import { IPV4_DESTINATION, OUTPUT_NEXT, Output, Packet } from "pktflow/assembly";
import { openPrefix } from "./addresses";
import { into, release } from "./into";
import { out } from "./out";
import { Counters } from "./params";
import { drop, openErrors, renewErrors } from "./refuse";
import { reapInTurn } from "./sessions";
import { format, open, outsideIndex, reopen, settingsSize } from "./settings";
import { openIdentification } from "./translate";

export function sharedStateSize(_at: usize): usize {
  return settingsSize();
}

export function initShared(): void {
  format();
}

export function init(): void {
  open();
  openPrefix();
  openErrors();
  openIdentification();
}

export function reload(): void {
  reopen();
  renewErrors();
}

export function packet(p: Packet): Output {
  if (p.isIpv6) return out(p);
  if (!p.isIpv4) return p.isMalformed ? drop(Counters.malformed) : OUTPUT_NEXT;
  const outside = outsideIndex(load<u32>(p.ip, IPV4_DESTINATION));
  return outside < 0 ? OUTPUT_NEXT : into(p, <u32>outside, false);
}

/** Fragments have waited long enough, or first ones may have come to other workers. */
export function wake(): void {
  release();
}

/** Sessions end whose time is over. */
export function tick(): void {
  reapInTurn();
}
