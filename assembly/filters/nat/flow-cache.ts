// What the packets of a flow become: a worker's private table from addresses, ports and protocol, as they come, to the endpoint
// and the checksums' changes that their session gives them. It saves all that is between: whose packet it is, the index and
// the session, two cache lines. What is in it is what the stages of index.ts found for the same headers.
//
//    set, 64 bytes: two flows, the one remembered last first
//    0          8       12         16        20     22    24        28      32
//   +----------+-------+----------+---------+------+-----+---------+-------+----
//   | from, to | ports | protocol | address | port | way | changes | stamp | ...
//   +----------+-------+----------+---------+------+-----+---------+-------+----
//    way: 0 the source changes, 4 the destination
//
// An entry holds as long as its stamp is the worker's. That one changes when some session has ended, on any worker, when a
// connection of this worker's changed its state, and with the unit in which sessions' times are kept: so no session that is
// over is used, and whoever uses one says so once a unit. An entry of another stamp costs a way through the stages, as does a
// segment of TCP that changes something. On another worker such a change shows within a unit (134 ms).
//
// Where most packets are strangers, batches go past the table, all but one of REST.

import {
  BATCH_PACKETS,
  Batch,
  IPV4_CHECKSUM,
  IPV4_SOURCE,
  OUTPUT_NEXT,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MALFORMED,
  PROTOCOL_UDP,
  TCP_CHECKSUM,
  TCP_FLAGS,
} from "pktflow/assembly";
import { changesState } from "pktflow/assembly/lib/session-tcp";
import { params } from "./params";
import { Rewrite } from "./rewrite";

const HEADER: usize = 64;
const VECTOR: usize = <usize>BATCH_PACKETS * 4;
const SET_SHIFT: u32 = 6;
const ENTRY: usize = 32;
const PORTS: usize = 8;
const ADDRESS: usize = 16;
const PORT: usize = 20;
const WAY: usize = 22;
const CHANGES: usize = 24;
const STAMP: usize = 28;
const LEAST_SETS: u32 = 64;
const MOST_SETS: u32 = 32768;
const REST: u32 = 16;

/** Descriptors of a batch's packets that go through the stages, as of a batch. */
export let missed: usize = 0;
/** Are what the stages find to be remembered? */
export let isRemembering: bool = true;

let header: usize = 0;
let places: usize = 0;
let sets: usize = 0;
let shift: u64 = 0;
let stamp: u32 = 1;
let ended: u32 = 0;
let units: u32 = 0;
let resting: u32 = 0;

/** A set for four sessions. */
function setCount(): u32 {
  const wanted = max(LEAST_SETS, min(MOST_SETS, params.sessions >> 2));
  return (<u32>1) << (31 - clz<u32>(wanted));
}

export function flowCacheSize(): usize {
  return HEADER + 2 * VECTOR + ((<usize>setCount()) << SET_SHIFT);
}

/** @param at of the worker's state, at a multiple of 64; what an earlier instance left there is of an older stamp */
export function openFlowCache(at: usize): void {
  header = at;
  missed = at + HEADER;
  places = missed + VECTOR;
  sets = places + VECTOR;
  shift = 33 + <u64>clz<u32>(setCount());
  stamp = load<u32>(header);
  disturb();
}

/** From here on all that is known must be found anew. */
export function disturb(): void {
  stamp++;
  if (stamp == 0) {
    // Where the stamps begin anew, old ones would come again.
    memory.fill(sets, 0, (<usize>setCount()) << SET_SHIFT);
    stamp = 1;
  }
  store<u32>(header, stamp);
}

/** Before each batch. @param endedNow SessionTable.ended @param unitsNow in which times are kept */
export function renew(endedNow: u32, unitsNow: u32): void {
  if (endedNow == ended && unitsNow == units) return;
  ended = endedNow;
  units = unitsNow;
  disturb();
}

/** Does this batch go past the table? */
export function rests(): bool {
  isRemembering = resting == 0;
  if (isRemembering) return false;
  resting--;
  return true;
}

/** Multiply and shift (Dietzfelbinger et al. 1997): the upper bits count. */
function mix(pair: u64, ports: u32): u64 {
  return (pair ^ (<u64>ports * 0x9e3779b97f4a7c15)) * 0xd6e8feb86659fd93;
}

const KNOWN: u32 = PACKET_FLAG_IPV4 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED | PACKET_FLAG_CSUM_PARTIAL;

/**
 * Translates what is known: first where all are to be looked for, then a touch of that, so that what they wait for in memory
 * is waited for at once. @returns how many packets are at `missed`: the others
 */
export function translateKnown(b: Batch, count: u32): u32 {
  place(b, count);
  touch(count);
  return rewriteKnown(b, count);
}

