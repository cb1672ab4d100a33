// Packets that are not what their addresses and ports make them look like, or that more happens to than their session says: the
// fast path (index.ts), which sees a session and nothing else, leaves them to slow.ts.

import { insideOf, outsideOf } from "./one-to-one-table";
import { params } from "./params";
import { hasTwice, pairs } from "./settings";
import { isTwiceDestination } from "./twice";

/**
 * Where hasSpecial of settings.ts: is this packet one?
 * @param addresses source and destination as they lie in it
 */
export function isSpecial(mark: u32, addresses: u64, fromInside: bool): bool {
  if (isMarkedOutside(mark)) return true;
  const source = <u32>addresses;
  const destination = <u32>(addresses >> 32);
  // One end has an address of its own outside, which is changed, too.
  if (pairs != 0 && (outsideOf(pairs, source) != 0 || insideOf(pairs, destination) != 0)) return true;
  // A session that leaves the remote end out of its tuples is found for one of these, too.
  return hasTwice && (!fromInside || isTwiceDestination(destination));
}

/** Does the mark say that the packet comes from outside, whatever its source? */
export function isMarkedOutside(mark: u32): bool {
  const outside = params.outsideMark;
  return outside != 0 && mark == outside;
}
