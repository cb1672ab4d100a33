// What a packet that cannot go on becomes: nothing, or the ICMP error about it for its sender (RFC 7915, 4.4 and 5.4).

import { counter, now, OUTPUT_DROP, Output, Packet } from "pktflow/assembly";
import { becomeError, ERROR_ALLOWED, prepareError, refusesError } from "pktflow/assembly/lib/icmp-error";
import { TokenBucket } from "pktflow/assembly/lib/token-bucket";
import { Counters, params } from "./params";
import { bucketAt } from "./settings";

/** Of errors that may follow each other after a pause. */
const BURST: u32 = 10;

// Addresses of the parameters' bytes, 0: errors come from where the packet wanted to go.
let from4: usize = 0;
let from6: usize = 0;
/** By which the bucket was filled. */
let rate: u32 = 0;

export function openErrors(): void {
  readSources();
  fillBucket();
}

/** What is saved up of a rate stays, unless it is another one. */
export function renewErrors(): void {
  readSources();
  if (params.errorRate != rate) fillBucket();
}

function fillBucket(): void {
  rate = params.errorRate;
  TokenBucket.at(bucketAt()).fill(rate == 0 ? 0 : BURST, now());
}

function readSources(): void {
  from4 = 0;
  from6 = 0;
  const sources = params.errorFrom;
  for (let i = 0; i < sources.length; i++) {
    const ip = sources.at(i);
    if (ip.family == 4) from4 = ip.address + 12;
    else from6 = ip.address;
  }
}

export function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}

/**
 * Drops a packet as it came, or sends it back as the error about it.
 * @param reason a counter; @param type, code of ICMP for an IPv4 packet, of ICMPv6 for an IPv6 one; @param rest an MTU, or a pointer
 */
export function refuse(p: Packet, reason: u32, type: u8, code: u8, rest: u32): Output {
  counter(reason).add(1);
  if (params.errors == OUTPUT_DROP || refusesError(p) != ERROR_ALLOWED) return OUTPUT_DROP;
  if (!TokenBucket.at(bucketAt()).take(1, params.errorRate, BURST, now())) return OUTPUT_DROP;
  prepareError(p);
  becomeError(p, type, code, rest, p.isIpv4 ? from4 : from6);
  counter(Counters.errorsSent).add(1);
  return params.errors;
}
