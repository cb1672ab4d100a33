// VXLAN (RFC 7348, 5), over UDP.
//
//    0         1              4         7          8
//   +---------+--------------+---------+----------+-------------------
//   | flags   | reserved     | VNI     | reserved | Ethernet frame
//   +---------+--------------+---------+----------+-------------------

export const VXLAN_HEADER: u32 = 8;
/** The VNI is valid. All other flags are ignored on receipt. */
export const VXLAN_FLAG_VNI: u8 = 0x08;
