// The listed names, found by their ends: a name's hash is taken from its last octet to its first, so that on the way through a
// query's name every suffix at the beginning of a label has its hash, and is looked up. What is found is held against the text
// itself, which lies among the parameters: names whose hashes are alike are not confused.
//
//    0      8      12        16
//   +------+------+---------+--------+--------+--            seed: nobody outside knows which names share a place
//   | seed | mask | deepest | slot 0 | slot 1 | ...          deepest: most labels of any name
//   +------+------+---------+--------+--------+--
//    a slot, 8 bytes: the text's address, 0: none; then 23 bits of its hash, an exception or not, its length
//
// Open addressing with linear probing, at most half full. Built before the workers have it, and read by all of them; other lists make
// another one.

import { preparedState, random } from "pktflow/assembly";
import { mix } from "pktflow/assembly/lib/flow-key";
import { params, Text } from "./params";
import { labelCount, labelStart, nameLength, nameText } from "./question";

const MASK: usize = 8;
const DEEPEST: usize = 12;
const SLOTS: usize = 16;
const BLANK: u8 = 0x20;
const DOT: u8 = 0x2e;
/** Of a slot's second word. */
const EXCEPTION: u32 = 0x100;
const TAG: u32 = ~EXCEPTION;

export const UNLISTED: u32 = 0;
export const LISTED: u32 = 1;
export const EXCEPTED: u32 = 2;

/** Which label of the query's the name that was found begins with. */
export let foundLabel: u32 = 0;

export function namesBytes(): usize {
  return SLOTS + ((<usize>slots()) << 3);
}

function slots(): u32 {
  let names: u32 = 0;
  for (let i = 0; i < params.names.length; i++) names += namesIn(params.names.at(i));
  for (let i = 0; i < params.except.length; i++) names += namesIn(params.except.at(i));
  return names < 8 ? 16 : (<u32>2) << (32 - clz<u32>(names - 1));
}

function namesIn(text: Text): u32 {
  if (text.length == 0) return 0;
  let names: u32 = 1;
  for (let i: u32 = 0; i < text.length; i++) if (load<u8>(text.address + i) == BLANK) names++;
  return names;
}

export function buildNames(): void {
  const state = preparedState();
  store<u64>(state, random());
  store<u32>(state, slots() - 1, MASK);
  for (let i = 0; i < params.names.length; i++) insertAll(params.names.at(i), 0);
  for (let i = 0; i < params.except.length; i++) insertAll(params.except.at(i), EXCEPTION);
}

/** Names with a blank between them. */
function insertAll(text: Text, flag: u32): void {
  const end = text.address + text.length;
  for (let at = text.address; at < end; ) {
    let behind = at;
    while (behind < end && load<u8>(behind) != BLANK) behind++;
    insert(at, <u32>(behind - at), flag);
    at = behind + 1;
  }
}

function insert(at: usize, length: u32, flag: u32): void {
  const state = preparedState();
  let hash = load<u64>(state);
  let labels: u32 = 1;
  for (let i = length; i > 0; i--) {
    const octet = load<u8>(at + i - 1);
    hash = step(hash, octet);
    if (octet == DOT) labels++;
  }
  hash = mix(hash);
  store<u32>(state, max(load<u32>(state, DEEPEST), labels), DEEPEST);
  const slot = find(at, length, hash);
  // Listed twice, it keeps its place, and what says that it is an exception.
  if (load<u32>(slot) == 0) store<u32>(slot, <u32>at);
  store<u32>(slot, (load<u32>(slot, 4) & EXCEPTION) | tagOf(hash, length) | flag, 4);
}

/** FNV-1a's step (Fowler, Noll, Vo; RFC 9923). */
function step(hash: u64, octet: u8): u64 {
  return (hash ^ <u64>octet) * 0x100000001b3;
}

function tagOf(hash: u64, length: u32): u32 {
  return (<u32>(hash >> 32) & 0xfffffe00) | length;
}

/** The slot of a name, or the free one where it would be. */
function find(text: usize, length: u32, hash: u64): usize {
  const state = preparedState();
  const mask = load<u32>(state, MASK);
  const tag = tagOf(hash, length);
  let i = <u32>hash & mask;
  let slot = state + SLOTS + ((<usize>i) << 3);
  while (load<u32>(slot) != 0 && !isName(slot, tag, text, length)) {
    i = (i + 1) & mask;
    slot = state + SLOTS + ((<usize>i) << 3);
  }
  return slot;
}

function isName(slot: usize, tag: u32, text: usize, length: u32): bool {
  return (load<u32>(slot, 4) & TAG) == tag && memory.compare(<usize>load<u32>(slot), text, length) == 0;
}

/** Whether the query's name, or one above it, is listed: what holds for the longest that is. */
export function findName(): u32 {
  const state = preparedState();
  const deepest = load<u32>(state, DEEPEST);
  const text = nameText();
  let hash = load<u64>(state);
  let end = nameLength;
  let found = UNLISTED;
  for (let label = labelCount; label > 0 && labelCount - label < deepest; label--) {
    const start = labelStart(label - 1);
    for (let i = end; i > start; i--) hash = step(hash, load<u8>(text + i - 1));
    const slot = find(text + start, nameLength - start, mix(hash));
    if (load<u32>(slot) != 0) {
      found = (load<u32>(slot, 4) & EXCEPTION) != 0 ? EXCEPTED : LISTED;
      foundLabel = label - 1;
    }
    if (start == 0) break;
    hash = step(hash, DOT);
    end = start - 1;
  }
  return found;
}
