import {
  counter,
  Ipv4,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  random,
  workerState,
} from "pktflow/assembly";
import { TokenBucket } from "pktflow/assembly/lib/token-bucket";
import { WorkerTable } from "pktflow/assembly/lib/worker-table";
import { Counters, params } from "./params";

/** A bucket, and whether it was filled: a table's new values are zeros. */
const FILLED: usize = TokenBucket.BYTES;
const VALUE_BYTES: u32 = <u32>TokenBucket.BYTES + 8;

export function workerStateSize(_at: usize): usize {
  return WorkerTable.bytes(params.clients, VALUE_BYTES);
}

export function init(): void {
  WorkerTable.format(workerState(), params.clients, VALUE_BYTES, random());
}

export function packet(p: Packet): Output {
  const clients = WorkerTable.at(workerState());
  let value: usize;
  if (p.isIpv4) value = clients.put(0, Ipv4.of(p).source, now());
  // The source address of IPv6 is at bytes 8 to 23 of its header (RFC 8200, 3).
  else if (p.isIpv6) value = clients.put(load<u64>(p.ip, 8), load<u64>(p.ip, 16), now());
  else return OUTPUT_NEXT;
  const bucket = TokenBucket.at(value);
  if (load<u32>(value, FILLED) == 0) {
    store<u32>(value, 1, FILLED);
    bucket.fill(params.burst, now());
    counter(Counters.clients).add(1);
  }
  // A packet of the kernel's may carry several datagrams (GSO).
  if (bucket.take(p.datagrams, params.rate, params.burst, now())) return OUTPUT_NEXT;
  counter(Counters.limited).add(1);
  return OUTPUT_DROP;
}
