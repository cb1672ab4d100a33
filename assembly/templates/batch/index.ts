import { Batch, counter, OUTPUT_DROP, OUTPUT_NEXT } from "pktflow/assembly";
import { Counters, params } from "./params"; // generated from filter.yaml

/** Called for each batch of 1 to 64 packets; sets the output of every one. */
export function batch(b: Batch): void {
  // What is the same for all packets is read once.
  const longest = params.longest;
  let dropped: u32 = 0;
  for (let i: u32 = 0; i < b.count; i++) {
    const p = b.at(i);
    const tooLong = p.length > longest;
    p.output = tooLong ? OUTPUT_DROP : OUTPUT_NEXT;
    if (tooLong) dropped++;
  }
  counter(Counters.tooLong).add(dropped);
}
