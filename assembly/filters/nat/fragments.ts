// Fragments (RFC 4787 REQ-14). The first has the ports, so it is translated as any packet, and where it went is kept with the
// datagram's name; the others go the same way, with other addresses and nothing else changed. One that comes before its first is
// held until that has come, or for `fragment-wait`: the first may come in another batch, or to another worker.

import {
  Batch,
  counter,
  emit,
  IPV4_CHECKSUM,
  IPV4_SOURCE,
  now,
  OUTPUT_DROP,
  OUTPUT_HOLD,
  Output,
  Packet,
} from "pktflow/assembly";
import { FRAGMENT_EVICTED } from "pktflow/assembly/lib/fragment-table";
import { FragmentWait } from "pktflow/assembly/lib/fragment-wait";
import { Counters, params } from "./params";
import { change, Rewrite } from "./rewrite";
import { fragments } from "./settings";

/** Not yet decided: the first fragment may come later. It is held then. */
export const OUTPUT_PENDING: Output = OUTPUT_HOLD;

let waiting: FragmentWait = changetype<FragmentWait>(0);
/** Does any wait here? */
export let isWaiting: bool = false;

/** @param at FragmentWait.bytes of the worker's state */
export function openWaiting(at: usize): void {
  // An instance that is made anew has lost what it held.
  waiting = FragmentWait.format(at);
  isWaiting = false;
}

/**
 * Keeps where a first fragment went.
 * @param came its source and destination before it was translated
 */
export function keepFirst(p: Packet, came: u64, output: Output): void {
  if (output == OUTPUT_DROP) return;
  const at = p.ip + IPV4_SOURCE;
  const went = load<u64>(at);
  // The others come with the addresses that this one came with.
  store<u64>(at, came);
  if (fragments.put(p, went, output, now()) == FRAGMENT_EVICTED) counter(Counters.fragmentsEvicted).add(1);
  store<u64>(at, went);
}

/** Sends a fragment without ports where its first one went. @returns OUTPUT_PENDING when that is not known */
export function follow(p: Packet): Output {
  if (!fragments.find(p, now())) return OUTPUT_PENDING;
  const went = fragments.value;
  readdress(p, <u32>went, <u32>(went >> 32));
  counter(Counters.fragments).add(1);
  return <Output>fragments.other;
}

/** Those whose first fragment came behind them in the batch; the others have to wait for it. */
export function followLater(b: Batch, count: u32): void {
  for (let i: u32 = 0; i < count; i++) {
    const p = b.at(i);
    if (p.output == OUTPUT_PENDING) p.output = follow(p);
  }
  const refused = waiting.holdAll(b, now() + params.fragmentWait);
  if (refused != 0) counter(Counters.fragment).add(refused);
  isWaiting = waiting.count != 0;
}

/** Lets go of those whose first fragment has come, or that have waited long enough. */
export function followHeld(): void {
  const time = now();
  for (let i: u32 = 0; i < waiting.count; ) {
    const p = waiting.at(i);
    let output = follow(p);
    if (output == OUTPUT_PENDING) {
      if (waiting.dueOf(i) > time) {
        i++;
        continue;
      }
      counter(Counters.fragment).add(1);
      output = OUTPUT_DROP;
    } else {
      counter(Counters.fragmentsWaited).add(1);
    }
    waiting.remove(i);
    emit(p, output);
  }
  isWaiting = waiting.count != 0;
  waiting.wake(time);
}

/** Puts other addresses into the IPv4 header, and nothing else. */
export function readdress(p: Packet, source: u32, destination: u32): void {
  const ip = p.ip;
  const at = ip + IPV4_SOURCE;
  const first = change(load<u32>(at), source);
  const second = change(load<u32>(at, 4), destination);
  store<u32>(at, source);
  store<u32>(at, destination, 4);
  const once = Rewrite.changed(load<u16>(ip, IPV4_CHECKSUM), first);
  store<u16>(ip, Rewrite.changed(once, second), IPV4_CHECKSUM);
}
