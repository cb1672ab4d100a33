// struct virtio_net_hdr_v1 (<linux/virtio_net.h>): what the kernel leaves undone in the packet that follows. Its fields
// are the descriptor's vnet fields, in the same order; a device with IFF_VNET_HDR reads and writes it before each packet.
//
//    0       1         2         4          6            8             10           12
//   +-------+---------+---------+----------+------------+-------------+------------+----------
//   | flags | gsoType | hdrLen  | gsoSize  | csumStart  | csumOffset  | numBuffers | packet
//   +-------+---------+---------+----------+------------+-------------+------------+----------

/** The checksum from csumStart on is to be completed at csumStart + csumOffset. */
export const VNET_NEEDS_CSUM: u8 = 1;

export const VNET_GSO_NONE: u8 = 0;
export const VNET_GSO_TCPV4: u8 = 1;
export const VNET_GSO_TCPV6: u8 = 4;
export const VNET_GSO_UDP_L4: u8 = 5;
/** A bit beside the type: CWR is set, for the first segment. */
export const VNET_GSO_ECN: u8 = 0x80;
