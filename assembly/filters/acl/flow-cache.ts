// What the packets of a flow found before: a worker's private table from addresses, protocol and ports to the box (layout.ts)
// that decided. An entry stays right as long as the rules do: when they change, all is forgotten. It is kept only where no rule
// was asked for what may differ from packet to packet (flags, lengths, marks). Whoever invents flows makes it
// useless, not wrong: a packet that is not in it costs some 5 ns more than without.
//
//   IPv4, 16 bytes, two ways a set       0              8        12
//                                       +--------------+--------+------------------+
//                                       | from, to     | ports  | box | kind + 1   |
//                                       +--------------+--------+------------------+
//   IPv6, 64 bytes, one way              0              32       36
//                                       +--------------+--------+------------------+----
//                                       | from, to     | ports  | box | kind + 1   |
//                                       +--------------+--------+------------------+----
//   kind + 1: never 0, so what is empty is no entry; a box's address is a multiple of 16; 0: no rule matches

const BITS4: u32 = 15;
const BITS6: u32 = 13;
const ENTRY4: usize = 16;
const ENTRY6: usize = 64;
const BYTES4: usize = ENTRY4 << BITS4;
const BYTES6: usize = ENTRY6 << BITS6;
const KIND: u32 = 15;
/** No box is there. */
export const UNKNOWN: u32 = 1;

export function cacheSize(): usize {
  return BYTES4 + BYTES6;
}

/** The set of an IPv4 flow; multiply and shift (Dietzfelbinger et al. 1997). */
export function cacheSet4(cache: usize, pair: u64, ports: u32, kind: u32): usize {
  const mixed = (pair ^ (<u64>(ports + kind) * 0x9e3779b97f4a7c15)) * 0xd6e8feb86659fd93;
  return cache + ((<usize>(mixed >> (65 - BITS4))) << 5);
}

/** The box of a flow in its set, or UNKNOWN. */
export function cached4(set: usize, pair: u64, ports: u32, kind: u32): u32 {
  const first = load<u32>(set, 12);
  if (load<u64>(set) == pair && load<u32>(set, 8) == ports && (first & KIND) == kind + 1)
    return first & ~KIND;
  const second = load<u32>(set, ENTRY4 + 12);
  if (load<u64>(set, ENTRY4) == pair && load<u32>(set, ENTRY4 + 8) == ports && (second & KIND) == kind + 1)
    return second & ~KIND;
  return UNKNOWN;
}

/** The newest comes first, the one before it second. */
export function remember4(set: usize, pair: u64, ports: u32, kind: u32, box: usize): void {
  v128.store(set, v128.load(set), ENTRY4);
  store<u64>(set, pair);
  store<u32>(set, ports, 8);
  store<u32>(set, <u32>box | (kind + 1), 12);
}

export function cacheSet6(cache: usize, addresses: usize, ports: u32, kind: u32): usize {
  let mixed = (load<u64>(addresses) ^ (<u64>(ports + kind) * 0x9e3779b97f4a7c15)) * 0xd6e8feb86659fd93;
  mixed = (mixed ^ (mixed >> 32) ^ load<u64>(addresses, 8)) * 0xd6e8feb86659fd93;
  mixed = (mixed ^ (mixed >> 32) ^ load<u64>(addresses, 16)) * 0xd6e8feb86659fd93;
  mixed = (mixed ^ (mixed >> 32) ^ load<u64>(addresses, 24)) * 0xd6e8feb86659fd93;
  return cache + BYTES4 + ((<usize>(mixed >> (64 - BITS6))) << 6);
}

export function cached6(set: usize, addresses: usize, ports: u32, kind: u32): u32 {
  const found = load<u32>(set, 36);
  const differs =
    (load<u64>(set) ^ load<u64>(addresses)) |
    (load<u64>(set, 8) ^ load<u64>(addresses, 8)) |
    (load<u64>(set, 16) ^ load<u64>(addresses, 16)) |
    (load<u64>(set, 24) ^ load<u64>(addresses, 24));
  return differs == 0 && load<u32>(set, 32) == ports && (found & KIND) == kind + 1 ? found & ~KIND : UNKNOWN;
}

export function remember6(set: usize, addresses: usize, ports: u32, kind: u32, box: usize): void {
  memory.copy(set, addresses, 32);
  store<u32>(set, ports, 32);
  store<u32>(set, <u32>box | (kind + 1), 36);
}
