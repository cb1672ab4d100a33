// Headers put before a packet and taken off. A slot has HEADROOM bytes before what was received, of which the first
// VNET_HEADER stay free for the device by which the packet leaves; when filters have used up the rest, the packet moves back
// into what its slot has behind it.
//
//   slot   VNET_HEADER                                          capacity
//   +------+------------------------+-------------------+----------+
//   | kept | push() takes from here | data ... length   | tailroom |
//   +------+------------------------+-------------------+----------+
//
// Example: an outer IPv4 header goes before the packet.
//
//   if (!push(p, IPV4_HEADER)) return OUTPUT_DROP;

import { VNET_HEADER } from "../abi/layout";
import { Packet } from "../abi/packet";
import { VNET_NEEDS_CSUM } from "../wire/virtio-net";

/**
 * Sees to it that so many bytes are free before the packet, for headers that are written there: it moves back where they are not.
 * @returns false: the slot is too short, and nothing has changed
 */
export function makeRoom(p: Packet, bytes: u32): bool {
  const start = VNET_HEADER + bytes;
  if (p.data - p.slot >= start) return true;
  if (start + p.length > p.capacity) return false;
  memory.copy(p.slot + start, p.data, p.length);
  p.data = p.slot + start;
  return true;
}

/**
 * Puts `bytes` bytes before the packet, to be written by the caller; offsets count from there.
 * @returns false: the slot is too short, and nothing has changed
 */
export function push(p: Packet, bytes: u32): bool {
  if (!makeRoom(p, bytes)) return false;
  p.data -= bytes;
  p.length += bytes;
  shift(p, <i32>bytes);
  return true;
}

/** Takes `bytes` bytes off the packet's front, which must have as many. */
export function pull(p: Packet, bytes: u32): void {
  p.data += bytes;
  p.length -= bytes;
  shift(p, -(<i32>bytes));
}

/** What stands where in the packet, counted from its new front. An offset of 0 says that it is not there, and stays. */
function shift(p: Packet, by: i32): void {
  // An IP packet on layer 3 begins at 0: who puts something before it says so.
  if (p.l3 != 0) p.l3 = <u16>(<i32>p.l3 + by);
  if (p.l4 != 0) p.l4 = <u16>(<i32>p.l4 + by);
  if (p.payload != 0) p.payload = <u16>(<i32>p.payload + by);
  if ((p.vnetFlags & VNET_NEEDS_CSUM) != 0) p.vnetCsumStart = <u16>(<i32>p.vnetCsumStart + by);
}
