// Records of sessions and mappings that this worker took in advance for the batch at hand: lib/record-stash.ts.

import { RecordStash } from "pktflow/assembly/lib/record-stash";
import { mappings, sessions } from "./settings";

/** Of the worker's state, a cache line. */
export const STASH_BYTES: usize = 64;
const MAPPING: usize = RecordStash.BYTES;

export let sessionStash: RecordStash = changetype<RecordStash>(0);
export let mappingStash: RecordStash = changetype<RecordStash>(0);

/** @param at of the worker's state */
export function openStashes(at: usize): void {
  sessionStash = RecordStash.at(at);
  mappingStash = RecordStash.at(at + MAPPING);
}

/** @param count packets that may need a session, and a mapping */
export function fillStashes(count: u32): void {
  sessionStash.fill(sessions.records, count);
  mappingStash.fill(mappings.records, count);
}

export function giveStashesBack(): void {
  sessionStash.giveBack(sessions.records);
  mappingStash.giveBack(mappings.records);
}
