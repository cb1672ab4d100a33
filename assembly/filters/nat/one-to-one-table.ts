// The addresses of `one-to-one`, found from either side. Written once, before the workers start.
//
//    0      4     8                                  then
//   +------+-----+----------------------------------+----------------------------------+
//   | mask |     | by inside: address, outside's; 0 | by outside: address, inside's; 0 |       open addressing, half full at most
//   +------+-----+----------------------------------+----------------------------------+

import { params } from "./params";

const HEADER: usize = 8;

function places(): u32 {
  const count = <u32>params.oneToOne.length;
  return count <= 1 ? 2 : (<u32>1) << (33 - clz<u32>(count - 1));
}

export function pairsBytes(): usize {
  return params.oneToOne.length == 0 ? 0 : HEADER + <usize>places() * 16;
}

export function formatPairs(at: usize): void {
  store<u32>(at, places() - 1);
  for (let i = 0; i < params.oneToOne.length; i++) {
    const pair = params.oneToOne.at(i);
    const inside = bswap<u32>(pair.inside);
    const outside = bswap<u32>(pair.outside);
    // Whoever comes first has it, as elsewhere.
    if (outsideOf(at, inside) != 0 || insideOf(at, outside) != 0) continue;
    put(at, inside, outside, 0);
    put(at, outside, inside, (<usize>places()) << 3);
  }
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
