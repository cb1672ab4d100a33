// Packets down deep trees (layout.ts), all of a batch together: each stage does the same for every packet and notes what the next one
// needs of memory, which is touched in between, so that it is waited for at once instead of packet by packet.
//
//   place     which packets, of what kind, and where what their flows found may be known (places.ts)
//   look      what is known, is found; of others the keys, and the child that each node has from the root down its middles
//   gather    which of these children may hold the packet
//   find      boxes against the packet, child by child (descend.ts)
//   collect   packets and their boxes, for whoever counts the rule and sets the output
//
// A tree is a row of nodes, each the middle of the one before, that have leaves for children, nearly all: which nodes a packet meets
// does not depend on what it finds there, so all of its children can be asked for at once.
//
//   record    0      56    60      64
//             +------+-----+-------+----------------------------------+
//             | keys | end | place | 8 children, then stack's entries |    of what is not known: IPv4, then IPv6
//             +------+-----+-------+----------------------------------+
//   result    packet and box, u32 each

import { BATCH_PACKETS, Batch, counter, IPV4_SOURCE, IPV6_SOURCE, Packet } from "pktflow/assembly";
import { forget } from "./criteria";
import { Child, Descent, ENTRY, ENTRY_FIRST, isOfFlow, STACK_BYTES } from "./descend";
import { cached4, cached6, remember4, remember6, UNKNOWN } from "./flow-cache";
import {
  BOX_RULE,
  CHILD_FIRST,
  KEY_FROM,
  KEY_FROM_LOW,
  KEY_KIND,
  KEY_PORT0,
  KEY_PORT1,
  KEY_TO,
  KEY_TO_LOW,
  LEAF,
  NODE_MIDDLE,
  NODE_MIDDLE_FIRST,
} from "./layout";
import { Counters } from "./params";
import {
  back,
  front,
  IS_IPV6,
  openPlaces,
  PLACE,
  PLACE_FOUND,
  PLACE_KIND,
  PLACE_PORTS,
  PLACE_SET,
  PLACES_BYTES,
  packetOf,
  place,
  placeSets,
  places,
} from "./places";
import { KIND_MASK, STATE_ROOTS4 } from "./rule";

const RECORD: usize = 128;
const RECORD_END: usize = 56;
const RECORD_PLACE: usize = 60;
const RECORD_ENTRIES: usize = 64;
/** Children of so many nodes, and what is behind them. */
const MOST: usize = 7;

const RESULT: usize = 8;
const MANY = <usize>BATCH_PACKETS;
const LINES: usize = MANY * (MOST + 1) + 4;

/** Bytes of a worker's own. */
export const STAGES_BYTES: usize =
  PLACES_BYTES + MANY * (RESULT + RECORD) + ((LINES * 4 + 63) & ~63) + STACK_BYTES;

let state: usize = 0;
let results: usize = 0;
/** Addresses of what is to be touched, LINES of them. */
let lines: usize = 0;
/** Behind them there is room for the stack of the last one. */
let records: usize = 0;

// Where these end.
let linesEnd: usize = 0;
let records4End: usize = 0;
let recordsEnd: usize = 0;
let touched: u32 = 0;

/** @param room STAGES_BYTES @param known the flow cache @param kinds which kinds' trees are deep */
export function openStages(compiled: usize, room: usize, known: usize, kinds: u32): void {
  state = compiled;
  openPlaces(room, known, kinds);
  results = room + PLACES_BYTES;
  lines = results + MANY * RESULT;
  records = lines + ((LINES * 4 + 63) & ~63);
}

/** Takes the packets that have the output NOT_YET to their boxes. @returns how many results there are: the others are not for it */
export function stage(b: Batch, count: u32): u32 {
  if (!place(b, count)) return 0;
  linesEnd = placeSets(lines);
  const staged = <u32>((linesEnd - lines) >> 2);
  if (staged == 0) return 0;
  touch();
  look();
  touch();
  gather();
  touch();
  find();
  collect();
  touch();
  return staged;
}