/** Writes to `places` the address of each packet's set, or 0: it is not one of a flow. */
function place(b: Batch, count: u32): void {
  const first = sets;
  const by = shift;
  const outside = params.outsideMark;
  let to = places;
  for (let i: u32 = 0; i < count; i++, to += 4) {
    const p = b.at(i);
    const l4 = <usize>p.l4;
    let set: usize = 0;
    if ((p.flags & KNOWN) == PACKET_FLAG_IPV4) {
      if (l4 != 0) {
        const data = <usize>p.data;
        const mixed = mix(load<u64>(data + <usize>p.l3, IPV4_SOURCE), load<u32>(data + l4));
        set = first + ((<usize>(mixed >> by)) << SET_SHIFT);
      }
      // A mark that says where a packet comes from makes it another flow's (special.ts).
      if (outside != 0) {
        if (p.mark == outside) set = 0;
      }
    }
    store<u32>(to, <u32>set);
  }
}

let touched: u32 = 0;

/** Four a round; what is behind `count` is of an earlier batch. */
function touch(count: u32): void {
  let at = places;
  const end = at + ((<usize>count) << 2);
  let seen: u32 = 0;
  for (; at < end; at += 16) {
    seen ^= load<u32>(<usize>load<u32>(at)) ^ load<u32>(<usize>load<u32>(at, 4));
    seen ^= load<u32>(<usize>load<u32>(at, 8)) ^ load<u32>(<usize>load<u32>(at, 12));
  }
  touched = seen;
}

function rewriteKnown(b: Batch, count: u32): u32 {
  const now = stamp;
  const from = places;
  let to = missed;
  let strangers: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    let entry = <usize>load<u32>(from + ((<usize>i) << 2));
    store<u32>(to, <u32>changetype<usize>(p));
    to += 4;
    if (entry == 0) continue;
    const data = <usize>p.data;
    const ip = data + <usize>p.l3;
    const transport = data + <usize>p.l4;
    const pair = load<u64>(ip, IPV4_SOURCE);
    const protocol = <u32>p.protocol;
    const rest = <u64>load<u32>(transport) | ((<u64>protocol) << 32);
    if (((load<u64>(entry) ^ pair) | (load<u64>(entry, PORTS) ^ rest)) != 0) {
      entry += ENTRY;
      if (((load<u64>(entry) ^ pair) | (load<u64>(entry, PORTS) ^ rest)) != 0) {
        strangers++;
        continue;
      }
    }
    if (load<u32>(entry, STAMP) != now) continue;
    const way = <usize>load<u16>(entry, WAY);
    const ofBoth = <u32>load<u16>(entry, CHANGES + 2);
    if (protocol == PROTOCOL_UDP) {
      Rewrite.udp(transport, ofBoth);
    } else {
      if (changesState(load<u8>(transport, TCP_FLAGS))) continue;
      store<u16>(transport, Rewrite.changed(load<u16>(transport, TCP_CHECKSUM), ofBoth), TCP_CHECKSUM);
    }
    store<u32>(ip + way, load<u32>(entry, ADDRESS), IPV4_SOURCE);
    store<u16>(transport + (way >> 1), load<u16>(entry, PORT));
    store<u16>(ip, Rewrite.changed(load<u16>(ip, IPV4_CHECKSUM), load<u16>(entry, CHANGES)), IPV4_CHECKSUM);
    p.output = OUTPUT_NEXT;
    to -= 4;
  }
  if (strangers << 1 > count) resting = REST - 1;
  return <u32>((to - missed) >> 2);
}

/**
 * Keeps what the stages found.
 * @param pair and ports of the packet as it came @param inwards its destination changes
 * @param address, port that it gets @param changes of the checksums, for this way
 */
export function remember(
  pair: u64,
  ports: u32,
  protocol: u32,
  inwards: bool,
  address: u32,
  port: u16,
  changes: u32,
): void {
  const rest = <u64>ports | ((<u64>protocol) << 32);
  let entry = sets + ((<usize>(mix(pair, ports) >> shift)) << SET_SHIFT);
  const second = entry + ENTRY;
  if (load<u64>(second) == pair && load<u64>(second, PORTS) == rest) {
    entry = second;
  } else if (load<u64>(entry) != pair || load<u64>(entry, PORTS) != rest) {
    v128.store(second, v128.load(entry));
    v128.store(second, v128.load(entry, 16), 16);
  }
  store<u64>(entry, pair);
  store<u64>(entry, rest, PORTS);
  store<u32>(entry, address, ADDRESS);
  store<u16>(entry, port, PORT);
  store<u16>(entry, inwards ? 4 : 0, WAY);
  store<u32>(entry, changes, CHANGES);
  store<u32>(entry, stamp, STAMP);
}
