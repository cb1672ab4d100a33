// What a bad network does to a packet, in sch_netem's order: it may be duplicated, lost, corrupted, and is delayed, unless it
// is one of those that overtake. Delayed ones wait in a queue by the time at which they are due, and leave when that has come.
//
// A worker has a queue of its own. The rate is shared: until when the line is taken stands in the shared state.
//
//    worker: 0     8      16     24      32      40            64     64 + QUANTILES * 4       ... + QUANTILES * 4
//           +-----+------+------+-------+-------+-------------+------+------------------------+---------------------+-------+
//           | five Correlated: delay, loss, duplicate, corrupt, reorder     | normal         | pareto                 | queue |
//           +-----+------+------+-------+-------+-------------+------+------------------------+---------------------+-------+

import {
  Batch,
  copyOf,
  counter,
  emit,
  hold,
  now,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
  PACKET_FLAG_MALFORMED,
  Packet,
  sharedState,
  wakeAt,
  worker,
  workerState,
} from "pktflow/assembly";
import { markCongestion } from "pktflow/assembly/lib/ecn";
import { completeChecksum } from "pktflow/assembly/lib/segment";
import { lock, unlock } from "pktflow/assembly/lib/spin-lock";
import { TimedQueue } from "pktflow/assembly/lib/timed-queue";
import { Correlated, draw, seedChances, threshold } from "./chance";
import { fillNormal, fillPareto, QUANTILES, quantile } from "./distribution";
import { Counters, Distribution, params, RateUnit } from "./params";

const NORMAL: usize = 64;
const PARETO: usize = NORMAL + <usize>QUANTILES * 4;
const QUEUE: usize = PARETO + <usize>QUANTILES * 4;
/** Of the shared state: the lock, and until when the line is taken, ns. */
const LINE: usize = 8;
/** How long a worker takes to wake at most, ns: src/workers/alarm.ts. */
const LONGEST_WAKING: u64 = 250_000;

let delayChance = changetype<Correlated>(0);
let lossChance = changetype<Correlated>(0);
let duplicateChance = changetype<Correlated>(0);
let corruptChance = changetype<Correlated>(0);
let reorderChance = changetype<Correlated>(0);
let queue = changetype<TimedQueue>(0);
let seed: u64 = 0;
let hasNormal: bool = false;
let hasPareto: bool = false;
let delay: i64 = 0;
let jitter: i64 = 0;
let distribution: u8 = 0;
let isDelayed: bool = false;
let rate: u64 = 0;
let lossBelow: u64 = 0;
let duplicateBelow: u64 = 0;
let corruptBelow: u64 = 0;
let reorderBelow: u64 = 0;
/** Gilbert-Elliott, as netem's a1 to a4; all of a list or none. */
let hasModel: bool = false;
let toBad: u64 = 0;
let toGood: u64 = 0;
let lostInBad: u64 = 0;
let lostInGood: u64 = 0;
let isBad: bool = false;
/** Packets since one has overtaken. */
let since: u32 = 0;

export function workerStateSize(_: usize): usize {
  return QUEUE + TimedQueue.bytes(params.limit);
}

export function init(): void {
  const state = workerState();
  delayChance = chanceAt(state, 0);
  lossChance = chanceAt(state, 1);
  duplicateChance = chanceAt(state, 2);
  corruptChance = chanceAt(state, 3);
  reorderChance = chanceAt(state, 4);
  queue = TimedQueue.at(state + QUEUE);
  startChances();
  takeParams();
}

/** As tc does to netem: what is delayed already leaves when it was to, and all else is as the parameters say from now on. */
export function reload(): void {
  if (params.seed != seed) startChances();
  takeParams();
}

function chanceAt(state: usize, index: usize): Correlated {
  return changetype<Correlated>(state + index * Correlated.BYTES);
}

/** Each worker's chances are its own. */
function startChances(): void {
  seed = params.seed;
  seedChances(seed == 0 ? 0 : seed + <u64>worker() * 0x100000001b3);
  delayChance.start();
  lossChance.start();
  duplicateChance.start();
  corruptChance.start();
  reorderChance.start();
}

function takeParams(): void {
  const state = workerState();
  delayChance.correlate(params.delayCorrelation);
  lossChance.correlate(params.lossCorrelation);
  duplicateChance.correlate(params.duplicateCorrelation);
  corruptChance.correlate(params.corruptCorrelation);
  reorderChance.correlate(params.reorderCorrelation);
  delay = <i64>params.delay;
  jitter = <i64>params.jitter;
  distribution = params.distribution;
  rate = params.rate.value;
  isDelayed = delay != 0 || jitter != 0 || rate != 0;
  const isBoth = distribution == Distribution.paretonormal;
  if (!hasNormal && (isBoth || distribution == Distribution.normal)) {
    fillNormal(state + NORMAL);
    hasNormal = true;
  }
  if (!hasPareto && (isBoth || distribution == Distribution.pareto)) {
    fillPareto(state + PARETO);
    hasPareto = true;
  }
  lossBelow = threshold(params.loss);
  duplicateBelow = threshold(params.duplicate);
  corruptBelow = threshold(params.corrupt);
  reorderBelow = threshold(params.reorder);
  const model = params.gemodel;
  hasModel = model.length > 0;
  if (!hasModel) return;
  toBad = threshold(model.at(0));
  toGood = threshold(model.length > 1 ? model.at(1) : 100 - model.at(0));
  lostInBad = threshold(model.length > 2 ? model.at(2) : 100);
  lostInGood = threshold(model.length > 3 ? model.at(3) : 0);
}

