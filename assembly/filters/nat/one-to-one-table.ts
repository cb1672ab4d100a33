// Pairs of addresses, those of `one-to-one` and of `remote`, found from either side. Written once, before the workers start.
//
//    0      4     8                                  then
//   +------+-----+----------------------------------+----------------------------------+
//   | mask |     | by inside: address, outside's; 0 | by outside: address, inside's; 0 |       open addressing, half full at most
//   +------+-----+----------------------------------+----------------------------------+

const HEADER: usize = 8;

function placesFor(count: u32): u32 {
  return count <= 1 ? 2 : (<u32>1) << (33 - clz<u32>(count - 1));
}

/** @param count pairs */
export function pairsBytes(count: u32): usize {
  return count == 0 ? 0 : HEADER + <usize>placesFor(count) * 16;
}

/** In zeroed memory. */
export function formatPairs(at: usize, count: u32): void {
  store<u32>(at, placesFor(count) - 1);
}

/** Whoever comes first has an address, as elsewhere. Both as in packets. */
export function putPair(at: usize, inside: u32, outside: u32): void {
  if (outsideOf(at, inside) != 0 || insideOf(at, outside) != 0) return;
  put(at, inside, outside, 0);
  put(at, outside, inside, (<usize>load<u32>(at) + 1) << 3);
}

/** The outside address of an inside one, or 0: it has none. Both as in packets. */
export function outsideOf(table: usize, inside: u32): u32 {
  return find(table, inside, 0);
}
/** The inside address of an outside one, or 0. */
export function insideOf(table: usize, outside: u32): u32 {
  return find(table, outside, (<usize>load<u32>(table) + 1) << 3);
}

function find(table: usize, address: u32, side: usize): u32 {
  const mask = <usize>load<u32>(table);
  const entries = table + HEADER + side;
  let slot = slotOf(address, mask);
  let other = load<u32>(entries + (slot << 3), 4);
  while (other != 0 && load<u32>(entries + (slot << 3)) != address) {
    slot = (slot + 1) & mask;
    other = load<u32>(entries + (slot << 3), 4);
  }
  return other;
}

function put(table: usize, address: u32, other: u32, side: usize): void {
  const mask = <usize>load<u32>(table);
  const entries = table + HEADER + side;
  let slot = slotOf(address, mask);
  while (load<u32>(entries + (slot << 3), 4) != 0) slot = (slot + 1) & mask;
  store<u32>(entries + (slot << 3), address);
  store<u32>(entries + (slot << 3), other, 4);
}

function slotOf(address: u32, mask: usize): usize {
  return (<usize>(address * 0x9e3779b1) >> 12) & mask;
}
