// ARP (RFC 826) for IPv4 over Ethernet, behind the Ethernet header.
//
//    0          2          4        5        6           8            14          18           24          28
//   +----------+----------+--------+--------+-----------+------------+-----------+------------+-----------+
//   | hardware | protocol | hlen 6 | plen 4 | operation | sender MAC | sender IP | target MAC | target IP |
//   +----------+----------+--------+--------+-----------+------------+-----------+------------+-----------+

export const ARP_OPERATION: usize = 6;
export const ARP_SENDER_MAC: usize = 8;
export const ARP_SENDER_IP: usize = 14;
export const ARP_TARGET_MAC: usize = 18;
export const ARP_TARGET_IP: usize = 24;
export const ARP_BYTES: u32 = 28;
export const ARP_REQUEST: u16 = 1;
export const ARP_REPLY: u16 = 2;
/** The first eight bytes but the operation, as they lie in memory: Ethernet, IPv4, 6, 4. */
export const ARP_ETHERNET_IPV4: u64 = 0x040600080100;
