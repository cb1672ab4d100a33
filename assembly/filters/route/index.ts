// Longest prefix match: which output a packet leaves by is a matter of its address alone. The table is built before the
// workers have it, and all of them read it; other routes make another one.
//
//    0     4       8        12      16       20       24        64
//   +-----+-------+--------+-------+--------+--------+---------+-------+---------+---------+---------+-------+--------+
//   | IPv4: bits, direct | IPv6: bits, direct | nodes | leaves | | Build | IPv4 direct | IPv6 direct | nodes | leaves |
//   +-----+-------+--------+-------+--------+--------+---------+-------+---------+---------+---------+-------+--------+

import {
  BATCH_PACKETS,
  Batch,
  be32,
  be64,
  counter,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_SOURCE,
  Output,
  preparedState,
  workerState,
} from "pktflow/assembly";
import { By, Counters, params } from "./params";
import { firstRoute, routeStride, sortRoutes } from "./routes";
import {
  Build,
  build,
  count,
  countedLeaves,
  countedNodes,
  directBits,
  directBytes,
  NO_ROUTE,
  nodeBytes,
} from "./table";
import { begin, KEPT, packetOf, valueAt, walk } from "./walk";

const BITS4: usize = 0;
const DIRECT4: usize = 4;
const BITS6: usize = 8;
const DIRECT6: usize = 12;
const NODES: usize = 16;
const LEAVES: usize = 20;
const HEADER: usize = 64;

let bits4: u32 = 0;
let bits6: u32 = 0;
let direct4: usize = 0;
let direct6: usize = 0;
let nodes: usize = 0;
let leaves: usize = 0;
let at4: usize = 0;
let at6: usize = 0;
let otherwise: Output = 0;

// What the routes need, found out by measure().
let routes4: u32 = 0;
let nodesNeeded: u32 = 0;
let leavesNeeded: u32 = 0;

function measure(): void {
  routes4 = sortRoutes();
  const first = firstRoute();
  const stride = routeStride();
  const middle = first + <usize>routes4 * stride;
  const total = <u32>params.routes.length;
  bits4 = directBits(true, routes4);
  bits6 = directBits(false, total - routes4);
  count(first, middle, stride, bits4);
  nodesNeeded = countedNodes();
  leavesNeeded = countedLeaves();
  count(middle, first + <usize>total * stride, stride, bits6);
  nodesNeeded += countedNodes();
  leavesNeeded += countedLeaves();
}

export function preparedStateSize(_: usize): usize {
  measure();
  const tables = directBytes(bits4) + directBytes(bits6);
  return HEADER + Build.BYTES + tables + nodeBytes(nodesNeeded) + ((<usize>leavesNeeded) << 1);
}

export function prepare(): void {
  measure();
  const state = preparedState();
  const b = changetype<Build>(state + HEADER);
  const tables = state + HEADER + Build.BYTES;
  b.scratch = state + HEADER + 64;
  direct4 = tables;
  direct6 = direct4 + directBytes(bits4);
  b.nodeAt = direct6 + directBytes(bits6);
  b.leafAt = b.nodeAt + nodeBytes(nodesNeeded);
  const first = firstRoute();
  const stride = routeStride();
  const middle = first + <usize>routes4 * stride;
  build(b, direct4, bits4, first, middle, stride);
  build(b, direct6, bits6, middle, first + <usize>params.routes.length * stride, stride);
  store<u32>(state, bits4, BITS4);
  store<u32>(state, <u32>direct4, DIRECT4);
  store<u32>(state, bits6, BITS6);
  store<u32>(state, <u32>direct6, DIRECT6);
  store<u32>(state, <u32>b.nodeAt, NODES);
  store<u32>(state, <u32>b.leafAt, LEAVES);
}

export function init(): void {
  open();
}

/** Other routes, for the next packet. */
export function reload(): void {
  open();
}

function open(): void {
  const state = preparedState();
  bits4 = load<u32>(state, BITS4);
  direct4 = <usize>load<u32>(state, DIRECT4);
  bits6 = load<u32>(state, BITS6);
  direct6 = <usize>load<u32>(state, DIRECT6);
  nodes = <usize>load<u32>(state, NODES);
  leaves = <usize>load<u32>(state, LEAVES);
  at4 = params.by == By.from ? IPV4_SOURCE : IPV4_DESTINATION;
  at6 = params.by == By.from ? IPV6_SOURCE : IPV6_DESTINATION;
  otherwise = params.default_;
}

export function batch(b: Batch): void {
  const packets = b.count;
  const room = workerState();
  const list4 = room + BATCH_PACKETS * KEPT;
  const list6 = list4 + BATCH_PACKETS * 4;
  let count4: u32 = 0;
  let count6: u32 = 0;
  let at = room;
  for (let i: u32 = 0; i < packets; i++) {
    const p = b.at(i);
    if (p.isIpv4) {
      begin(at, p, (<u64>be32(p.ip + at4)) << 32, 0, direct4, bits4);
      store<u32>(list4 + ((<usize>count4) << 2), <u32>at);
      count4++;
    } else if (p.isIpv6) {
      begin(at, p, be64(p.ip + at6), be64(p.ip + at6 + 8), direct6, bits6);
      store<u32>(list6 + ((<usize>count6) << 2), <u32>at);
      count6++;
    } else {
      p.output = otherwise;
      continue;
    }
    at += KEPT;
  }
  walk(list4, count4, bits4, nodes, leaves);
  walk(list6, count6, bits6, nodes, leaves);
  let without: u32 = 0;
  for (let done = room; done < at; done += KEPT) {
    const value = valueAt(done);
    let output = <Output>value;
    if (value == NO_ROUTE) {
      without++;
      output = otherwise;
    }
    packetOf(done).output = output;
  }
  if (without != 0) counter(Counters.noRoute).add(without);
  const notIp = packets - count4 - count6;
  if (notIp != 0) counter(Counters.notIp).add(notIp);
}