/** One of the results. */
export class Staged {
  @inline static packet(index: u32): Packet {
    return changetype<Packet>(<usize>load<u32>(results + <usize>index * RESULT));
  }
  /** The address of the ports of the packet's box, where its rule and output stand; 0: there is none. */
  @inline static box(index: u32): usize {
    return <usize>load<u32>(results + <usize>index * RESULT, 4);
  }
}

/** Four a round; what is behind the end is of an earlier time. */
function touch(): void {
  const end = linesEnd;
  let seen: u32 = 0;
  for (let at = lines; at < end; at += 16) {
    seen ^= load<u32>(<usize>load<u32>(at)) ^ load<u32>(<usize>load<u32>(at, 4));
    seen ^= load<u32>(<usize>load<u32>(at, 8)) ^ load<u32>(<usize>load<u32>(at, 12));
  }
  touched = seen;
}

function look(): void {
  let line = lines;
  let record = records;
  for (let at = places; at < front; at += PLACE) {
    const ports = load<u32>(at, PLACE_PORTS);
    const kind = load<u32>(at, PLACE_KIND);
    const pair = load<u64>(packetOf(at).ip, IPV4_SOURCE);
    const known = cached4(<usize>load<u32>(at, PLACE_SET), pair, ports, kind);
    store<u32>(at, known, PLACE_FOUND);
    if (known != UNKNOWN) {
      store<u32>(line, known);
      line += 4;
      continue;
    }
    store<u64>(record, <u64>bswap<u32>(<u32>pair), KEY_FROM << 3);
    store<u64>(record, <u64>bswap<u32>(<u32>(pair >> 32)), KEY_TO << 3);
    line = lookDown(record, at, ports, kind, line);
    record += RECORD;
  }
  records4End = record;
  const end = places + PLACES_BYTES;
  for (let at = back; at < end; at += PLACE) {
    const ports = load<u32>(at, PLACE_PORTS);
    const kind = load<u32>(at, PLACE_KIND);
    const addresses = packetOf(at).ip + IPV6_SOURCE;
    const known = cached6(<usize>load<u32>(at, PLACE_SET), addresses, ports, kind - IS_IPV6);
    store<u32>(at, known, PLACE_FOUND);
    if (known != UNKNOWN) {
      store<u32>(line, known);
      line += 4;
      continue;
    }
    store<u64>(record, bswap<u64>(load<u64>(addresses)), KEY_FROM << 3);
    store<u64>(record, bswap<u64>(load<u64>(addresses, 8)), KEY_FROM_LOW << 3);
    store<u64>(record, bswap<u64>(load<u64>(addresses, 16)), KEY_TO << 3);
    store<u64>(record, bswap<u64>(load<u64>(addresses, 24)), KEY_TO_LOW << 3);
    line = lookDown(record, at, ports, kind, line);
    record += RECORD;
  }
  recordsEnd = record;
  linesEnd = line;
}

/** Writes the rest of a record, whose children it notes. @returns the end of what is noted */
function lookDown(record: usize, place: usize, ports: u32, kind: u32, line: usize): usize {
  store<u64>(record, <u64>(ports >> 16), KEY_PORT0 << 3);
  store<u64>(record, <u64>(ports & 0xffff), KEY_PORT1 << 3);
  store<u64>(record, <u64>(kind & KIND_MASK), KEY_KIND << 3);
  store<u32>(record, <u32>place, RECORD_PLACE);
  // IPv6's roots stand behind those of IPv4.
  let node = <usize>load<u32>(state + ((<usize>kind) << 2), STATE_ROOTS4);
  let first: u32 = 0;
  let to = record + RECORD_ENTRIES;
  const most = to + MOST * ENTRY;
  do {
    const child = <u32>Child.of(node, record);
    store<u32>(to, child);
    store<u32>(line, child);
    to += ENTRY;
    line += 4;
    first = load<u32>(node, NODE_MIDDLE_FIRST);
    node = <usize>load<u32>(node, NODE_MIDDLE);
  } while (node != 0 && (node & LEAF) == 0 && to != most);
  store<u32>(record, <u32>to, RECORD_END);
  store<u32>(to, <u32>node);
  store<u32>(to, first, ENTRY_FIRST);
  return line;
}

