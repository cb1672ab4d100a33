// For filters that have changed what the packet begins with: a tunnel's end, a tag taken off.

import { DESCRIPTOR_VNET_FLAGS, MALFORMED_NONE, PACKET_FLAG_MALFORMED } from "../abi/layout";
import { Packet } from "../abi/packet";
import { dissectPacket } from "./dissect";
import { checkVnet } from "./vnet";

/**
 * Finds the headers of a packet anew, by its bytes. What is known of its checksum stays: flags and vnet fields are the
 * caller's affair before.
 * @param layer 3: it starts with the IP header; 2: with the Ethernet header
 */
export function dissectAgain(p: Packet, layer: u32): void {
  const error = dissectPacket(p, layer);
  if (error != MALFORMED_NONE) {
    p.flags |= PACKET_FLAG_MALFORMED;
    p.error = error;
  }
  if (load<u16>(changetype<usize>(p), DESCRIPTOR_VNET_FLAGS) != 0) checkVnet(p);
}
