// What is said of mappings and sessions to whoever reads the ring: RFC 6888 REQ-12 says what a log must have.

import { counter, wallClock } from "pktflow/assembly";
import { publish } from "pktflow/assembly/lib/event-ring";
import { Counters, params } from "./params";
import { ring } from "./settings";

export const MAPPING_MADE: u8 = 0;
export const MAPPING_ENDED: u8 = 1;
export const SESSION_MADE: u8 = 2;
export const SESSION_ENDED: u8 = 3;

/** Endpoints are as they lie in packets; remote is 0 for a mapping. */
export function say(
  kind: u8,
  protocol: u8,
  inside: u32,
  insidePort: u16,
  outside: u32,
  outsidePort: u16,
  remote: u32,
  remotePort: u16,
): void {
  if (changetype<usize>(ring) == 0) return;
  const place = ring.claim();
  if (place == 0) {
    counter(Counters.eventsLost).add(1);
    return;
  }
  const withRemote = params.eventRemotes;
  store<u8>(place, kind, 4);
  store<u8>(place, protocol, 5);
  store<u16>(place, bswap<u16>(insidePort), 6);
  store<u64>(place, wallClock(), 8);
  store<u32>(place, bswap<u32>(inside), 16);
  store<u32>(place, bswap<u32>(outside), 20);
  store<u32>(place, withRemote ? bswap<u32>(remote) : 0, 24);
  store<u16>(place, bswap<u16>(outsidePort), 28);
  store<u16>(place, withRemote ? bswap<u16>(remotePort) : 0, 30);
  publish(place);
}
