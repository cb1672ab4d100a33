// A shaper: packets wait in the queue of their flow until the line is free. Which one leaves next is FQ-CoDel's to say (RFC
// 8290, 4; sch_fq_codel.c): queues that have just begun come first, then all in turn, a quantum of bytes each, and each is
// held to CoDel. Every worker has queues of its own; the line is one, and until when it is taken stands in the shared state.
//
//                     ┌ queue ┐
//   packets ─ hash ──►├ queue ┤──► new row, old row ──► CoDel ──► the line: so many bits a second
//                     └ queue ┘

import {
  Batch,
  counter,
  deviceMtu,
  devices,
  emit,
  hold,
  holdLimit,
  now,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  Packet,
  random,
  sharedState,
  wakeAt,
  workerState,
} from "pktflow/assembly";
import { markCongestion } from "pktflow/assembly/lib/ecn";
import { flowKey } from "pktflow/assembly/lib/flow-key";
import { lock, unlock } from "pktflow/assembly/lib/spin-lock";
import {
  countDrop,
  idle,
  isAbove,
  isDropping,
  isDue,
  moveOn,
  notAbove,
  prepareCodel,
  startDropping,
  stopDropping,
} from "./codel";
import { Counters, params, RateUnit } from "./params";
import {
  addTo,
  backlog,
  backlogOf,
  deficitOf,
  dequeue,
  enqueue,
  firstOf,
  flowAt,
  isInRow,
  longest,
  NEW_ROW,
  OLD_ROW,
  openQueues,
  queuesBytes,
  removeFirst,
  setDeficit,
  takenBytes,
  takenSince,
} from "./queues";

/** Of the shared state: the lock, and until when the line is taken, ns. */
const LINE: usize = 8;
const SECOND: u64 = 1_000_000_000;
/** More than a frame has around its packet, bytes. */
const FRAME: u32 = 64;
/** What the rate carries in this time is a burst, unless said. ns */
const BURST: u64 = 1_000_000;

let seed: u64 = 0;
/** The longest packet that is to be expected, bytes. */
let longestPacket: u32 = 0;
let inBits: bool = false;
let rate: u64 = 0;
/** The burst, as time on the line, ns. */
let slack: u64 = 0;
let most: u32 = 0;
let waiting: u32 = 0;
let flowCount: u32 = 0;
let quantum: i32 = 0;
let threshold: u64 = 0;
let memoryLimit: u64 = 0;
let dropBatch: u32 = 0;

export function workerStateSize(_: usize): usize {
  return queuesBytes(params.flows, params.limit);
}

export function init(): void {
  seed = random();
  most = min(params.limit, holdLimit());
  waiting = 0;
  flowCount = params.flows;
  let mtu: u32 = 0;
  for (let device: u32 = 0; device < devices(); device++) mtu = max(mtu, deviceMtu(<u8>device));
  longestPacket = min<u32>(mtu, 65535);
  takeParams();
  openQueues(workerState(), flowCount);
}

/** What waits keeps its place; of all of it, the new rate says when it leaves. */
export function reload(): void {
  takeParams();
  freeLine(now());
  send(now());
}

function takeParams(): void {
  inBits = params.rate.unit == RateUnit.bit;
  rate = max<u64>(params.rate.value, 1);
  const burst = params.burst;
  slack = burst == 0 ? BURST : timeOf(<u32>min<u64>(burst, 0xffffffff), <u32>min<u64>(burst, 0xffffffff));
  quantum = <i32>params.quantum;
  threshold = params.ceThreshold;
  memoryLimit = params.memoryLimit;
  dropBatch = params.dropBatch;
  prepareCodel(longestPacket);
}

/**
 * The line is taken by the packet that left last, for a time that was reckoned by another rate: for no longer than the longest packet
 * takes by this one. Each worker does it, and after the first it changes nothing.
 */
function freeLine(time: u64): void {
  const bytes =
    (longestPacket == 0 ? 65535 : longestPacket) + FRAME + <u32>max<i32>(0, params.packetOverhead);
  const shared = sharedState();
  const isLocked = lock(shared);
  store<u64>(shared, min<u64>(load<u64>(shared, LINE), time + timeOf(bytes, 1)), LINE);
  if (isLocked) unlock(shared);
}

/** How long the line carries so much, ns. */
function timeOf(bytes: u32, packets: u32): u64 {
  return inBits ? (<u64>bytes * 8 * SECOND) / rate : (<u64>packets * SECOND) / rate;
}

export function batch(b: Batch): void {
  const time = now();
  // Nothing has looked at the queues since the last packet left: those that are empty are so no longer in turn.
  if (waiting == 0 && atomic.load<u64>(sharedState(), LINE) <= time) next(time);
  for (let i: u32 = 0; i < b.count; i++) take(b.at(i), time);
  send(time);
}

export function wake(): void {
  send(now());
}

