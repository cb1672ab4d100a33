// Some packets of many. What is chosen does not depend on its size or on what was chosen before it, so that counts times
// `one-in` estimate what all have.

import {
  copyOf,
  counter,
  emit,
  OUTPUT_NEXT,
  Output,
  Packet,
  random,
  sharedState,
  worker,
} from "pktflow/assembly";
import { flowKey, mix } from "pktflow/assembly/lib/flow-key";
import { Counters, How, Outputs, params, Take } from "./params";

/** splitmix64's step (Steele, Lea, Flood 2014). */
const STEP: u64 = 0x9e3779b97f4a7c15;

let oneIn: u64 = 1;
let how: u8 = 0;
let copies: bool = true;
let seed: u64 = 0;
let state: u64 = 0;
/** Packets since the last one chosen. */
let since: u32 = 0;

/** Where no seed is said, this one: all workers choose the same flows. */
export function initShared(): void {
  store<u64>(sharedState(), random());
}

export function init(): void {
  since = 0;
  seed = seedNow();
  takeParams();
  begin();
}

/** What is counted, and chances, go on, unless they are to begin with another seed. */
export function reload(): void {
  takeParams();
  // Of so many that there is one in fewer, one is due.
  if (<u64>since >= oneIn) since = 0;
  const other = seedNow();
  if (other == seed) return;
  seed = other;
  begin();
}

function takeParams(): void {
  oneIn = params.oneIn;
  how = params.how;
  copies = params.take == Take.copy;
}

function seedNow(): u64 {
  return params.seed == 0 ? load<u64>(sharedState()) : params.seed;
}

function begin(): void {
  state = mix(seed + <u64>worker() * STEP);
}

export function packet(p: Packet): Output {
  if (!isChosen(p)) return OUTPUT_NEXT;
  if (!copies) {
    counter(Counters.sampled).add(1);
    return Outputs.sample;
  }
  const copy = copyOf(p);
  if (changetype<usize>(copy) == 0) {
    counter(Counters.noRoom).add(1);
    return OUTPUT_NEXT;
  }
  counter(Counters.sampled).add(1);
  emit(copy, Outputs.sample);
  return OUTPUT_NEXT;
}

function isChosen(p: Packet): bool {
  if (how == How.count) {
    const isFirst = since == 0;
    since = since + 1 == <u32>oneIn ? 0 : since + 1;
    return isFirst;
  }
  if (how == How.flow) return isFirstPart(flowKey(p, seed));
  state += STEP;
  return isFirstPart(mix(state));
}

/** Does a number lie in the first of so many equal parts of all 64-bit numbers? Of the upper half, to be exact. */
function isFirstPart(x: u64): bool {
  return ((x >> 32) * oneIn) >> 32 == 0;
}
