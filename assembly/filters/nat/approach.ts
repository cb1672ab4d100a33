// For packets of a batch whose sessions were not found, and will likely be made: has come nearer what that takes, all of it at
// once, so that they wait for memory together and not one after the other. Nothing changes: sessions.ts makes them.
//
// Beside the line of the index in which the packet was looked for, which is near already: the bucket of its mapping and who is
// there; the port, for which a free one is looked for; and where packets from outside to that port will be looked for.

import { ADDRESSES, FORESEEN, KEPT, NEAR, PORTS, SLOW, TUPLE } from "./kept";
import { inTuple } from "./lookup";
import { foreseePort, mappingKey } from "./mappings";
import { params } from "./params";
import {
  allot,
  allottedFirst,
  allottedLast,
  allottedOutside,
  inAddresses,
  KIND_IN,
  mappings,
  poolAddress,
  poolOf,
  sessions,
} from "./settings";
import { fillStashes, giveStashesBack } from "./stash";

let touched: u32 = 0;

/** @param kept what the stages keep of the packets, of which those at hand are SLOW */
export function approach(kept: usize, count: u32): void {
  const end = kept + <usize>count * KEPT;
  const strangers = findPlaces(kept, end);
  if (strangers != 0) fillStashes(strangers);
  foresee(kept, end);
  touch(kept, end);
}

/** Once the packets have passed: what was for them is nobody's any more. */
export function forget(): void {
  foreseePort(-1);
  giveStashesBack();
}

/** @returns how many packets there are that may need a session. The bucket of each one's mapping. The others, here and below, are as good as that of the one before. */
function findPlaces(kept: usize, end: usize): u32 {
  let strangers: u32 = 0;
  let place = kept;
  let seen: u32 = 0;
  for (let at = kept; at < end; at += KEPT) {
    const ports = load<u64>(at, PORTS);
    if (load<u32>(at, TUPLE) == SLOW && ports != 0 && (ports & KIND_IN) == 0) {
      place = mappings.placeOf(mappingKey(<u8>(ports >> 32), load<u64>(at, ADDRESSES), <u32>ports));
      seen ^= load<u32>(place);
      strangers++;
    }
    store<u32>(at, <u32>place, NEAR);
  }
  touched = seen;
  return strangers;
}

function foresee(kept: usize, end: usize): void {
  const index = sessions.index;
  let seen: u32 = 0;
  for (let at = kept; at < end; at += KEPT) {
    store<i32>(at, -1, FORESEEN);
    const ports = load<u64>(at, PORTS);
    if (load<u32>(at, TUPLE) != SLOW || ports == 0 || (ports & KIND_IN) != 0) continue;
    const all = load<u64>(at, ADDRESSES);
    const protocol = <u8>(ports >> 32);
    if (!allot(<u32>all)) continue;
    const pool = poolOf(allottedOutside, protocol);
    const wanted = <u32>bswap<u16>(<u16>ports);
    const port = mappings.pool(pool).foresee(wanted, allottedFirst, allottedLast, params.portBlock == 0);
    seen ^= load<u32>(mappings.firstOf(<usize>load<u32>(at, NEAR)));
    if (port < 0) continue;
    store<i32>(at, port, FORESEEN);
    const into = ((all >> 32) | ((<u64>poolAddress(pool)) << 32)) & inAddresses;
    const intoPorts = inTuple(protocol, (<u32>(ports >> 16) & 0xffff) | ((<u32>bswap<u16>(<u16>port)) << 16));
    store<u32>(at, <u32>index.lineOf(index.hash(into, intoPorts)), NEAR);
  }
  touched ^= seen;
}

function touch(kept: usize, end: usize): void {
  let seen: u32 = 0;
  for (let at = kept; at < end; at += KEPT) seen ^= load<u32>(<usize>load<u32>(at, NEAR));
  touched ^= seen;
}
