// IPv4 addresses in IPv6 ones (RFC 6052, 2.2). Bits 64 to 71 are zero, and the address goes on behind them.
//
//    bits of the prefix
//    32   | prefix     | v4 (32)             | 0 | suffix                          |
//    40   | prefix          | v4 (24)        | 0 | v4 (8)  | suffix                |
//    48   | prefix               | v4 (16)   | 0 | v4 (16)      | suffix           |
//    56   | prefix                    | (8)  | 0 | v4 (24)           | suffix      |
//    64   | prefix                           | 0 | v4 (32)                | suffix |
//    96   | prefix                                                   | v4 (32)     |

import { params } from "./params";

let prefixHigh: u64 = 0;
let prefixLow: u64 = 0;
let maskHigh: u64 = 0;
let maskLow: u64 = 0;
let isLongest: bool = false;
/** Where the address begins, bytes. */
let first: usize = 0;
let isWellKnown: bool = false;

export function openPrefix(): void {
  const length = params.prefix.length;
  const at = params.prefix.address;
  isLongest = length == 96;
  first = <usize>length >> 3;
  // As they lie in memory: bytes of the prefix are the lower ones of a little-endian word.
  maskHigh = length >= 64 ? ~(<u64>0) : ~(~(<u64>0) << (<u64>length));
  maskLow = length == 96 ? 0xffffffff : 0;
  prefixHigh = load<u64>(at) & maskHigh;
  prefixLow = load<u64>(at, 8) & maskLow;
  // 64:ff9b::/96 (RFC 6052, 2.1).
  isWellKnown = isLongest && prefixHigh == 0x9bff6400 && prefixLow == 0;
}

/** Is the IPv6 address at `at` one that stands for an IPv4 address? */
export function isPrefixed(at: usize): bool {
  return (load<u64>(at) & maskHigh) == prefixHigh && (load<u64>(at, 8) & maskLow) == prefixLow;
}

/** The IPv4 address in it, as it lies in packets. */
export function extract(at: usize): u32 {
  if (isLongest) return load<u32>(at, 12);
  let address: u32 = 0;
  for (let i: usize = 0; i < 4; i++) address |= (<u32>load<u8>(at + placeOf(i))) << ((<u32>i) << 3);
  return address;
}

/** Writes the IPv6 address that stands for an IPv4 one. */
export function embed(at: usize, address: u32): void {
  store<u64>(at, prefixHigh);
  store<u64>(at, prefixLow, 8);
  if (isLongest) {
    store<u32>(at, address, 12);
    return;
  }
  for (let i: usize = 0; i < 4; i++) store<u8>(at + placeOf(i), <u8>(address >> ((<u32>i) << 3)));
}

function placeOf(i: usize): usize {
  const place = first + i;
  return place < 8 ? place : place + 1;
}

/** May it be behind the prefix? 64:ff9b::/96 must not stand for an address that is not global (RFC 6052, 3.1). */
export function mayRepresent(address: u32, nonGlobal: bool): bool {
  return nonGlobal || !isWellKnown || isGlobal(bswap<u32>(address));
}

/** One host's: not "this network", loopback, multicast, reserved or broadcast (RFC 6890). As it lies in packets. */
export function isHost(address: u32): bool {
  const top = address & 0xff;
  return top != 0 && top != 127 && top < 224;
}

/** RFC 5735, section 3, and RFC 6598: what is left out there and is a host's. Host order. */
function isGlobal(a: u32): bool {
  const top = a >> 24;
  if (top == 10) return false;
  if (top == 100) return a >> 22 != 0x191;
  if (top == 169) return a >> 16 != 0xa9fe;
  if (top == 172) return a >> 20 != 0xac1;
  if (top == 192) {
    return a >> 16 != 0xc0a8 && a >> 8 != 0xc00000 && a >> 8 != 0xc00002 && a >> 8 != 0xc05863;
  }
  if (top == 198) return a >> 17 != 0x6309 && a >> 8 != 0xc63364;
  return a >> 8 != 0xcb0071;
}

/** Can the IPv6 address at `at` be one host's behind this translator: neither unspecified, loopback, link-local, multicast nor prefixed. */
export function isIpv6Host(at: usize): bool {
  const top = bswap<u16>(load<u16>(at));
  if (top >= 0xff00 || (top & 0xffc0) == 0xfe80) return false;
  if (load<u64>(at) == 0 && bswap<u64>(load<u64>(at, 8)) <= 1) return false;
  return !isPrefixed(at);
}
