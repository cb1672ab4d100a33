// Packets that are refused become the errors about them: lib/icmp-error.ts does it, this says which error and how many.

import {
  counter,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  smallestMtu,
  workerState,
} from "pktflow/assembly";
import {
  becomeError,
  ERROR_ABOUT_ERROR,
  ERROR_ALLOWED,
  ERROR_FROM_NOBODY,
  ERROR_OF_LATER_FRAGMENT,
  ERROR_OF_NOT_IP,
  ERROR_TO_MANY,
  LONGEST_ERROR,
  prepareError,
  refusesError,
} from "pktflow/assembly/lib/icmp-error";
import { TokenBucket } from "pktflow/assembly/lib/token-bucket";
import { Code, Counters, params, RateUnit } from "./params";

let type4: u8 = 0;
let code4: u8 = 0;
let type6: u8 = 0;
let code6: u8 = 0;
// Addresses of the parameters' bytes, 0: the packet's destination.
let from4: usize = 0;
let from6: usize = 0;
/** Bytes 4 to 7. */
let rest: u32 = 0;
// By which the bucket was filled.
let rate: u64 = 0;
let most: u32 = 0;

export function init(): void {
  takeParams();
  fillBucket();
}

/** Other errors; what is saved up of a rate stays, unless it is another one. */
export function reload(): void {
  takeParams();
  if (params.rate.value != rate || burst() != most) fillBucket();
}

function fillBucket(): void {
  rate = params.rate.value;
  most = burst();
  TokenBucket.at(workerState()).fill(rate == 0 ? 0 : most, now());
}

function takeParams(): void {
  setCodes(params.code);
  from4 = 0;
  from6 = 0;
  const sources = params.from;
  for (let i = 0; i < sources.length; i++) {
    const ip = sources.at(i);
    if (ip.family == 4) from4 = ip.address + 12;
    else from6 = ip.address;
  }
}

export function packet(p: Packet): Output {
  const refused = refusesError(p);
  if (refused != ERROR_ALLOWED) return drop(counterOf(refused));
  const bytes = prepareError(p);
  const price = params.rate.unit == RateUnit.bit ? bytes << 3 : 1;
  if (!TokenBucket.at(workerState()).take(price, params.rate.value, burst(), now())) {
    return drop(Counters.rateLimited);
  }
  if (p.isIpv4) becomeError(p, type4, code4, rest, from4);
  else becomeError(p, type6, code6, rest, from6);
  counter(Counters.errors).add(1);
  return OUTPUT_NEXT;
}

function counterOf(refused: u32): u32 {
  if (refused == ERROR_ABOUT_ERROR) return Counters.aboutError;
  if (refused == ERROR_TO_MANY) return Counters.toMany;
  if (refused == ERROR_FROM_NOBODY) return Counters.fromNobody;
  if (refused == ERROR_OF_LATER_FRAGMENT) return Counters.laterFragment;
  return refused == ERROR_OF_NOT_IP ? Counters.notIp : Counters.malformed;
}

/** In what the rate counts: errors, or bits. */
function burst(): u32 {
  return params.rate.unit == RateUnit.bit
    ? min<u32>(params.burst, 400_000) * (LONGEST_ERROR << 3)
    : params.burst;
}

function setCodes(code: u8): void {
  type4 = 3;
  type6 = 1;
  rest = 0;
  code4 = code6 = 0;
  if (code == Code.hostUnreachable) {
    code4 = 1;
    code6 = 3;
  } else if (code == Code.portUnreachable) {
    code4 = 3;
    code6 = 4;
  } else if (code == Code.netProhibited) {
    code4 = 9;
    code6 = 1;
  } else if (code == Code.hostProhibited) {
    code4 = 10;
    code6 = 1;
  } else if (code == Code.adminProhibited) {
    code4 = 13;
    code6 = 1;
  } else if (code == Code.fragmentationNeeded) {
    code4 = 4;
    type6 = 2;
    rest = params.mtu != 0 ? params.mtu : smallestMtu();
  } else if (code == Code.timeExceeded) {
    type4 = 11;
    type6 = 3;
  }
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
