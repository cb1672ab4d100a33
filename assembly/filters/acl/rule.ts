// A compiled rule: what compile.ts writes and classify.ts reads. All of it lies in the state that the workers share and
// nobody changes after the start.
//
//  state
//    0       4       16 + 8 * class                  128
//   +-------+-------+------------------------------+---------+---------+-----+--------------+----------+
//   | rules | count | address, count: rules that   | rule 0  | rule 1  | ... | class lists  | criteria |
//   |       |       | a packet of the class may hit| (64)    | (64)    |     | u32 each     |          |
//   +-------+-------+------------------------------+---------+---------+-----+--------------+----------+
//  rule
//    0         4       5          8      12     16       20       24       28                          60
//   +---------+-------+----------+------+------+--------+--------+--------+---------------------------+
//   | says    | output| fragments| index| proto| icmp   | icmp   | tcp    | where the lists begin; one |
//   | (bits)  |       | (bits)   |      |      | types  | codes  | flags  | ends where the next begins |
//   +---------+-------+----------+------+------+--------+--------+--------+---------------------------+
//   proto to tcp flags: address of 256 bits, one a value; lists, in this order:
//   from6, to6: address and mask, 32 bytes; from4, to4: the same, 8 bytes; from-port, to-port: first, last, 4 bytes;
//   ethertype: 4 bytes. Addresses, ports and types in host order.

export const RULE: usize = 64;
export const RULE_SAYS: usize = 0;
export const RULE_OUTPUT: usize = 4;
export const RULE_FRAGMENTS: usize = 5;
export const RULE_INDEX: usize = 8;
export const RULE_PROTO: usize = 12;
export const RULE_ICMP_TYPES: usize = 16;
export const RULE_ICMP_CODES: usize = 20;
export const RULE_TCP_FLAGS: usize = 24;
export const RULE_FROM6: usize = 28;
export const RULE_TO6: usize = 32;
export const RULE_FROM4: usize = 36;
export const RULE_TO4: usize = 40;
export const RULE_FROM_PORT: usize = 44;
export const RULE_TO_PORT: usize = 48;
export const RULE_ETHERTYPE: usize = 52;
export const RULE_END: usize = 56;

export const BITMAP: usize = 32;
export const PREFIX6: usize = 32;
export const PREFIX4: usize = 8;
export const PORTS: usize = 4;
export const ETHERTYPE: usize = 4;

/** What a rule says something of. */
export const SAYS_PROTO: u32 = 1 << 0;
export const SAYS_FROM: u32 = 1 << 1;
export const SAYS_TO: u32 = 1 << 2;
export const SAYS_FROM_PORT: u32 = 1 << 3;
export const SAYS_TO_PORT: u32 = 1 << 4;
export const SAYS_ICMP_TYPE: u32 = 1 << 5;
export const SAYS_ICMP_CODE: u32 = 1 << 6;
export const SAYS_TCP_FLAGS: u32 = 1 << 7;
export const SAYS_FRAGMENTS: u32 = 1 << 8;
export const SAYS_ETHERTYPE: u32 = 1 << 9;
export const SAYS_PORTS: u32 = SAYS_FROM_PORT | SAYS_TO_PORT;
export const SAYS_ICMP: u32 = SAYS_ICMP_TYPE | SAYS_ICMP_CODE;

export const STATE_RULES: usize = 0;
export const STATE_COUNT: usize = 4;
export const STATE_CLASSES: usize = 16;
export const STATE_HEADER: usize = 128;

// Classes of packets: IP version times kind of protocol, and what is not IP. A rule is on the lists of those classes
// only that it may match.
export const KIND_TCP: u32 = 0;
export const KIND_UDP: u32 = 1;
/** ICMP and ICMPv6, over either IP. */
export const KIND_ICMP: u32 = 2;
export const KIND_OTHER: u32 = 3;
export const KINDS: u32 = 4;
export const CLASS_IPV4: u32 = 0;
export const CLASS_IPV6: u32 = KINDS;
export const CLASS_NOT_IP: u32 = 2 * KINDS;
export const CLASSES: u32 = CLASS_NOT_IP + 1;

export function hasBit(bitmap: usize, bit: u32): bool {
  return (load<u8>(bitmap + <usize>(bit >> 3)) & (1 << (bit & 7))) != 0;
}

export function setBit(bitmap: usize, bit: u32): void {
  const at = bitmap + <usize>(bit >> 3);
  store<u8>(at, <u8>(<u32>load<u8>(at) | (1 << (bit & 7))));
}
