// One packet: the 64-byte descriptor of layout.ts as a class, so that changetype<Packet>(address) is the packet.
// The host's worker owns the descriptor; a filter may read every field, change the packet's bytes, and change the
// fields whose comment says so. Field order and widths are the layout; the checks at the end hold them to it.
//
// Example: what is there to read, asked before it is read.
//
//   if (p.isIpv4 && p.isTransport(PROTOCOL_UDP) && Udp.of(p).destinationPort == 53) p.mark = 1;

import { flowHash } from "../lib/flow-hash";
import {
  DESCRIPTOR_CAPACITY,
  DESCRIPTOR_DATAGRAMS,
  DESCRIPTOR_DEVICE,
  DESCRIPTOR_ERROR,
  DESCRIPTOR_FLAGS,
  DESCRIPTOR_L3,
  DESCRIPTOR_L4,
  DESCRIPTOR_LENGTH,
  DESCRIPTOR_MARK,
  DESCRIPTOR_OUTPUT,
  DESCRIPTOR_PAYLOAD,
  DESCRIPTOR_PROTOCOL,
  DESCRIPTOR_QUEUE,
  DESCRIPTOR_RESERVED,
  DESCRIPTOR_SIZE,
  DESCRIPTOR_SLOT,
  DESCRIPTOR_TIMESTAMP,
  DESCRIPTOR_VNET_CSUM_START,
  DESCRIPTOR_VNET_FLAGS,
  DESCRIPTOR_VNET_NUM_BUFFERS,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_IPV6,
  PACKET_FLAG_MALFORMED,
  PACKET_FLAG_NOT_IP,
} from "./layout";

/** By which output a packet leaves a filter: OUTPUT_NEXT, OUTPUT_DROP, or one that the manifest names, from 2. */
export type Output = u8;

@unmanaged
export class Packet {
  /** Address of the first byte. A filter may move it within the slot, with `length`, to push or pull a header. */
  data: u32;
  /** Bytes from `data`; on layer 2 this may include padding after the IP packet: see ipEnd. */
  length: u32;
  /** Offset from `data` of the IP header. */
  l3: u16;
  /** Offset from `data` of the transport header, which is whole; 0: there is none. */
  l4: u16;
  /** Offset from `data` of what follows the last header that dissect knows; 0: nothing was proved. */
  payload: u16;
  /** IP protocol number, after IPv6 extension headers. */
  protocol: u8;
  /** Set by process() to what packet() returned; a batch() filter sets it for every packet. */
  output: Output;
  /** PACKET_FLAG bits. */
  flags: u32;
  /** Not in use. */
  reserved: u32;
  /** Index of the device that it came from: deviceMtu(p.device). */
  device: u8;
  /** Queue of that device. */
  queue: u8;
  /** Index in MALFORMED. */
  error: u16;
  /** Free for filters to write: later filters of the path read it. */
  mark: u32;
  /**
   * struct virtio_net_hdr of the packet: VNET_NEEDS_CSUM. For offloads; leave it alone unless you cut or make super-packets.
   */
  vnetFlags: u8;
  /** VNET_GSO_NONE, or what kind of super-packet it is. */
  vnetGsoType: u8;
  /** Bytes of headers of a super-packet, a hint. */
  vnetHdrLen: u16;
  /** Bytes of data in each segment of a super-packet; 0: it is none. */
  vnetGsoSize: u16;
  /** Offset from `data` where the checksum begins that is still to be completed. */
  vnetCsumStart: u16;
  /** Offset from there of the checksum's field. */
  vnetCsumOffset: u16;
  /** Not in use. */
  vnetNumBuffers: u16;
  /** Datagrams on the wire: more than 1 for a GSO super-packet. */
  datagrams: u32;
  /** When it was received, ns: by now()'s clock, or a capture's own. */
  timestamp: u64;
  /** Address of the slot that its bytes lie in. Never changes. */
  slot: u32;
  /** Bytes of the slot. Never changes. */
  capacity: u32;

