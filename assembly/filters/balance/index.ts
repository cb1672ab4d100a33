// A load balancer's choice: which backend a packet belongs to. A connection that is remembered goes where it went; a new one by
// the Maglev table, which is the same on every balancer with the same backends. So a balancer that is restarted, or another
// one, sends most connections where they were, without having seen their beginning.
//
// Drain without memory: a TCP segment that begins no connection belongs to one that began before, maybe at a backend that is
// drained since. So there are two tables: of those that take new connections, and of all.

import {
  counter,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_TCP,
  sharedState,
  TCP_ACK,
  TCP_SYN,
  Tcp,
} from "pktflow/assembly";
import { flowKey, prefixKey } from "pktflow/assembly/lib/flow-key";
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

export function sharedStateSize(_: usize): usize {
  return (
    HEADER + scratchBytes() + 2 * tableBytes(primeFrom(params.size)) + connectionsBytes(params.connections)
  );
}

export function initShared(): void {
  const entries = primeFrom(params.size);
  const state = sharedState();
  const scratch = state + HEADER;
  store<u32>(state, entries);
  build(scratch + scratchBytes(), entries, scratch, false);
  build(scratch + scratchBytes() + tableBytes(entries), entries, scratch, true);
}

export function init(): void {
  const state = sharedState();
  size = load<u32>(state);
  open = state + HEADER + scratchBytes();
  whole = open + tableBytes(size);
  openConnections(whole + tableBytes(size), params.connections);
  timeout = <u32>(params.timeout / SECOND);
  byFlow = params.by == By.flow;
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
  let backend = recall(key, time, timeout);
  // The same addresses and ports again: a new connection all the same.
  if (backend >= 0 && begins && params.backends.at(backend).drain) backend = -1;
  if (backend < 0) {
    const table = isTcp && !begins ? whole : open;
    const entry = <u32>(((key >> 32) * <u64>size) >> 32);
    const found = load<u16>(table + <usize>entry * ENTRY);
    if (found == NONE) {
      counter(Counters.noBackend).add(1);
      return OUTPUT_DROP;
    }
    backend = <i32>found;
    if (remember(key, backend, time, timeout)) counter(Counters.evicted).add(1);
    counter(Counters.connections + <u32>backend).add(1);
  }
  counter(Counters.packets + <u32>backend).add(1);
  return params.backends.at(backend).via;
}