/** Puts what a packet may find where its children were: entries for the stack. */
function gather(): void {
  const end = recordsEnd;
  let line = lines;
  for (let record = records; record < end; record += RECORD) {
    let to = record + RECORD_ENTRIES;
    let from = to;
    const last = <usize>load<u32>(record, RECORD_END);
    for (; from < last; from += ENTRY) {
      const child = <usize>load<u32>(from);
      const reference = load<u32>(child);
      const isIn = <usize>Child.mayHold(child, record);
      store<u32>(to, reference);
      store<u32>(to, load<u32>(child, CHILD_FIRST), ENTRY_FIRST);
      store<u32>(line, reference & ~LEAF);
      to += isIn * ENTRY;
      line += isIn << 2;
    }
    const rest = load<u64>(last);
    store<u64>(to, rest);
    store<u32>(record, <u32>(to + <usize>(<u32>rest != 0) * ENTRY), RECORD_END);
  }
  linesEnd = line;
}

/** From the last record to the first: a stack that grows takes the room of records that are done. */
function find(): void {
  let record = recordsEnd;
  while (record > records4End) {
    record -= RECORD;
    const at = <usize>load<u32>(record, RECORD_PLACE);
    const p = packetOf(at);
    const ports = load<u32>(at, PLACE_PORTS);
    const kind = load<u32>(at, PLACE_KIND) - IS_IPV6;
    const addresses = p.ip + IPV6_SOURCE;
    const bottom = record + RECORD_ENTRIES;
    const end = <usize>load<u32>(record, RECORD_END);
    const top = max(end - ENTRY, bottom);
    const first = end > bottom ? load<u32>(top) : 0;
    forget();
    const box = Descent.ipv6(p, addresses, kind, ports >> 16, ports & 0xffff, 0, record, first, bottom, top);
    store<u32>(at, <u32>box, PLACE_FOUND);
    if (isOfFlow) remember6(<usize>load<u32>(at, PLACE_SET), addresses, ports, kind, box);
  }
  while (record > records) {
    record -= RECORD;
    const at = <usize>load<u32>(record, RECORD_PLACE);
    const p = packetOf(at);
    const ports = load<u32>(at, PLACE_PORTS);
    const kind = load<u32>(at, PLACE_KIND);
    const pair = load<u64>(p.ip, IPV4_SOURCE);
    const bottom = record + RECORD_ENTRIES;
    const end = <usize>load<u32>(record, RECORD_END);
    const top = max(end - ENTRY, bottom);
    const first = end > bottom ? load<u32>(top) : 0;
    forget();
    const box = Descent.ipv4(p, pair, kind, ports >> 16, ports & 0xffff, 0, record, first, bottom, top);
    store<u32>(at, <u32>box, PLACE_FOUND);
    if (isOfFlow) remember4(<usize>load<u32>(at, PLACE_SET), pair, ports, kind, box);
  }
}

/** Notes the counters of the rules, too. */
function collect(): void {
  let to = results;
  let line = lines;
  to = collectFrom(places, front, to);
  to = collectFrom(back, places + PLACES_BYTES, to);
  const counters = changetype<usize>(counter(Counters.rules));
  for (let at = results; at < to; at += RESULT) {
    const box = <usize>load<u32>(at, 4);
    store<u32>(line, <u32>(counters + ((<usize>load<u32>(box, BOX_RULE)) << 3)));
    line += (<usize>(box != 0)) << 2;
  }
  linesEnd = line;
}

function collectFrom(at: usize, end: usize, to: usize): usize {
  for (; at < end; at += PLACE, to += RESULT) {
    store<u32>(to, load<u32>(at));
    store<u32>(to, load<u32>(at, PLACE_FOUND), 4);
  }
  return to;
}