  /** The same for both directions of a flow, and for all fragments of a datagram: lib/flow-hash.ts. Computed at each call. */
  @inline get flowHash(): u32 {
    return flowHash(this);
  }
  /** Address of the IP header. Safe to read when isIpv4 or isIpv6. */
  @inline get ip(): usize {
    return <usize>this.data + <usize>this.l3;
  }
  /** Address of the transport header. Safe to read when hasTransport. */
  @inline get transport(): usize {
    return <usize>this.data + <usize>this.l4;
  }
  /** Address just after the packet's last byte. */
  @inline get end(): usize {
    return <usize>this.data + <usize>this.length;
  }
  /**
   * Is any of these flags set? Never fails.
   * @param flags PACKET_FLAG bits
   * @example
   *   if (p.has(PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST)) return OUTPUT_DROP;
   */
  @inline has(flags: u32): bool {
    return (this.flags & flags) !== 0;
  }
  /** The IPv4 header with its options is whole and its total length lies within the packet. */
  @inline get isIpv4(): bool {
    return this.has(PACKET_FLAG_IPV4);
  }
  /** The IPv6 header is whole and its payload length lies within the packet. */
  @inline get isIpv6(): bool {
    return this.has(PACKET_FLAG_IPV6);
  }
  /** isIpv4 or isIpv6. */
  @inline get isIp(): bool {
    return this.has(PACKET_FLAG_IPV4 | PACKET_FLAG_IPV6);
  }
  /** Lengths or versions contradict the bytes: `error` says how. isIpv4 may still hold, for what was proved. */
  @inline get isMalformed(): bool {
    return this.has(PACKET_FLAG_MALFORMED);
  }
  /** It starts with a whole Ethernet header, with its VLAN tags: layer 2. */
  @inline get isFrame(): bool {
    return this.l3 !== 0 || this.has(PACKET_FLAG_NOT_IP);
  }
  /** One of several fragments of a datagram; PACKET_FLAG_FIRST_FRAGMENT: the one with the transport header. */
  @inline get isFragment(): bool {
    return this.has(PACKET_FLAG_FRAGMENT);
  }
  /** A whole TCP, UDP, ICMP or ICMPv6 header is at `transport`; `protocol` says which. */
  @inline get hasTransport(): bool {
    return this.l4 !== 0;
  }
  /**
   * Is its transport header whole, and of this protocol? Never fails.
   * @param protocol PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP or PROTOCOL_ICMPV6
   */
  @inline isTransport(protocol: u8): bool {
    return this.protocol === protocol && this.l4 !== 0;
  }
  /** Address just after the IP packet, by its own length field: Ethernet padding lies beyond. Needs isIp. */
  @inline get ipEnd(): usize {
    const ip = this.ip;
    return this.isIpv4
      ? ip + <usize>bswap<u16>(load<u16>(ip, 2))
      : ip + 40 + <usize>bswap<u16>(load<u16>(ip, 4));
  }
}

/**
 * Holds the class to the layout: every condition folds away, and a field out of place is a compile error.
 * core's entry calls it, so that it is compiled. @internal
 */
export function checkPacketLayout(): void {
  if (offsetof<Packet>("length") !== DESCRIPTOR_LENGTH) ERROR("Packet.length does not match the layout");
  if (offsetof<Packet>("l3") !== DESCRIPTOR_L3) ERROR("Packet.l3 does not match the layout");
  if (offsetof<Packet>("l4") !== DESCRIPTOR_L4) ERROR("Packet.l4 does not match the layout");
  if (offsetof<Packet>("payload") !== DESCRIPTOR_PAYLOAD) ERROR("Packet.payload does not match the layout");
  if (offsetof<Packet>("protocol") !== DESCRIPTOR_PROTOCOL)
    ERROR("Packet.protocol does not match the layout");
  if (offsetof<Packet>("output") !== DESCRIPTOR_OUTPUT) ERROR("Packet.output does not match the layout");
  if (offsetof<Packet>("flags") !== DESCRIPTOR_FLAGS) ERROR("Packet.flags does not match the layout");
  if (offsetof<Packet>("reserved") !== DESCRIPTOR_RESERVED)
    ERROR("Packet.reserved does not match the layout");
  if (offsetof<Packet>("device") !== DESCRIPTOR_DEVICE) ERROR("Packet.device does not match the layout");
  if (offsetof<Packet>("queue") !== DESCRIPTOR_QUEUE) ERROR("Packet.queue does not match the layout");
  if (offsetof<Packet>("error") !== DESCRIPTOR_ERROR) ERROR("Packet.error does not match the layout");
  if (offsetof<Packet>("mark") !== DESCRIPTOR_MARK) ERROR("Packet.mark does not match the layout");
  if (offsetof<Packet>("vnetFlags") !== DESCRIPTOR_VNET_FLAGS)
    ERROR("Packet.vnetFlags does not match the layout");
  if (offsetof<Packet>("vnetCsumStart") !== DESCRIPTOR_VNET_CSUM_START)
    ERROR("Packet.vnetCsumStart does not match the layout");
  if (offsetof<Packet>("vnetNumBuffers") !== DESCRIPTOR_VNET_NUM_BUFFERS)
    ERROR("Packet.vnetNumBuffers does not match the layout");
  if (offsetof<Packet>("datagrams") !== DESCRIPTOR_DATAGRAMS)
    ERROR("Packet.datagrams does not match the layout");
  if (offsetof<Packet>("timestamp") !== DESCRIPTOR_TIMESTAMP)
    ERROR("Packet.timestamp does not match the layout");
  if (offsetof<Packet>("slot") !== DESCRIPTOR_SLOT) ERROR("Packet.slot does not match the layout");
  if (offsetof<Packet>("capacity") !== DESCRIPTOR_CAPACITY)
    ERROR("Packet.capacity does not match the layout");
  if (offsetof<Packet>() !== DESCRIPTOR_SIZE) ERROR("Packet.size does not match the layout");
}
