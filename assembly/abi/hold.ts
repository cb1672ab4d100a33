// Packets beyond the batch: a filter may keep one, make one, and let go of either in a later batch, in tick() or in wake(),
// by any of its outputs. How many it has at a time is bounded by `holds` in its manifest. Kept and made ones are the same
// afterwards: the filter holds them, the report counts them, and each must be emitted at last.
//
//   packet(p)  hold(p), return OUTPUT_HOLD      keeps it; it goes on where it was, when it is emitted
//              copyOf(p), freshPacket(p)        makes one, which goes on where p is
//   any time   emit(p, output)                  it leaves: not to be touched any more
//              wakeAt(time)                     then wake() is called
//
// Example: one packet at a time waits for a millisecond; what comes meanwhile goes on.
//
//   let waiting: Packet = changetype<Packet>(0);
//   export function packet(p: Packet): Output {
//     if (held() != 0 || !hold(p)) return OUTPUT_NEXT;
//     waiting = p;
//     wakeAt(now() + 1000000);
//     return OUTPUT_HOLD;
//   }
//   export function wake(): void {
//     emit(waiting, OUTPUT_NEXT);
//   }

import { contextAddress } from "./context";
import {
  BATCH_COUNT,
  BATCH_ENTRIES,
  CONTEXT_BAD_OUTPUTS,
  CONTEXT_DESCRIPTORS,
  CONTEXT_DUE,
  CONTEXT_EMITTED,
  CONTEXT_FREE,
  CONTEXT_FRESH,
  CONTEXT_HELD,
  CONTEXT_HOLD_LIMIT,
  CONTEXT_HOLDER,
  CONTEXT_HOLDERS,
  CONTEXT_STEP,
  DESCRIPTOR_L3,
  DESCRIPTOR_SLOT,
  HEADROOM,
  OUTPUT_HOLD,
} from "./layout";
import { Output, Packet } from "./packet";

const STEP_MASK: u32 = 0xff;
const HOLDER_MASK: u32 = 0xffff0000;
const HOLDER_EMITTED: u32 = 0x80000000;
const HOLDER_OUTPUT: usize = 1;

/** Where it stands who holds a packet. */
function holderOf(p: Packet): usize {
  const index = (<u32>changetype<usize>(p) - load<u32>(contextAddress, CONTEXT_DESCRIPTORS)) >> 6;
  return <usize>(load<u32>(contextAddress, CONTEXT_HOLDERS) + (index << 2));
}

/** How many packets this instance holds, fresh ones that it has not emitted included. Never fails. */
export function held(): u32 {
  return load<u32>(contextAddress, CONTEXT_HELD);
}

/**
 * How many it may hold at a time: what its manifest asks for, or less where slots are long and there is too little memory. Never fails.
 * @returns 0: its manifest has no `holds`
 * @example
 *   const isFull = held() >= holdLimit();
 */
export function holdLimit(): u32 {
  return load<u32>(contextAddress, CONTEXT_HOLD_LIMIT);
}

/**
 * Keeps a packet of the batch at hand: return OUTPUT_HOLD for it.
 * @param p a packet of the batch
 * @returns false: no more may be held; it must leave by an output
 */
export function hold(p: Packet): bool {
  const count = held();
  if (count >= holdLimit()) return false;
  store<u32>(contextAddress, count + 1, CONTEXT_HELD);
  store<u32>(
    holderOf(p),
    load<u32>(contextAddress, CONTEXT_HOLDER) | load<u32>(contextAddress, CONTEXT_STEP),
  );
  p.output = OUTPUT_HOLD;
  return true;
}

/**
 * Lets go of a packet that is held, and so may another be. One that is not held, or emitted already, goes nowhere and is counted as a
 * bad output; what is not a packet is not checked.
 * @param p the packet, not to be touched any more
 * @param output by which it leaves: OUTPUT_NEXT, OUTPUT_DROP, or one that the manifest names
 */
export function emit(p: Packet, output: Output): void {
  const at = holderOf(p);
  const id = load<u32>(contextAddress, CONTEXT_HOLDER);
  if ((load<u32>(at) & HOLDER_MASK) != id) {
    store<u64>(contextAddress, load<u64>(contextAddress, CONTEXT_BAD_OUTPUTS) + 1, CONTEXT_BAD_OUTPUTS);
    return;
  }
  // It has as much room as there are packets, and each is in it once.
  const batch = <usize>load<u32>(contextAddress, CONTEXT_EMITTED);
  const count = load<u32>(batch, BATCH_COUNT);
  // Not in the descriptor: what packet() returns, for a packet of the batch at hand, is written there yet.
  store<u8>(at, output, HOLDER_OUTPUT);
  store<u32>(at, load<u32>(at) | HOLDER_EMITTED);
  store<u32>(contextAddress, held() - 1, CONTEXT_HELD);
  store<u32>(batch + BATCH_ENTRIES + ((<usize>count) << 2), <u32>changetype<usize>(p));
  store<u32>(batch, count + 1, BATCH_COUNT);
}

