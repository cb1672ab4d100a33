// This end's addresses on the link, and what is on it. IPv4 addresses are ::ffff:a.b.c.d, so both families are compared alike;
// numbers are in host order.
//
//    0       8      16     20           an address, at the beginning of the worker's state
//   +-------+------+------+------+
//   | high  | low  | bits | is4  |
//   +-------+------+------+------+

import { be16, be32, be64, workerState } from "pktflow/assembly";
import { params } from "./params";

const LOW: usize = 8;
const BITS: usize = 16;
const IS4: usize = 20;
const OWN: u32 = 24;
/** All that there may be, and the link-local one. */
const MOST: u32 = 17;
export const OWN_BYTES: u32 = MOST * OWN;
const MAPPED: u64 = 0xffff00000000;
const LINK_LOCAL: u64 = 0xfe80000000000000;
const NONE: u32 = 0xffffffff;

let count: u32 = 0;
let gateway4: u64 = 0;
let gateway6High: u64 = 0;
let gateway6Low: u64 = 0;
export let ownMac: u64 = 0;

/** An IPv4 address as the lower half of its IPv6 form; the upper one is 0. */
export function mapped(address: u32): u64 {
  return MAPPED | <u64>address;
}

export function readOwn(): void {
  const list = params.address;
  ownMac = macAt(params.mac);
  count = 0;
  let has6 = false;
  for (let i = 0; i < list.length; i++) {
    const one = list.at(i);
    put(be64(one.address), be64(one.address + 8), one.length, one.family == 4);
    if (one.family == 6) has6 = true;
  }
  // Modified EUI-64: the bit for "universal" is turned over.
  const high = ownMac >> 24;
  if (has6)
    put(LINK_LOCAL, ((high ^ 0x020000) << 40) | ((<u64>0xfffe) << 24) | (ownMac & 0xffffff), 64, false);
  gateway4 = gateway6High = gateway6Low = 0;
  const gateways = params.gateway;
  for (let i = 0; i < gateways.length; i++) {
    const ip = gateways.at(i);
    if (ip.family == 4) gateway4 = be64(ip.address + 8);
    else {
      gateway6High = be64(ip.address);
      gateway6Low = be64(ip.address + 8);
    }
  }
}

/** 48 bits at an address. */
export function macAt(at: usize): u64 {
  return ((<u64>be16(at)) << 32) | <u64>be32(at + 2);
}

function put(high: u64, low: u64, bits: u32, is4: bool): void {
  const at = workerState() + count * OWN;
  store<u64>(at, high);
  store<u64>(at, low, LOW);
  store<u32>(at, bits, BITS);
  store<u32>(at, is4 ? 1 : 0, IS4);
  count++;
}

export function isOwn(high: u64, low: u64): bool {
  for (let i: u32 = 0; i < count; i++) {
    const at = workerState() + i * OWN;
    if (load<u64>(at) == high && load<u64>(at, LOW) == low) return true;
  }
  return false;
}

/** Is it an address beyond the link for which this end answers? */
export function isProxied(high: u64, low: u64): bool {
  const list = params.proxy;
  if (list.length == 0 || isOnLink(high, low)) return false;
  for (let i = 0; i < list.length; i++) {
    const prefix = list.at(i);
    if (isWithin(high ^ be64(prefix.address), low ^ be64(prefix.address + 8), prefix.length)) return true;
  }
  return false;
}

/** Are the first bits of a difference all zero? */
function isWithin(high: u64, low: u64, bits: u32): bool {
  if (bits <= 64) return bits == 0 || high >> (64 - bits) == 0;
  return high == 0 && low >> (128 - bits) == 0;
}

/** Index of the own address whose prefix an address lies in; NONE: it is not on the link. */
function linkOf(high: u64, low: u64): u32 {
  for (let i: u32 = 0; i < count; i++) {
    const at = workerState() + i * OWN;
    if (isWithin(high ^ load<u64>(at), low ^ load<u64>(at, LOW), load<u32>(at, BITS))) return i;
  }
  return NONE;
}

export function isOnLink(high: u64, low: u64): bool {
  return linkOf(high, low) != NONE;
}

/** Is it the broadcast address of a prefix on the link (RFC 919), or that of all? */
export function isBroadcast(address: u32): bool {
  if (address == 0xffffffff) return true;
  for (let i: u32 = 0; i < count; i++) {
    const at = workerState() + i * OWN;
    const bits = load<u32>(at, BITS) - 96;
    if (load<u32>(at, IS4) == 0 || bits > 30) continue;
    const hosts: u32 = 0xffffffff >> bits;
    if ((address ^ <u32>load<u64>(at, LOW)) >> (32 - bits) == 0 && (address & hosts) == hosts) return true;
  }
  return false;
}

/** The neighbor that nextHop() found. */
export let hopHigh: u64 = 0;
export let hopLow: u64 = 0;

/** Finds the neighbor by whom an address is reached. @returns false: by none */
export function nextHop(high: u64, low: u64, is4: bool): bool {
  hopHigh = high;
  hopLow = low;
  if (isOnLink(high, low)) return true;
  hopHigh = is4 ? 0 : gateway6High;
  hopLow = is4 ? gateway4 : gateway6Low;
  return (hopHigh | hopLow) != 0;
}

/** The own address that asks for a neighbor: sourceHigh, sourceLow. @returns false: there is none of its family */
export function sourceFor(high: u64, low: u64, is4: bool): bool {
  let index = linkOf(high, low);
  for (let i: u32 = 0; index == NONE && i < count; i++) {
    if ((load<u32>(workerState() + i * OWN, IS4) != 0) == is4) index = i;
  }
  if (index == NONE) return false;
  sourceHigh = load<u64>(workerState() + index * OWN);
  sourceLow = load<u64>(workerState() + index * OWN, LOW);
  return true;
}
export let sourceHigh: u64 = 0;
export let sourceLow: u64 = 0;
