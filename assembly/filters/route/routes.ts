// The routes as the host has encoded them, sorted in their place: by IP version, address, length, and then as they came. A
// route is 24 bytes, of which the last three are padding; its place in the list is kept there while they are sorted.
//
//    0          16       17       18    20     21       24
//   +----------+--------+--------+-----+------+--------+
//   | address  | length | family |     | via  | place  |
//   +----------+--------+--------+-----+------+--------+

import { be64 } from "pktflow/assembly";
import { params } from "./params";

const LENGTH: usize = 16;
const FAMILY: usize = 17;
const VIA: usize = 20;
/** An IPv4 address is ::ffff:a.b.c.d, its length 96 more. */
const MAPPED: u32 = 96;

export function firstRoute(): usize {
  return params.routes.length == 0 ? 0 : changetype<usize>(params.routes.at(0));
}

export function routeStride(): usize {
  return changetype<usize>(params.routes.at(1)) - changetype<usize>(params.routes.at(0));
}

function isIpv4(route: usize): bool {
  return load<u8>(route, FAMILY) == 4;
}

/** The first 64 bits of the address; of an IPv4 address, all of it on top. */
export function wordHigh(route: usize): u64 {
  return isIpv4(route) ? be64(route + 8) << 32 : be64(route);
}

export function wordLow(route: usize): u64 {
  return isIpv4(route) ? 0 : be64(route + 8);
}

/** Bits of the prefix, as written. */
export function length(route: usize): u32 {
  const bits = <u32>load<u8>(route, LENGTH);
  return isIpv4(route) ? bits - MAPPED : bits;
}

/** Sorts the routes. @returns how many are IPv4: they come first */
export function sortRoutes(): u32 {
  const count = <u32>params.routes.length;
  const first = firstRoute();
  const stride = routeStride();
  let ipv4: u32 = 0;
  let isSorted = true;
  for (let i: u32 = 0; i < count; i++) {
    const at = first + <usize>i * stride;
    store<u32>(at, <u32>load<u8>(at, VIA) | (i << 8), VIA);
    if (isIpv4(at)) ipv4++;
    if (i > 0 && compare(at - stride, at) > 0) isSorted = false;
  }
  if (!isSorted) heapSort(first, count, stride);
  return ipv4;
}

function compare(a: usize, b: usize): i32 {
  if (load<u8>(a, FAMILY) != load<u8>(b, FAMILY)) return isIpv4(a) ? -1 : 1;
  const highA = be64(a);
  const highB = be64(b);
  if (highA != highB) return highA < highB ? -1 : 1;
  const lowA = be64(a + 8);
  const lowB = be64(b + 8);
  if (lowA != lowB) return lowA < lowB ? -1 : 1;
  const lengthA = load<u8>(a, LENGTH);
  const lengthB = load<u8>(b, LENGTH);
  if (lengthA != lengthB) return lengthA < lengthB ? -1 : 1;
  return load<u32>(a, VIA) >> 8 < load<u32>(b, VIA) >> 8 ? -1 : 1;
}

/** Heapsort (Williams 1964): in place, and n log n whatever the order. */
function heapSort(first: usize, count: u32, stride: usize): void {
  for (let i = count / 2; i > 0; i--) sift(first, i - 1, count, stride);
  for (let end = count - 1; end > 0; end--) {
    swap(first, first + <usize>end * stride);
    sift(first, 0, end, stride);
  }
}

function sift(first: usize, start: u32, count: u32, stride: usize): void {
  let root = start;
  for (;;) {
    let child: u32 = 2 * root + 1;
    if (child >= count) return;
    let at = first + <usize>child * stride;
    if (child + 1 < count && compare(at, at + stride) < 0) {
      child++;
      at += stride;
    }
    const parent = first + <usize>root * stride;
    if (compare(parent, at) >= 0) return;
    swap(parent, at);
    root = child;
  }
}

function swap(a: usize, b: usize): void {
  for (let i: usize = 0; i < 24; i += 8) {
    const word = load<u64>(a, 0);
    store<u64>(a, load<u64>(b));
    store<u64>(b, word);
    a += 8;
    b += 8;
  }
}
