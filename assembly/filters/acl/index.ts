// Access control. In: any packet. Out: by the output of the first rule that it matches, or of `default`.

import {
  Batch,
  be16,
  counter,
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
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  preparedState,
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
  endedByConfirm,
  evictedByConfirm,
  track,
} from "pktflow/assembly/lib/conntrack";
import { FOUND, FULL } from "pktflow/assembly/lib/conntrack-table";
import { FragmentWait } from "pktflow/assembly/lib/fragment-wait";
import {
  classify4,
  classify6,
  classifyFrame,
  find4,
  find6,
  forgetFlows,
  littleTree4,
  openRules,
  roomForOthers,
  scratchSize,
} from "./classify";
import { compile, compiledSize } from "./compile";
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
  renewTimeouts,
  tablesSize,
} from "./connections";
import { forget, kind, port0, port1, readWith } from "./criteria";
import { BOX_FLAGS, BOX_MARKS, BOX_OUTPUT, BOX_RULE } from "./layout";
import { decideLittle, NEVER, NOT_YET, PLAIN, PLAIN_IS, someNotYet, unmatchedLittle } from "./little";
import { Counters, params } from "./params";
import { KIND_TCP, KIND_UDP, markOf, marksOf, NO_RULE, outputOf, STATE_ASKS } from "./rule";
import { Staged, stage } from "./stages";

let compiled: usize = 0;
let isStateful: bool = false;
/** Fragments whose first one has not come: those of the batch at hand have the output OUTPUT_HOLD, the others wait. */
let isPending: bool = false;
let waiting: FragmentWait = changetype<FragmentWait>(0);

export function preparedStateSize(_at: usize): usize {
  return compiledSize();
}

export function sharedStateSize(_at: usize): usize {
  return tablesSize();
}

export function workerStateSize(_at: usize): usize {
  return scratchSize() + FragmentWait.bytes(params.fragmentsHeld);
}

export function prepare(): void {
  compile(preparedState());
}

export function initShared(): void {
  formatTables(sharedState());
}

export function init(): void {
  open();
  // An instance that is made anew has lost what it held.
  waiting = FragmentWait.format(workerState() + scratchSize());
  isPending = false;
}

/** Other rules. Connections and fragments that wait stay: what has begun goes on, as under any connection tracking. */
export function reload(): void {
  open();
  forgetFlows();
  renewTimeouts();
}

function open(): void {
  compiled = preparedState();
  openRules(compiled);
  isStateful = openTables(sharedState(), load<u32>(compiled, STATE_ASKS) != 0, roomForOthers());
}

export function tick(): void {
  const ended = reap();
  if (ended != 0) counter(Counters.connectionsEnded).add(ended);
}

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
  const tcp = littleTree4(KIND_TCP);
  const udp = littleTree4(KIND_UDP);
  if (tcp != NEVER || udp != NEVER) {
    decideLittle(b, count, tcp, udp, params.default_, changetype<usize>(counter(Counters.rules)));
    if (unmatchedLittle != 0) counter(Counters.unmatched).add(unmatchedLittle);
    if (!someNotYet) return;
  } else {
    for (let i: u32 = 0; i < count; i++) b.at(i).output = NOT_YET;
  }
  const staged = stage(b, count);
  for (let i: u32 = 0; i < staged; i++)
    Staged.packet(i).output = decideByBox(Staged.packet(i), Staged.box(i));
  if (staged == count) return;
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    if (p.output != NOT_YET) continue;
    const protocol = p.protocol;
    const isPlain = (p.flags & PLAIN) == PLAIN_IS && (protocol == PROTOCOL_UDP || protocol == PROTOCOL_TCP);
    p.output = isPlain ? decideByPorts(p, protocol == PROTOCOL_TCP ? KIND_TCP : KIND_UDP) : decide(p);
  }
}

/** IPv4 with ports: everything that boxes ask of it is at hand. */
function decideByPorts(p: Packet, kind: u32): Output {
  const ports = bswap<u32>(load<u32>(p.transport));
  forget();
  return decideByBox(p, find4(p, load<u64>(p.ip, IPV4_SOURCE), kind, ports >> 16, ports & 0xffff));
}

/** @param box what was found, 0: nothing */
function decideByBox(p: Packet, box: usize): Output {
  if (box == 0) {
    counter(Counters.unmatched).add(1);
    return params.default_;
  }
  // What was found has been asked already.
  if ((load<u8>(box, BOX_FLAGS) & BOX_MARKS) != 0) return decide(p);
  counter(Counters.rules + load<u32>(box, BOX_RULE)).add(1);
  return load<u8>(box, BOX_OUTPUT);
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
  return state == CT_NEW && output == OUTPUT_NEXT ? begin() : output;
}

/** The connection of the packet tracked last begins, or the packet is dropped: its answer could not come in. */
function begin(): Output {
  const confirmed = confirm(now());
  const ended = endedByConfirm();
  const evicted = evictedByConfirm();
  if (ended != 0) counter(Counters.connectionsEnded).add(ended);
  if (evicted != 0) counter(Counters.connectionsEvicted).add(evicted);
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
