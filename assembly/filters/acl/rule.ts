// A compiled rule: what compile.ts writes and classify.ts reads. All of it lies in the prepared state: nobody changes it, and
// other rules are made elsewhere, for the workers to go over to.
//
//  state
//    0       4       8        12       16        20        64
//   +-------+-------+--------+--------+---------+---------+---------+-----+-----------------+----------+-------+
//   | rules | count | tree4  | tree6  | not IP: | its     | rule 0  | ... | rules that what | criteria | trees |
//   |       |       | (tree.ts)       | list    | length  | (128)   |     | is no IP may hit|          |       |
//   +-------+-------+--------+--------+---------+---------+---------+-----+-----------------+----------+-------+
//  rule
//    0       4        5          8      12    16      20      24     28            36      44         52         60
//   +-------+--------+----------+------+-----+-------+-------+------+-------------+-------+----------+----------+
//   | says  | output | fragments| index|proto| icmp  | icmp  | tcp  | from4, to4: address | from6    | to6      |
//   | (bits)|        | (bits)   |      |     | types | codes | flags| and count each      |          |          |
//   +-------+--------+----------+------+-----+-------+-------+------+-------------+-------+----------+----------+
//    60           68         76          84       92      96     100     104    112
//   +------------+----------+-----------+--------+-------+------+-------+------+---------+
//   | from-port  | to-port  | ethertype | length | marks | count| mask  | dscp | set mark|
//   +------------+----------+-----------+--------+-------+------+-------+------+---------+
//   proto to tcp flags: address of 256 bits, one a value; dscp: 64 bits. The lists are ranges, sorted and disjoint, with
//   what is negated taken out: from4, to4: first, last, 8 bytes; from6, to6: the same, 32 bytes; ports and lengths: 4
//   bytes; ethertypes and marks: 4 bytes, one value. Numbers in host order.

export const RULE: usize = 128;
export const RULE_SAYS: usize = 0;
export const RULE_OUTPUT: usize = 4;
export const RULE_FRAGMENTS: usize = 5;
export const RULE_INDEX: usize = 8;
export const RULE_PROTO: usize = 12;
export const RULE_ICMP_TYPES: usize = 16;
export const RULE_ICMP_CODES: usize = 20;
export const RULE_TCP_FLAGS: usize = 24;
export const RULE_FROM4: usize = 28;
export const RULE_TO4: usize = 36;
export const RULE_FROM6: usize = 44;
export const RULE_TO6: usize = 52;
export const RULE_FROM_PORT: usize = 60;
export const RULE_TO_PORT: usize = 68;
export const RULE_ETHERTYPE: usize = 76;
export const RULE_LENGTH: usize = 84;
export const RULE_MARK: usize = 92;
export const RULE_MARK_MASK: usize = 100;
export const RULE_DSCP: usize = 104;
export const RULE_SET_MARK: usize = 112;

export const BITMAP: usize = 32;
export const RANGE4: usize = 8;
export const RANGE6: usize = 32;
export const RANGE16: usize = 4;
export const VALUE: usize = 4;

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
export const SAYS_LENGTH: u32 = 1 << 10;
export const SAYS_DSCP: u32 = 1 << 11;
export const SAYS_MARK: u32 = 1 << 12;
export const SAYS_PORTS: u32 = SAYS_FROM_PORT | SAYS_TO_PORT;
export const SAYS_ICMP: u32 = SAYS_ICMP_TYPE | SAYS_ICMP_CODE;
/** What may differ from packet to packet of a flow. */
export const SAYS_OF_PACKETS: u32 =
  SAYS_TCP_FLAGS | SAYS_FRAGMENTS | SAYS_ETHERTYPE | SAYS_LENGTH | SAYS_DSCP | SAYS_MARK;
/** What a frame has that is not IP. */
export const SAYS_OF_FRAMES: u32 = SAYS_ETHERTYPE | SAYS_MARK;
/** Not a criterion: the rule sets the mark, and the rules behind it go on. */
export const MARKS: u32 = 1 << 31;

export const STATE_RULES: usize = 0;
export const STATE_COUNT: usize = 4;
export const STATE_NOT_IP: usize = 8;
export const STATE_NOT_IP_COUNT: usize = 12;
/** A tree a kind of protocol. */
export const STATE_ROOTS4: usize = 16;
export const STATE_ROOTS6: usize = 32;
/** Does some rule ask for what is in a transport header? */
export const STATE_ASKS: usize = 48;
/** Kinds, of IPv4, and 4 bits further of IPv6, in whose trees a packet has little to look at. */
export const STATE_LITTLE: usize = 60;
export const STATE_HEADER: usize = 64;

/** No index of a rule. */
export const NO_RULE: u32 = 0xffffffff;

// Kinds of protocol, as a rule tells them apart.
export const KIND_TCP: u32 = 0;
export const KIND_UDP: u32 = 1;
/** ICMP over IPv4, ICMPv6 over IPv6. */
export const KIND_ICMP: u32 = 2;
export const KIND_OTHER: u32 = 3;
export const ALL_KINDS: u32 = 15;
/** Added to a kind whose transport header is not there: of a fragment behind the first. */
export const KIND_PORTLESS: u32 = 4;
/** What is left of it then. */
export const KIND_MASK: u32 = 3;

/** The mark that a rule sets. */
export function markOf(state: usize, index: u32): u32 {
  return load<u32>(<usize>load<u32>(state, STATE_RULES) + <usize>index * RULE, RULE_SET_MARK);
}

/** Does a rule only set the mark, so that the rules behind it decide? */
export function marksOf(state: usize, index: u32): bool {
  return (load<u32>(<usize>load<u32>(state, STATE_RULES) + <usize>index * RULE, RULE_SAYS) & MARKS) != 0;
}

export function outputOf(state: usize, index: u32): u8 {
  return load<u8>(<usize>load<u32>(state, STATE_RULES) + <usize>index * RULE, RULE_OUTPUT);
}

export function hasBit(bitmap: usize, bit: u32): bool {
  return (load<u8>(bitmap + <usize>(bit >> 3)) & (1 << (bit & 7))) != 0;
}

export function setBit(bitmap: usize, bit: u32): void {
  const at = bitmap + <usize>(bit >> 3);
  store<u8>(at, <u8>(<u32>load<u8>(at) | (1 << (bit & 7))));
}
