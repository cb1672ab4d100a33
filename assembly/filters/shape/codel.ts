// CoDel (RFC 8289, 5; Linux codel_impl.h): a queue whose packets have waited longer than `target` for all of an `interval`
// loses one, and then more the longer it lasts, with intervals that shrink as the square root of their number grows. State of a
// queue, in its record:
//
//    24      28          32            40         48         52
//   +-------+-----------+-------------+----------+----------+
//   | count | lastCount | firstAbove  | dropNext | dropping |        times: ns, 0: none
//   +-------+-----------+-------------+----------+----------+

import { params } from "./params";

const COUNT: usize = 24;
const LAST_COUNT: usize = 28;
const FIRST_ABOVE: usize = 32;
const DROP_NEXT: usize = 40;
const DROPPING: usize = 48;
/** A queue that dropped so lately goes on where it was, in intervals. */
const LATELY: u64 = 16;

let target: u64 = 0;
let interval: u64 = 0;
let mtu: u32 = 0;

/** @param largest bytes: fewer than that waiting in all is no queue */
export function prepareCodel(largest: u32): void {
  target = params.target;
  interval = params.interval;
  mtu = largest;
}

/** The queue was found empty: whatever it did before is over (RFC 8289, 5.4; Linux keeps firstAbove). */
export function idle(flow: usize): void {
  store<u32>(flow, 0, DROPPING);
  notAbove(flow);
}

export function notAbove(flow: usize): void {
  store<u64>(flow, 0, FIRST_ABOVE);
}

/** Has the queue stood too long? @param waited ns, of its first packet; @param backlog bytes of all queues without it */
export function isAbove(flow: usize, waited: u64, backlog: u32, now: u64): bool {
  if (waited < target || backlog <= mtu) {
    store<u64>(flow, 0, FIRST_ABOVE);
    return false;
  }
  const first = load<u64>(flow, FIRST_ABOVE);
  if (first == 0) {
    store<u64>(flow, now + interval, FIRST_ABOVE);
    return false;
  }
  return now > first;
}

export function isDropping(flow: usize): bool {
  return load<u32>(flow, DROPPING) != 0;
}

export function stopDropping(flow: usize): void {
  store<u32>(flow, 0, DROPPING);
}

/** Is the next one due? While it is, `dropNext` is to be moved on by each. */
export function isDue(flow: usize, now: u64): bool {
  return isDropping(flow) && now >= load<u64>(flow, DROP_NEXT);
}

export function countDrop(flow: usize): void {
  store<u32>(flow, load<u32>(flow, COUNT) + 1, COUNT);
}

export function moveOn(flow: usize): void {
  store<u64>(flow, controlLaw(flow, load<u64>(flow, DROP_NEXT)), DROP_NEXT);
}

/** The first drop of a time of dropping has been made. */
export function startDropping(flow: usize, now: u64): void {
  const count = load<u32>(flow, COUNT);
  const delta = count - load<u32>(flow, LAST_COUNT);
  const isLately = <i64>(now - load<u64>(flow, DROP_NEXT)) < <i64>(LATELY * interval);
  const next: u32 = delta > 1 && isLately ? delta : 1;
  store<u32>(flow, 1, DROPPING);
  store<u32>(flow, next, COUNT);
  store<u32>(flow, next, LAST_COUNT);
  store<u64>(flow, controlLaw(flow, now), DROP_NEXT);
}

function controlLaw(flow: usize, time: u64): u64 {
  return time + <u64>(<f64>interval / sqrt<f64>(<f64>load<u32>(flow, COUNT)));
}
