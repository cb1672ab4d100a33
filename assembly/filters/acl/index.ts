// Access control. In: any packet. Out: by the output of the first rule that it matches, or of `default`.

import {
  Batch,
  be16,
  counter,
  DESCRIPTOR_L3,
  DESCRIPTOR_L4,
  DESCRIPTOR_PROTOCOL,
  emit,
  IPV4_FRAGMENT,
  IPV4_OFFSET_MASK,
  IPV4_SOURCE,
  IPV6_SOURCE,
  now,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_FIRST_FRAGMENT,
  PACKET_FLAG_FRAGMENT,
  PACKET_FLAG_IPV4,
  PACKET_FLAG_MALFORMED,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  sharedState,
  Tcp,
  workerState,
} from "pktflow/assembly";
import {
  CT_ESTABLISHED,
  CT_INVALID,
  CT_NEW,
  CT_RELATED,
  confirm,
  track,
} from "pktflow/assembly/lib/conntrack";
import { endedByMake, evictedByMake, FOUND, FULL } from "pktflow/assembly/lib/conntrack-table";
import { FragmentWait } from "pktflow/assembly/lib/fragment-wait";
import {
  classify4,
  classify6,
  classifyFrame,
  find4,
  find6,
  NO_FACTS,
  onlyLeaf4,
  openRules,
  roomForOthers,
  scanLeaf4,
  scratchSize,
} from "./classify";
import { compile, compiledSize, hasTrees } from "./compile";
import {
  DATAGRAM_EVICTED,
  DATAGRAM_PENDING,
  DATAGRAM_UNKNOWN,
  datagramFlags,
  datagramHeader,
  findDatagram,
  formatTables,
  openTables,
  reap,
  tablesSize,
} from "./connections";
import { forget, kind, port0, port1, readWith } from "./criteria";
import { Counters, params } from "./params";
import { KIND_TCP, KIND_UDP, markOf, marksOf, NO_RULE, outputOf } from "./rule";
import { BOX_DECIDES, BOX_FLAGS, BOX_MARKS, BOX_OUTPUT, BOX_RULE } from "./tree";

let compiled: usize = 0;
let isStateful: bool = false;
/** Fragments whose first one has not come: those of the batch at hand have the output OUTPUT_HOLD, the others wait. */
let isPending: bool = false;
let waiting: FragmentWait = changetype<FragmentWait>(0);

export function sharedStateSize(_at: usize): usize {
  return compiledSize() + tablesSize();
}

export function workerStateSize(_at: usize): usize {
  return waitingAt() + FragmentWait.bytes(params.fragmentsHeld);
}

function waitingAt(): usize {
  return (scratchSize(hasTrees()) + 7) & ~7;
}

export function initShared(): void {
  const state = sharedState();
  compile(state);
  formatTables(state, state + compiledSize());
}

export function init(): void {
  compiled = sharedState();
  openRules(compiled);
  isStateful = openTables(compiled, roomForOthers());
  // An instance that is made anew has lost what it held.
  waiting = FragmentWait.format(workerState() + waitingAt());
  isPending = false;
}

export function tick(): void {
  const ended = reap();
  if (ended != 0) counter(Counters.connectionsEnded).add(ended);
}

const PLAIN: u32 = PACKET_FLAG_IPV4 | PACKET_FLAG_FRAGMENT | PACKET_FLAG_MALFORMED;
// What the packet loop reads of a descriptor in one go: l3, l4, payload, protocol.
const L4_AT: u64 = <u64>((DESCRIPTOR_L4 - DESCRIPTOR_L3) << 3);
const PROTOCOL_AT: u64 = <u64>((DESCRIPTOR_PROTOCOL - DESCRIPTOR_L3) << 3);
// And of a box.
const FLAGS_AT: u64 = <u64>((BOX_FLAGS - BOX_RULE) << 3);
const OUTPUT_AT: u64 = <u64>((BOX_OUTPUT - BOX_RULE) << 3);
const CERTAIN: u32 = BOX_DECIDES | BOX_MARKS;