export function batch(b: Batch): void {
  const time = now();
  for (let i: u32 = 0; i < b.count; i++) {
    const p = b.at(i);
    p.output = impair(p, time, true);
  }
  release(time);
}

export function wake(): void {
  release(now());
}

/** Lets go of all that is due. */
function release(time: u64): void {
  while (queue.count > 0 && queue.due <= time) emit(queue.pop(), OUTPUT_NEXT);
  wakeAt(queue.due);
}

/** @param isOriginal of the batch; otherwise a copy, which is held already. @returns OUTPUT_HOLD: it is in the queue */
function impair(p: Packet, time: u64, isOriginal: bool): Output {
  if (isOriginal && duplicateChance.happens(duplicateBelow)) duplicate(p, time);
  if (isLost()) {
    if (!params.ecn || !markCongestion(p)) {
      counter(Counters.lost).add(1);
      return OUTPUT_DROP;
    }
    counter(Counters.marked).add(1);
  }
  if (corruptChance.happens(corruptBelow)) corrupt(p);
  if (!isDelayed) return OUTPUT_NEXT;
  if (overtakes()) {
    counter(Counters.reordered).add(1);
    return OUTPUT_NEXT;
  }
  const due = dueAt(p, time);
  if (due <= time && queue.count == 0) return OUTPUT_NEXT;
  // A worker may hold fewer than the limit, where memory is short.
  if (isOriginal && (queue.count >= params.limit || !hold(p))) {
    counter(Counters.overlimit).add(1);
    return OUTPUT_DROP;
  }
  queue.push(p, due);
  return OUTPUT_HOLD;
}

/** netem puts the copy through everything again, but for duplication. */
function duplicate(p: Packet, time: u64): void {
  const copy = queue.count < params.limit ? copyOf(p) : changetype<Packet>(0);
  if (changetype<usize>(copy) == 0) {
    counter(Counters.overlimit).add(1);
    return;
  }
  counter(Counters.duplicated).add(1);
  const output = impair(copy, time, false);
  if (output != OUTPUT_HOLD) emit(copy, output);
}

function isLost(): bool {
  if (!hasModel) return lossChance.happens(lossBelow);
  // As loss_gilb_ell(): the state that a packet finds decides about it.
  if (isBad) {
    if (<u64>draw() < toGood) isBad = false;
    return <u64>draw() < lostInBad;
  }
  if (<u64>draw() < toBad) isBad = true;
  return <u64>draw() < lostInGood;
}

function corrupt(p: Packet): void {
  if (p.length == 0) return;
  if (p.has(PACKET_FLAG_CSUM_PARTIAL)) completeChecksum(p);
  const at = <u32>((<u64>draw() * <u64>p.length) >> 32);
  const byte = <usize>(p.data + at);
  store<u8>(byte, load<u8>(byte) ^ ((<u8>1) << (<u8>(draw() & 7))));
  counter(Counters.corrupted).add(1);
  // Whoever vouched for its checksum has seen it sound.
  p.flags &= ~PACKET_FLAG_CSUM_VALID;
  p.vnetFlags = 0;
  if (p.payload != 0 && at >= <u32>p.payload) return;
  // What has been proved of its headers is not true any more.
  p.flags = PACKET_FLAG_MALFORMED;
  p.l4 = 0;
  p.payload = 0;
  p.protocol = 0;
}

/** Every gap-th packet at most. */
function overtakes(): bool {
  if (reorderBelow == 0) return false;
  if (since + 1 < params.gap || !reorderChance.happens(reorderBelow)) {
    since++;
    return false;
  }
  since = 0;
  return true;
}

/**
 * Since when a packet is there: the worker may have slept as it came, and the host knows about how long it takes to wake. From another
 * clock, as a capture's, or held by a filter before this one, it is there from now on.
 */
function arrival(p: Packet, time: u64): u64 {
  const came = p.timestamp;
  return came <= time && time - came < LONGEST_WAKING ? came : time;
}

/** When it is to leave: after its delay, and after the line has carried all before it, and it. */
function dueAt(p: Packet, time: u64): u64 {
  const due = <u64>max<i64>(0, <i64>arrival(p, time) + delay + variation());
  if (rate == 0) return due;
  const bytes = <u64>max<i64>(0, <i64>p.length + <i64>params.packetOverhead);
  const takes: u64 = params.rate.unit == RateUnit.bit ? (bytes * 8_000_000_000) / rate : 1_000_000_000 / rate;
  const shared = sharedState();
  const isLocked = lock(shared);
  const taken = max<u64>(load<u64>(shared, LINE), due) + takes;
  store<u64>(shared, taken, LINE);
  if (isLocked) unlock(shared);
  return taken;
}

function variation(): i64 {
  if (jitter == 0) return 0;
  const bits = delayChance.draw();
  if (distribution == Distribution.uniform) return partOf(<u64>(2 * jitter), bits) - jitter;
  const state = workerState();
  let scale: f64 = 0;
  if (distribution == Distribution.normal) scale = quantile(state + NORMAL, bits);
  else if (distribution == Distribution.pareto) scale = quantile(state + PARETO, bits);
  else scale = 0.25 * quantile(state + NORMAL, draw()) + 0.75 * quantile(state + PARETO, bits);
  return <i64>(scale * <f64>jitter);
}

/** So many 2^32nds of a time. Its halves apart: an hour times 32 bits is more than 64 bits hold. */
function partOf(time: u64, bits: u32): i64 {
  return <i64>((time >> 32) * <u64>bits + (((time & 0xffffffff) * <u64>bits) >> 32));
}
