// Records of sessions and mappings that a worker took in advance for the batch at hand: lib/record-stash.ts. In the shared state, a
// cache line for each worker: where one was ended in its batch, what it had comes to light when its next instance opens.

import { worker } from "pktflow/assembly";
import { RecordStash } from "pktflow/assembly/lib/record-stash";
import { mappings, sessions, stashes } from "./settings";

const LINE: usize = 64;
/** Those beyond take their records one by one. */
const WORKERS: u32 = 64;
export const STASHES_BYTES: usize = <usize>WORKERS * LINE;

/** Both at address 0 where this worker has none. */
export let sessionStash: RecordStash = changetype<RecordStash>(0);
export let mappingStash: RecordStash = changetype<RecordStash>(0);

export function openStashes(): void {
  if (worker() >= WORKERS) return;
  const at = stashes + <usize>worker() * LINE;
  sessionStash = RecordStash.at(at);
  mappingStash = RecordStash.at(at + RecordStash.BYTES);
  giveStashesBack();
}

/** @param count packets that may need a session, and a mapping */
export function fillStashes(count: u32): void {
  if (changetype<usize>(sessionStash) == 0) return;
  sessionStash.fill(sessions.records, count);
  mappingStash.fill(mappings.records, count);
}

export function giveStashesBack(): void {
  if (changetype<usize>(sessionStash) == 0) return;
  sessionStash.giveBack(sessions.records);
  mappingStash.giveBack(mappings.records);
}