export function batch(b: Batch): void {
  if (isStateful) {
    for (let i: u32 = 0; i < b.count; i++) b.at(i).output = decide(b.at(i));
  } else {
    decidePlain(b);
  }
  if (isPending) waitForFirst(b);
}

/** Without connections. */
function decidePlain(b: Batch): void {
  const count = b.count;
  const standard = params.default_;
  const counters = changetype<usize>(counter(Counters.rules));
  const tcpLeaf = onlyLeaf4(KIND_TCP);
  const udpLeaf = onlyLeaf4(KIND_UDP);
  let unmatched: u64 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    const headers = load<u64>(changetype<usize>(p), DESCRIPTOR_L3);
    const protocol = <u8>(headers >> PROTOCOL_AT);
    if ((p.flags & PLAIN) != PACKET_FLAG_IPV4 || (protocol != PROTOCOL_UDP && protocol != PROTOCOL_TCP)) {
      p.output = decide(p);
      continue;
    }
    // Most packets: IPv4 with ports, and everything that boxes ask of it at hand.
    const data = <usize>p.data;
    const pair = load<u64>(data + <usize>(headers & 0xffff), IPV4_SOURCE);
    const ports = bswap<u32>(load<u32>(data + <usize>((headers >> L4_AT) & 0xffff)));
    const isTcp = protocol == PROTOCOL_TCP;
    const kind = isTcp ? KIND_TCP : KIND_UDP;
    const leaf = isTcp ? tcpLeaf : udpLeaf;
    let facts = NO_FACTS;
    if (leaf != 0) facts = scanLeaf4(leaf, pair, kind, ports >> 16, ports & 0xffff);
    else {
      forget();
      const box = find4(p, pair, kind, ports >> 16, ports & 0xffff);
      // What was found has been asked already.
      if (box != 0) facts = load<u64>(box, BOX_RULE) | ((<u64>BOX_DECIDES) << FLAGS_AT);
    }
    if (facts == NO_FACTS) {
      unmatched++;
      p.output = standard;
    } else if ((<u32>(facts >> FLAGS_AT) & CERTAIN) != BOX_DECIDES) {
      p.output = decide(p);
    } else {
      const at = counters + ((<usize>(<u32>facts)) << 3);
      store<u64>(at, load<u64>(at) + 1);
      p.output = <u8>(facts >> OUTPUT_AT);
    }
  }
  if (unmatched != 0) counter(Counters.unmatched).add(unmatched);
}

/** Holds the fragments whose first one has not come, and lets go of those whose first one has. */
function waitForFirst(b: Batch): void {
  const refused = waiting.holdAll(b, now() + params.fragmentWait);
  if (refused != 0) counter(Counters.fragment).add(refused);
  decideHeld();
}

function decideHeld(): void {
  for (let i: u32 = 0; i < waiting.count; ) {
    const p = waiting.at(i);
    let output = decide(p);
    if (output == OUTPUT_HOLD) {
      if (waiting.dueOf(i) > now()) {
        i++;
        continue;
      }
      output = drop(Counters.fragment);
    } else {
      counter(Counters.fragmentsWaited).add(1);
    }
    waiting.remove(i);
    emit(p, output);
  }
  isPending = waiting.count != 0;
  waiting.wake(now());
}

/** Fragments have waited long enough, or their first one may have come to another worker. */
export function wake(): void {
  decideHeld();
}

