// What tells connections apart: the two endpoints of a packet in the order of their numbers, so that both directions have one
// key, the protocol, and of ICMP what is asked and by whom. Here is the key of the packet at hand.
//
//    0                         32                              40
//   +-------------------------+-------------------------------+
//   | addresses: lower, higher| ports: lower << 48 | higher   |        kind: of ICMP, the type of its request, and 0x100
//   | (IPv4: one u64)         | << 32 | kind << 16 | protocol |        where the endpoint with the lower number asks
//   |                         | << 8 | family, 4 or 6         |
//   +-------------------------+-------------------------------+

import { IPV4_SOURCE } from "../wire/ipv4";
import { IPV6_DESTINATION, IPV6_SOURCE } from "../wire/ipv6";

const TAIL: usize = 32;
const FAMILY: u64 = 0xff;
const LOWER_ASKS: u64 = 0x100 << 16;

let key0: u64 = 0;
let key1: u64 = 0;
let key2: u64 = 0;
let key3: u64 = 0;
let tail: u64 = 0;

/** Did the endpoint with the lower number send the packet? */
export let isLower: bool = false;
/** Are both endpoints the same? Then everything it sends is from the one that began. */
export let isSame: bool = false;

/**
 * The key of a packet from its IP header.
 * @param from, to its ports, 0 if it has none, in host order; @param kind of ICMP, the type of the request
 */
export function setEndpoints(ip: usize, isIpv4: bool, from: u16, to: u16, protocol: u8, kind: i32): void {
  let family: u64 = 4;
  if (isIpv4) {
    const pair = load<u64>(ip, IPV4_SOURCE);
    const source = ((pair << 32) >> 16) | <u64>from;
    const destination = ((pair >> 32) << 16) | <u64>to;
    isLower = source <= destination;
    isSame = source == destination;
    key0 = isLower ? pair : (pair << 32) | (pair >> 32);
    key1 = 0;
    key2 = 0;
    key3 = 0;
  } else {
    const a = load<u64>(ip, IPV6_SOURCE);
    const b = load<u64>(ip, IPV6_SOURCE + 8);
    const c = load<u64>(ip, IPV6_DESTINATION);
    const d = load<u64>(ip, IPV6_DESTINATION + 8);
    isSame = a == c && b == d && from == to;
    isLower = a != c ? a < c : b != d ? b < d : from <= to;
    key0 = isLower ? a : c;
    key1 = isLower ? b : d;
    key2 = isLower ? c : a;
    key3 = isLower ? d : b;
    family = 6;
  }
  const ports = isLower ? ((<u32>from) << 16) | <u32>to : ((<u32>to) << 16) | <u32>from;
  tail = ((<u64>ports) << 32) | ((<u64>(<u32>kind)) << 16) | ((<u64>protocol) << 8) | family;
}

/** Two hosts may ask each other with one identifier: who asked is part of the key. */
export function askedBy(isSender: bool): void {
  if (isSender == isLower) tail |= LOWER_ASKS;
}

/** Is what lies there, 40 bytes, this key? */
export function isKey(at: usize): bool {
  if (load<u64>(at) != key0 || load<u64>(at, TAIL) != tail) return false;
  return (
    (tail & FAMILY) == 4 ||
    (load<u64>(at, 8) == key1 && load<u64>(at, 16) == key2 && load<u64>(at, 24) == key3)
  );
}

export function writeKey(at: usize): void {
  store<u64>(at, key0);
  store<u64>(at, key1, 8);
  store<u64>(at, key2, 16);
  store<u64>(at, key3, 24);
  store<u64>(at, tail, TAIL);
}

/** @param seed random, so that nobody outside can aim for one bucket */
export function hashOfKey(seed: u64): u32 {
  return hashOf(key0, key1, key2, key3, tail, seed);
}

/** Of the key that lies there. */
export function hashOfKeyAt(at: usize, seed: u64): u32 {
  const tail = load<u64>(at, TAIL);
  return hashOf(load<u64>(at), load<u64>(at, 8), load<u64>(at, 16), load<u64>(at, 24), tail, seed);
}

/** Multiply and xorshift as in splitmix64 (Steele, Lea, Flood 2014) over the key's words, with the seed. */
function hashOf(a: u64, b: u64, c: u64, d: u64, e: u64, seed: u64): u32 {
  let h = (a ^ seed) * 0xbf58476d1ce4e5b9;
  if ((e & FAMILY) != 4) {
    h = (h ^ (h >> 29) ^ b) * 0x94d049bb133111eb;
    h = (h ^ (h >> 31) ^ c) * 0xbf58476d1ce4e5b9;
    h = (h ^ (h >> 30) ^ d) * 0x94d049bb133111eb;
  }
  h = (h ^ (h >> 31) ^ e) * 0x94d049bb133111eb;
  return <u32>(h ^ (h >> 32));
}