/** fq_codel_enqueue(). */
function take(p: Packet, time: u64): void {
  if (waiting >= most || !hold(p)) {
    dropLongest();
    if (waiting >= most || !hold(p)) {
      counter(Counters.overlimit).add(1);
      p.output = OUTPUT_DROP;
      return;
    }
  }
  p.output = OUTPUT_HOLD;
  const bytes = <u32>max<i32>(1, <i32>p.length + params.packetOverhead);
  const flow = flowAt(<u32>(((flowKey(p, seed) >> 32) * <u64>flowCount) >> 32));
  enqueue(flow, p, bytes, time);
  waiting++;
  if (!isInRow(flow)) {
    addTo(NEW_ROW, flow);
    setDeficit(flow, quantum);
    counter(Counters.newFlows).add(1);
  }
  if (<u64>backlog() <= memoryLimit) return;
  const before = waiting;
  dropLongest();
  counter(Counters.overmemory).add(before - waiting);
}

/** fq_codel_drop(): half of the longest queue, from its head, so that its sender learns of it soonest. */
function dropLongest(): void {
  const flow = longest();
  const enough = backlogOf(flow) >> 1;
  let dropped: u32 = 0;
  for (let i: u32 = 0; i < dropBatch && dropped < max<u32>(enough, 1); i++) {
    const p = dequeue(flow);
    if (changetype<usize>(p) == 0) return;
    dropped += takenBytes;
    countDrop(flow);
    drop(p, Counters.overlimit);
  }
}

function drop(p: Packet, reason: u32): void {
  waiting--;
  counter(reason).add(1);
  emit(p, OUTPUT_DROP);
}

/** Puts packets on the line as long as it is free, and asks to be woken when it will be. */
function send(time: u64): void {
  if (waiting == 0) return;
  const shared = sharedState();
  const isLocked = lock(shared);
  // What was not used for long is not saved up.
  const earliest = time > slack ? time - slack : 0;
  let taken = max<u64>(load<u64>(shared, LINE), earliest);
  while (taken <= time) {
    const p = next(time);
    if (changetype<usize>(p) == 0) break;
    waiting--;
    taken += timeOf(takenBytes, 1);
    emit(p, OUTPUT_NEXT);
  }
  store<u64>(shared, taken, LINE);
  if (isLocked) unlock(shared);
  wakeAt(waiting == 0 ? 0 : max<u64>(taken, time + 1));
}

/** fq_codel_dequeue(). */
function next(time: u64): Packet {
  for (;;) {
    let row = NEW_ROW;
    let flow = firstOf(NEW_ROW);
    if (flow == 0) {
      row = OLD_ROW;
      flow = firstOf(OLD_ROW);
      if (flow == 0) break;
    }
    if (deficitOf(flow) <= 0) {
      setDeficit(flow, deficitOf(flow) + quantum);
      removeFirst(row);
      addTo(OLD_ROW, flow);
      continue;
    }
    const p = controlled(flow, time);
    if (changetype<usize>(p) != 0) {
      setDeficit(flow, deficitOf(flow) - <i32>takenBytes);
      return p;
    }
    removeFirst(row);
    // A queue that has run dry lets all old ones go before it is new again.
    if (row == NEW_ROW && firstOf(OLD_ROW) != 0) addTo(OLD_ROW, flow);
  }
  return changetype<Packet>(0);
}

/** codel_dequeue(): a queue's next packet, after those that CoDel drops; address 0: it is empty. */
function controlled(flow: usize, time: u64): Packet {
  let p = dequeue(flow);
  if (changetype<usize>(p) == 0) {
    idle(flow);
    return p;
  }
  const isOver = isAbove(flow, waited(time), backlog(), time);
  if (isDropping(flow)) {
    if (!isOver) stopDropping(flow);
    while (isDue(flow, time)) {
      countDrop(flow);
      if (mark(p)) {
        moveOn(flow);
        return noted(p, time);
      }
      drop(p, Counters.dropped);
      p = dequeue(flow);
      if (!stillOver(flow, p, time)) stopDropping(flow);
      else moveOn(flow);
    }
  } else if (isOver) {
    if (!mark(p)) {
      drop(p, Counters.dropped);
      p = dequeue(flow);
      stillOver(flow, p, time);
    }
    startDropping(flow, time);
  }
  return noted(p, time);
}

function waited(time: u64): u64 {
  return time > takenSince ? time - takenSince : 0;
}

function stillOver(flow: usize, p: Packet, time: u64): bool {
  if (changetype<usize>(p) != 0) return isAbove(flow, waited(time), backlog(), time);
  notAbove(flow);
  return false;
}

function mark(p: Packet): bool {
  if (!params.ecn || !markCongestion(p)) return false;
  counter(Counters.marked).add(1);
  return true;
}

function noted(p: Packet, time: u64): Packet {
  if (threshold != 0 && changetype<usize>(p) != 0 && waited(time) > threshold && markCongestion(p)) {
    counter(Counters.ceMarked).add(1);
  }
  return p;
}
