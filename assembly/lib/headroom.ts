// Room before a packet, for a filter that pushes headers. A slot has HEADROOM before what was received, of which a device may want
// VNET_HEADER; filters before this one may have used it up.
//
// Example: 20 bytes more before the packet.
//
//   if (!makeRoom(p, 20)) return OUTPUT_DROP;
//   p.data -= 20;
//   p.length += 20;

import { VNET_HEADER } from "../abi/layout";
import { Packet } from "../abi/packet";

/**
 * Sees to it that there are so many bytes free before a packet's data, in its slot: it moves back where there are not.
 * @returns false: the slot is too short
 */
export function makeRoom(p: Packet, bytes: u32): bool {
  const least = p.slot + VNET_HEADER + bytes;
  if (p.data >= least) return true;
  if (VNET_HEADER + bytes + p.length > p.capacity) return false;
  memory.copy(least, p.data, p.length);
  p.data = least;
  return true;
}
