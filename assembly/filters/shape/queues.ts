// The queues of a worker and the packets in them. A queue is a record of 64 bytes, a waiting packet a node of 24; both are
// named by their index + 1, 0: none. Queues stand in one of two rows, new ones and old ones, or in none.
//
//    queue   0      4      8         12        16     20              24
//           +------+------+---------+---------+------+---------------+--------+
//           | head | tail | backlog | deficit | next | is in a row   | CoDel  |        backlog: bytes; deficit: i32, bytes
//           +------+------+---------+---------+------+---------------+--------+
//    node    0        4       8       16      20
//           +--------+-------+-------+-------+
//           | packet | next  | since | bytes |        since: ns
//           +--------+-------+-------+-------+
//    rows    0         4         8         12        16     20      24         28
//           +---------+---------+---------+---------+------+-------+----------+
//           | new head| new tail| old head| old tail| free | used  | backlog  |          free nodes; nodes used so far
//           +---------+---------+---------+---------+------+-------+----------+

import { Packet } from "pktflow/assembly";

const FLOW: usize = 64;
const NODE: usize = 24;
const HEADER: usize = 64;
const FLOW_HEAD: usize = 0;
const FLOW_TAIL: usize = 4;
const FLOW_BACKLOG: usize = 8;
const FLOW_DEFICIT: usize = 12;
const FLOW_NEXT: usize = 16;
const FLOW_IN_ROW: usize = 20;
const NODE_NEXT: usize = 4;
const NODE_SINCE: usize = 8;
const NODE_BYTES: usize = 16;
const FREE: usize = 16;
const USED: usize = 20;
const BACKLOG: usize = 24;
export const NEW_ROW: usize = 0;
export const OLD_ROW: usize = 8;

let base: usize = 0;
let flows: u32 = 0;
let nodes: usize = 0;

export function queuesBytes(flowCount: u32, limit: u32): usize {
  return HEADER + <usize>flowCount * FLOW + <usize>limit * NODE;
}

/** In zeroed memory nothing waits. */
export function openQueues(at: usize, flowCount: u32): void {
  base = at;
  flows = flowCount;
  nodes = at + HEADER + <usize>flowCount * FLOW;
}

export function flowAt(index: u32): usize {
  return base + HEADER + <usize>index * FLOW;
}

function nodeAt(link: u32): usize {
  return nodes + <usize>(link - 1) * NODE;
}

/** Bytes that wait in all queues. */
export function backlog(): u32 {
  return load<u32>(base, BACKLOG);
}

/** Bytes that wait in one. */
export function backlogOf(flow: usize): u32 {
  return load<u32>(flow, FLOW_BACKLOG);
}

export function deficitOf(flow: usize): i32 {
  return load<i32>(flow, FLOW_DEFICIT);
}

export function setDeficit(flow: usize, bytes: i32): void {
  store<i32>(flow, bytes, FLOW_DEFICIT);
}

export function isInRow(flow: usize): bool {
  return load<u32>(flow, FLOW_IN_ROW) != 0;
}

/** Puts a packet at a queue's end; there must be a node: who calls counts. */
export function enqueue(flow: usize, p: Packet, bytes: u32, now: u64): void {
  let link = load<u32>(base, FREE);
  if (link != 0) {
    store<u32>(base, load<u32>(nodeAt(link), NODE_NEXT), FREE);
  } else {
    link = load<u32>(base, USED) + 1;
    store<u32>(base, link, USED);
  }
  const node = nodeAt(link);
  store<u32>(node, <u32>changetype<usize>(p));
  store<u32>(node, 0, NODE_NEXT);
  store<u64>(node, now, NODE_SINCE);
  store<u32>(node, bytes, NODE_BYTES);
  const tail = load<u32>(flow, FLOW_TAIL);
  if (tail == 0) store<u32>(flow, link, FLOW_HEAD);
  else store<u32>(nodeAt(tail), link, NODE_NEXT);
  store<u32>(flow, link, FLOW_TAIL);
  store<u32>(flow, load<u32>(flow, FLOW_BACKLOG) + bytes, FLOW_BACKLOG);
  store<u32>(base, load<u32>(base, BACKLOG) + bytes, BACKLOG);
}

/** Since when the packet that was taken last has waited, ns, and its bytes. */
export let takenSince: u64 = 0;
export let takenBytes: u32 = 0;

/** Takes a queue's first packet; address 0: it is empty. */
export function dequeue(flow: usize): Packet {
  const link = load<u32>(flow, FLOW_HEAD);
  if (link == 0) return changetype<Packet>(0);
  const node = nodeAt(link);
  const next = load<u32>(node, NODE_NEXT);
  store<u32>(flow, next, FLOW_HEAD);
  if (next == 0) store<u32>(flow, 0, FLOW_TAIL);
  takenSince = load<u64>(node, NODE_SINCE);
  takenBytes = load<u32>(node, NODE_BYTES);
  store<u32>(flow, load<u32>(flow, FLOW_BACKLOG) - takenBytes, FLOW_BACKLOG);
  store<u32>(base, load<u32>(base, BACKLOG) - takenBytes, BACKLOG);
  store<u32>(node, load<u32>(base, FREE), NODE_NEXT);
  store<u32>(base, link, FREE);
  return changetype<Packet>(<usize>load<u32>(node));
}

/** The first queue of a row; 0: it is empty. */
export function firstOf(row: usize): usize {
  const link = load<u32>(base + row);
  return link == 0 ? 0 : flowAt(link - 1);
}

/** Puts a queue at a row's end; it must be in none. */
export function addTo(row: usize, flow: usize): void {
  const link = <u32>((flow - flowAt(0)) / FLOW) + 1;
  store<u32>(flow, 0, FLOW_NEXT);
  store<u32>(flow, 1, FLOW_IN_ROW);
  const tail = load<u32>(base + row, 4);
  if (tail == 0) store<u32>(base + row, link);
  else store<u32>(flowAt(tail - 1), link, FLOW_NEXT);
  store<u32>(base + row, link, 4);
}

/** Takes the first queue of a row out of it. */
export function removeFirst(row: usize): void {
  const flow = firstOf(row);
  const next = load<u32>(flow, FLOW_NEXT);
  store<u32>(base + row, next);
  if (next == 0) store<u32>(base + row, 0, 4);
  store<u32>(flow, 0, FLOW_IN_ROW);
}

/** The queue with most bytes. */
export function longest(): usize {
  let found = flowAt(0);
  for (let i: u32 = 1; i < flows; i++) {
    if (backlogOf(flowAt(i)) > backlogOf(found)) found = flowAt(i);
  }
  return found;
}