/**
 * A fresh packet, held from now on: no bytes, which are to begin at `data`, no headers, no flags.
 * @param like it goes on where this one is, in the batch or held; all else of it is left out
 * @returns address 0: no more may be held, or no slot is free
 * @example
 *   const answer = freshPacket(p);
 *   if (changetype<usize>(answer) == 0) return OUTPUT_DROP;
 */
export function freshPacket(like: Packet): Packet {
  const count = held();
  const free = <usize>load<u32>(contextAddress, CONTEXT_FREE);
  const left = load<u32>(free, BATCH_COUNT);
  if (count >= holdLimit() || left == 0) return changetype<Packet>(0);
  store<u32>(free, left - 1, BATCH_COUNT);
  const at = <usize>load<u32>(free + BATCH_ENTRIES + ((<usize>(left - 1)) << 2));
  const p = changetype<Packet>(at);
  store<u32>(contextAddress, count + 1, CONTEXT_HELD);
  store<u64>(contextAddress, load<u64>(contextAddress, CONTEXT_FRESH) + 1, CONTEXT_FRESH);
  const id = load<u32>(contextAddress, CONTEXT_HOLDER);
  const where = load<u32>(holderOf(like));
  const step = (where & HOLDER_MASK) == id ? where & STEP_MASK : load<u32>(contextAddress, CONTEXT_STEP);
  store<u32>(holderOf(p), id | step);
  memory.fill(at + DESCRIPTOR_L3, 0, DESCRIPTOR_SLOT - DESCRIPTOR_L3);
  p.data = p.slot + HEADROOM;
  p.length = 0;
  p.device = like.device;
  p.queue = like.queue;
  p.datagrams = 1;
  p.timestamp = like.timestamp;
  p.output = OUTPUT_HOLD;
  return p;
}

/**
 * A fresh packet like another, bytes, headers, marks and all, held from now on.
 * @param other a packet of the batch, or one that is held
 * @returns address 0: no more may be held, no slot is free, or it is longer than a slot
 * @example
 *   const copy = copyOf(p);
 *   if (changetype<usize>(copy) != 0) emit(copy, OUTPUT_NEXT);
 */
export function copyOf(other: Packet): Packet {
  const length = other.length;
  const p = freshPacket(other);
  if (changetype<usize>(p) == 0) return p;
  if (HEADROOM + length > p.capacity) {
    giveBack(p);
    return changetype<Packet>(0);
  }
  memory.copy(p.data, other.data, length);
  memory.copy(
    changetype<usize>(p) + DESCRIPTOR_L3,
    changetype<usize>(other) + DESCRIPTOR_L3,
    DESCRIPTOR_SLOT - DESCRIPTOR_L3,
  );
  p.length = length;
  p.output = OUTPUT_HOLD;
  return p;
}

/**
 * Undoes freshPacket() or copyOf(): the packet has never been. Needs that it has not been emitted.
 * @param p the packet, not to be touched any more
 * @example
 *   const fresh = freshPacket(p);
 *   if (changetype<usize>(fresh) != 0) giveBack(fresh);
 */
export function giveBack(p: Packet): void {
  const free = <usize>load<u32>(contextAddress, CONTEXT_FREE);
  const left = load<u32>(free, BATCH_COUNT);
  store<u32>(holderOf(p), 0);
  store<u32>(contextAddress, held() - 1, CONTEXT_HELD);
  store<u64>(contextAddress, load<u64>(contextAddress, CONTEXT_FRESH) - 1, CONTEXT_FRESH);
  store<u32>(free + BATCH_ENTRIES + ((<usize>left) << 2), <u32>changetype<usize>(p));
  store<u32>(free, left + 1, BATCH_COUNT);
}

/**
 * Asks for wake() to be called once, as soon after a time as the machine can; what was asked for before is forgotten. Never fails. Does
 * nothing unless filter.yaml has `holds`.
 * @param time ns as now() counts them; one that is past: at once; 0: never
 */
export function wakeAt(time: u64): void {
  store<u64>(contextAddress, time, CONTEXT_DUE);
}
