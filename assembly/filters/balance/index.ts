// A load balancer's choice: which backend a packet belongs to. A connection that is remembered goes where it went; a new one by
// the Maglev table, which is the same on every balancer with the same backends. So a balancer that is restarted, or another
// one, sends most connections where they were, without having seen their beginning.
//
// Drain without memory: a TCP segment that begins no connection belongs to one that began before, maybe at a backend that is
// drained since. So there are two tables: of those that take new connections, and of all.
//
// Tables are made anew for other backends; connections stay, each with its backend's identity. One whose backend is gone goes
// where a new one would.
//
//   prepared state
//    0      64
//   +------+----------+---------------+-------------+--------------+      backends: backends.ts; scratch, tables: maglev.ts
//   | size | backends | maglev's      | table: open | table: whole |
//   |      |          | scratch       |             |              |
//   +------+----------+---------------+-------------+--------------+

import {
  counter,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_TCP,
  preparedState,
  sharedState,
  TCP_ACK,
  TCP_SYN,
  Tcp,
} from "pktflow/assembly";
import { flowKey, prefixKey } from "pktflow/assembly/lib/flow-key";
import {
  backendOf,
  backendsBytes,
  buildBackends,
  drains,
  idOf,
  indexOf,
  openBackends,
  placeAt,
  viaOf,
} from "./backends";
import { connectionsBytes, openConnections, recall, remember } from "./connections";
import { build, ENTRY, NONE, primeFrom, SCRATCH } from "./maglev";
import { By, Counters, params } from "./params";

const HEADER: usize = 64;
const SECOND: u64 = 1_000_000_000;

let size: u32 = 0;
let open: usize = 0;
let whole: usize = 0;
let timeout: u32 = 0;
let byFlow: bool = true;

/** Bytes of a table, and what follows it begins at a cache line. */
function tableBytes(entries: u32): usize {
  return (<usize>entries * ENTRY + 63) & ~63;
}

function scratchBytes(): usize {
  return (<usize>params.backends.length * SCRATCH + 63) & ~63;
}

export function preparedStateSize(_: usize): usize {
  return HEADER + backendsBytes() + scratchBytes() + 2 * tableBytes(primeFrom(params.size));
}

export function sharedStateSize(_: usize): usize {
  return connectionsBytes(params.connections);
}

export function prepare(): void {
  const entries = primeFrom(params.size);
  const state = preparedState();
  const scratch = state + HEADER + backendsBytes();
  store<u32>(state, entries);
  buildBackends(state + HEADER, scratch);
  build(scratch + scratchBytes(), entries, scratch, false);
  build(scratch + scratchBytes() + tableBytes(entries), entries, scratch, true);
}

export function init(): void {
  openConnections(sharedState(), params.connections);
  byFlow = params.by == By.flow;
  openTables();
}

export function reload(): void {
  openTables();
}

function openTables(): void {
  const state = preparedState();
  size = load<u32>(state);
  openBackends(state + HEADER);
  open = state + HEADER + backendsBytes() + scratchBytes();
  whole = open + tableBytes(size);
  timeout = <u32>(params.timeout / SECOND);
}

export function packet(p: Packet): Output {
  if (!p.isIp) {
    counter(Counters.notIp).add(1);
    return OUTPUT_NEXT;
  }
  const key = byFlow ? flowKey(p, params.seed) : prefixKey(p, 0, 32, 128, params.seed);
  const time = <u32>(now() / SECOND);
  const isTcp = p.isTransport(PROTOCOL_TCP);
  const begins = isTcp && (Tcp.of(p).flags & (TCP_SYN | TCP_ACK)) == TCP_SYN;
  const known = recall(key, time, timeout);
  let backend: usize = known == 0 ? 0 : backendOf(known);
  // The same addresses and ports again: a new connection all the same.
  if (begins && backend != 0 && drains(backend)) backend = 0;
  if (backend == 0) {
    backend = choose(key, isTcp && !begins && known == 0);
    if (backend == 0) {
      counter(Counters.noBackend).add(1);
      return OUTPUT_DROP;
    }
    if (known != 0 && backendOf(known) == 0) counter(Counters.moved).add(1);
    if (remember(key, idOf(backend), time, timeout)) counter(Counters.evicted).add(1);
    counter(Counters.connections + indexOf(backend)).add(1);
  }
  counter(Counters.packets + indexOf(backend)).add(1);
  return viaOf(backend);
}

/** A backend by the table. @param all of all, for what may have begun at one that is drained since @returns 0: there is none */
function choose(key: u64, all: bool): usize {
  const entry = <u32>(((key >> 32) * <u64>size) >> 32);
  const found = load<u16>((all ? whole : open) + <usize>entry * ENTRY);
  return found == NONE ? 0 : placeAt(found);
}
