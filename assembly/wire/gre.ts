// GRE (RFC 2784) with key and sequence number (RFC 2890).
//
//    0                          2             4                      (8)      (12)
//   +--------------------------+-------------+----------------------+--------+-----------------+---------
//   | C R K S reserved:9 ver:3 | protocol    | checksum, reserved   | key    | sequence number | payload
//   +--------------------------+-------------+----------------------+--------+-----------------+---------
//                                              if C                   if K     if S

export const PROTOCOL_GRE: u8 = 47;
export const GRE_HEADER: u32 = 4;
export const GRE_CHECKSUM: u16 = 0x8000;
export const GRE_KEY: u16 = 0x2000;
export const GRE_SEQUENCE: u16 = 0x1000;
/** Bits 1, 4 and 5, of RFC 1701: who does not know them must discard the packet (RFC 2784, 2.3); and the version. */
export const GRE_UNKNOWN: u16 = 0x4c07;
/** An Ethernet frame, "transparent Ethernet bridging". */
export const ETHERTYPE_TEB: u16 = 0x6558;
