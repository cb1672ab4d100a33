// Words for whoever runs the pipeline: a message of filter.yaml's `logs` with up to two numbers, which the host puts into
// its text and prints. Bounded: an instance that says more than 32 in a tenth of a second loses the rest, counted.
//
// Example: logs: { slow: "no answer from {a:ipv4} for {b:duration}" }, and then
//
//   log(Logs.slow, Ipv4.of(p).source, 5_000_000_000);

import { contextAddress } from "../abi/context";
import { CONTEXT_LOG, CONTEXT_WALL_CLOCK } from "../abi/layout";

// The twin of src/batches/log.ts, where it is drawn.
const HEAD: usize = 0;
const LOST: usize = 4;
const TAIL: usize = 64;
const ENTRIES: usize = 128;
const RECORD: u32 = 32;
const RECORDS: u32 = 32;

/**
 * Says a message. Costs some 5 ns, whether anybody listens or not; still, say what happens now and then, and count what happens
 * to packets. Never fails: beyond 32 in a tenth of a second messages are lost, counted, and that is said.
 * @param message Logs.NAME of the generated "./params"
 * @param a number for {a} in its text: an address, ns for a duration
 * @param b number for {b}
 */
export function log(message: u32, a: u64 = 0, b: u64 = 0): void {
  const ring = <usize>load<u32>(contextAddress, CONTEXT_LOG);
  if (ring == 0) return;
  const head = load<u32>(ring, HEAD);
  if (head - atomic.load<u32>(ring, TAIL) >= RECORDS) {
    store<u32>(ring, load<u32>(ring, LOST) + 1, LOST);
    return;
  }
  const record = ring + ENTRIES + <usize>((head % RECORDS) * RECORD);
  store<u64>(record, load<u64>(contextAddress, CONTEXT_WALL_CLOCK));
  store<u32>(record, message, 8);
  store<u64>(record, a, 16);
  store<u64>(record, b, 24);
  atomic.store<u32>(ring, head + 1, HEAD);
}