/** Any packet. @returns OUTPUT_HOLD: a fragment whose first one has not come */
function decide(p: Packet): Output {
  if (p.isMalformed) return drop(Counters.malformed);
  let header: usize = p.hasTransport ? p.transport : 0;
  let flags: u8 = header != 0 && p.protocol == PROTOCOL_TCP ? Tcp.of(p).flags : 0;
  if (p.isFragment) {
    const isFirst = p.has(PACKET_FLAG_FIRST_FRAGMENT);
    if (!isFirst && isTinyFragment(p)) return drop(Counters.tinyFragment);
    const found = findDatagram(p, isFirst);
    if (found == DATAGRAM_PENDING) {
      isPending = true;
      return OUTPUT_HOLD;
    }
    if (found == DATAGRAM_UNKNOWN) return drop(Counters.fragment);
    if (found == DATAGRAM_EVICTED) counter(Counters.datagramsEvicted).add(1);
    header = datagramHeader;
    flags = datagramFlags;
  }
  if (!isStateful || !p.isIp) return decideByRules(p, header, flags);
  const state = track(p, header, now());
  if (state == CT_ESTABLISHED) {
    counter(Counters.established).add(1);
    return OUTPUT_NEXT;
  }
  if (state == CT_RELATED) {
    counter(Counters.related).add(1);
    return OUTPUT_NEXT;
  }
  if (state == CT_INVALID) {
    counter(Counters.invalid).add(1);
    return params.invalid;
  }
  const output = decideByRules(p, header, flags);
  return state == CT_NEW && output == OUTPUT_NEXT ? open() : output;
}

/** The connection of the packet tracked last begins, or the packet is dropped: its answer could not come in. */
function open(): Output {
  const confirmed = confirm(now());
  if (endedByMake != 0) counter(Counters.connectionsEnded).add(endedByMake);
  if (evictedByMake != 0) counter(Counters.connectionsEvicted).add(evictedByMake);
  if (confirmed == FOUND) return OUTPUT_NEXT;
  if (confirmed == FULL) return drop(Counters.tableFull);
  counter(Counters.connectionsMade).add(1);
  return OUTPUT_NEXT;
}

/** @param header the transport header's first bytes, 0: it is not known @param flags of TCP */
function decideByRules(p: Packet, header: usize, flags: u8): Output {
  readWith(p, header, flags);
  for (let rule = next(p, 0); rule != NO_RULE; rule = next(p, rule + 1)) {
    counter(Counters.rules + rule).add(1);
    if (!marksOf(compiled, rule)) return outputOf(compiled, rule);
    p.mark = markOf(compiled, rule);
  }
  counter(Counters.unmatched).add(1);
  return params.default_;
}

/** The first rule from `start` on that a packet matches whose facts have been read, or NO_RULE. */
function next(p: Packet, start: u32): u32 {
  if (!p.isIp) return classifyFrame(p, start);
  if (start == 0) {
    const box = p.isIpv4
      ? find4(p, load<u64>(p.ip, IPV4_SOURCE), kind, port0, port1)
      : find6(p, p.ip + IPV6_SOURCE, kind, port0, port1);
    return box == 0 ? NO_RULE : load<u32>(box, BOX_RULE);
  }
  const box = p.isIpv4
    ? classify4(p, load<u64>(p.ip, IPV4_SOURCE), kind, port0, port1, start)
    : classify6(p, p.ip + IPV6_SOURCE, kind, port0, port1, start);
  return box == 0 ? NO_RULE : load<u32>(box, BOX_RULE);
}

/**
 * A fragment that begins 8 bytes into a TCP header would, where fragments that overlap are put together, replace the
 * flags that a rule saw in the first one. A first fragment too short for the whole header is malformed already.
 */
function isTinyFragment(p: Packet): bool {
  if (p.protocol != PROTOCOL_TCP) return false;
  if (p.isIpv4) return (be16(p.ip + IPV4_FRAGMENT) & IPV4_OFFSET_MASK) == 1;
  // The payload of a later IPv6 fragment stands right behind its Fragment header.
  return (be16(<usize>p.data + p.payload - 6) & 0xfff8) == 8;
}

function drop(reason: u32): Output {
  counter(reason).add(1);
  return OUTPUT_DROP;
}
