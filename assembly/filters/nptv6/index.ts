// A source inside gets the prefix outside, a destination outside the prefix inside. What that changes in the sum of the address
// is taken back in one 16-bit word of it, so that every checksum that covers the address stays as right as it was: nothing of
// the packet is touched but addresses.
//
//    0                          48       64       80       96       112      128
//   +--------------------------+--------+--------+--------+--------+--------+
//   | prefix                   | subnet | interface identifier              |
//   +--------------------------+--------+--------+--------+--------+--------+
//                               ^ takes up the difference, up to /48;
//                                        ^ ..... the first of these that is not 0xffff, beyond (RFC 6296, 3.4 and 3.5)

import {
  be16,
  be64,
  counter,
  ICMP_HEADER,
  ICMPV6_INFORMATIONAL,
  Icmp,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_ICMPV6,
  setBe16,
  setBe64,
} from "pktflow/assembly";
import { Counters, params } from "./params";

/** Up to here the subnet takes up the difference. */
const SHORT: u32 = 48;

let inside: u64 = 0;
let outside: u64 = 0;
let mask: u64 = 0;
let isShort: bool = true;
/** What is added to the word, ones' complement, on the way out. */
let difference: u32 = 0;

export function init(): void {
  const bits = max<u32>(params.internal.length, params.external.length);
  mask = bits == 0 ? 0 : ~(<u64>0) << (64 - bits);
  inside = be64(params.internal.address) & mask;
  outside = be64(params.external.address) & mask;
  isShort = bits <= SHORT;
  difference = plus(sumOf(inside), 0xffff - sumOf(outside));
}

export function reload(): void {
  init();
}

function sumOf(word: u64): u32 {
  return plus(
    plus(<u32>(word >> 48), <u32>(word >> 32) & 0xffff),
    plus(<u32>(word >> 16) & 0xffff, <u32>word & 0xffff),
  );
}

/** Ones' complement addition of 16 bits. */
function plus(a: u32, b: u32): u32 {
  const sum = a + b;
  return (sum & 0xffff) + (sum >> 16);
}

export function packet(p: Packet): Output {
  if (!p.isIpv6) return OUTPUT_NEXT;
  const ip = p.ip;
  const isOut = isIn(ip + IPV6_SOURCE, inside);
  const isBack = isIn(ip + IPV6_DESTINATION, outside);
  if (!isOut && !isBack) return OUTPUT_NEXT;
  if (isOut && !translate(ip + IPV6_SOURCE, outside, difference)) return refuse();
  if (isBack && !translate(ip + IPV6_DESTINATION, inside, 0xffff - difference)) return refuse();
  if (isOut) counter(Counters.outbound).add(1);
  if (isBack) counter(Counters.inbound).add(1);
  if (p.isTransport(PROTOCOL_ICMPV6) && Icmp.of(p).type < ICMPV6_INFORMATIONAL) quoted(p, isOut, isBack);
  return OUTPUT_NEXT;
}

function refuse(): Output {
  counter(Counters.untranslatable).add(1);
  return OUTPUT_DROP;
}

function isIn(address: usize, prefix: u64): bool {
  return (be64(address) & mask) == prefix;
}

/** @returns false: no word of it can take up the difference, or it is no host's */
function translate(address: usize, prefix: u64, change: u32): bool {
  let word: usize = 6;
  if (!isShort) {
    // 3.7: an identifier of all zeros is no host's.
    if (load<u64>(address + 8) == 0) return false;
    word = 8;
    while (word < 16 && load<u16>(address + word) == 0xffff) word += 2;
    if (word == 16) return false;
  }
  setBe64(address, (be64(address) & ~mask) | prefix);
  const changed = plus(be16(address + word), change);
  // 0xffff and 0 are the same number; 0 is the one that is meant (RFC 6296, 3.4).
  setBe16(address + word, changed == 0xffff ? 0 : <u16>changed);
  return true;
}

/**
 * The packet that an error quotes is one that went the other way: its addresses are as its sender has never seen them. Its
 * checksum and the error's own do not change.
 */
function quoted(p: Packet, isOut: bool, isBack: bool): void {
  const ip = p.transport + ICMP_HEADER;
  if (ip + IPV6_HEADER > p.ipEnd || load<u8>(ip) >> 4 != 6) return;
  let found = false;
  if (isBack && isIn(ip + IPV6_SOURCE, outside)) {
    found = translate(ip + IPV6_SOURCE, inside, 0xffff - difference);
  }
  if (isOut && isIn(ip + IPV6_DESTINATION, inside)) {
    found = translate(ip + IPV6_DESTINATION, outside, difference) || found;
  }
  if (found) counter(Counters.errors).add(1);
}
