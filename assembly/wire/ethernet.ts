// Ethernet II (IEEE 802.3) and its VLAN tags (IEEE 802.1Q, 802.1ad).
//
//    0             6             12          14
//   +-------------+-------------+-----------+---------
//   | destination | source      | etherType | payload
//   +-------------+-------------+-----------+---------
//   a tag stands where etherType is: TPID (2), then PCP:3 DEI:1 VID:12, then the next type
//
// Example: on layer 2, what type of frame it is.
//
//   if (p.length >= ETHERNET_HEADER && Ethernet.at(p.data).type == ETHERTYPE_ARP) return OUTPUT_NEXT;

import { be16, setBe16 } from "./bytes";

export const ETHERNET_DESTINATION: usize = 0;
export const ETHERNET_SOURCE: usize = 6;
export const ETHERNET_TYPE: usize = 12;
export const ETHERNET_HEADER: u32 = 14;
export const VLAN_TAG: u32 = 4;

export const ETHERTYPE_IPV4: u16 = 0x0800;
export const ETHERTYPE_ARP: u16 = 0x0806;
export const ETHERTYPE_VLAN: u16 = 0x8100;
export const ETHERTYPE_IPV6: u16 = 0x86dd;
/** 802.1ad service tag. */
export const ETHERTYPE_QINQ: u16 = 0x88a8;

/** An Ethernet header. Safe on layer 2 unless the packet is malformed as truncated-ethernet. No checksum covers it. */
@unmanaged
export class Ethernet {
  /**
   * The header at an address. Needs 14 bytes: not checked.
   * @param address of its first byte
   */
  @inline static at(address: usize): Ethernet {
    return changetype<Ethernet>(address);
  }
  /** Destination, 48 bits, the first byte on the wire being the highest. */
  @inline get destination(): u64 {
    const at = changetype<usize>(this) + ETHERNET_DESTINATION;
    return ((<u64>be16(at)) << 32) | <u64>bswap<u32>(load<u32>(at, 2));
  }
  /** Source, 48 bits, the first byte on the wire being the highest. */
  @inline get source(): u64 {
    const at = changetype<usize>(this) + ETHERNET_SOURCE;
    return ((<u64>be16(at)) << 32) | <u64>bswap<u32>(load<u32>(at, 2));
  }
  @inline set destination(mac: u64) {
    const at = changetype<usize>(this) + ETHERNET_DESTINATION;
    setBe16(at, <u16>(mac >> 32));
    store<u32>(at, bswap<u32>(<u32>mac), 2);
  }
  @inline set source(mac: u64) {
    const at = changetype<usize>(this) + ETHERNET_SOURCE;
    setBe16(at, <u16>(mac >> 32));
    store<u32>(at, bswap<u32>(<u32>mac), 2);
  }
  /** EtherType, or the TPID of the outer VLAN tag. */
  @inline get type(): u16 {
    return be16(changetype<usize>(this) + ETHERNET_TYPE);
  }
  @inline set type(value: u16) {
    setBe16(changetype<usize>(this) + ETHERNET_TYPE, value);
  }
}

/** One VLAN tag, from its TPID. Safe where PACKET_FLAG_VLAN is set: the outer one is at data + ETHERNET_TYPE. */
@unmanaged
export class Vlan {
  /**
   * A tag at an address. Needs PACKET_FLAG_VLAN for the outer one, at data + ETHERNET_TYPE: not checked.
   * @param address of its TPID
   * @example
   *   if (p.has(PACKET_FLAG_VLAN) && Vlan.at(p.data + ETHERNET_TYPE).id == 1) return OUTPUT_DROP;
   */
  @inline static at(address: usize): Vlan {
    return changetype<Vlan>(address);
  }
  /** ETHERTYPE_VLAN or ETHERTYPE_QINQ. */
  @inline get tpid(): u16 {
    return be16(changetype<usize>(this));
  }
  /** PCP, 0 to 7. */
  @inline get priority(): u8 {
    return load<u8>(changetype<usize>(this), 2) >> 5;
  }
  /** VLAN identifier, 12 bits. */
  @inline get id(): u16 {
    return be16(changetype<usize>(this) + 2) & 0xfff;
  }
  /** Type of what follows the tag. */
  @inline get type(): u16 {
    return be16(changetype<usize>(this) + 4);
  }
}
