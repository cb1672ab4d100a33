/** What V8 says under --trace-gc and --trace-deopt, read. In: standard output of a process. Pure. */

/** Collections of the workers' heaps in a span of time. */
export interface Garbage {
  scavenges: number;
  /** Of the old generation: mark-compact. */
  majors: number;
  /** Pauses together, ms. */
  paused: number;
  /** Allocated from one collection to the next, bytes; V8 tells tenths of a MB. */
  bytes: number;
}

export interface Deoptimisation {
  name: string;
  /** "deopt-eager", "deopt-lazy", ... */
  kind: string;
  reason: string;
}

const COLLECTION =
  /^\[\d+:(0x[0-9a-f]+)\]\s+\d+ ms: ([A-Za-z-]+)[^0-9]*([\d.]+) \([\d.]+\) -> ([\d.]+) \([\d.]+\) MB, ([\d.]+)/;
const BAILOUT = /^\[bailout \(kind: ([^,]+), reason: (.*?)\): begin.*?<JSFunction ([^ >(]*)/;

/**
 * @param output from the start of the process: the first heap to be collected is the main thread's
 * @param span the part of it that counts
 */
export function readGarbage(output: string, span: string): Garbage {
  const main = output.match(new RegExp(COLLECTION, "m"))?.[1];
  const found: Garbage = { scavenges: 0, majors: 0, paused: 0, bytes: 0 };
  const left = new Map<string, number>();
  const before = output.slice(0, output.lastIndexOf(span));
  for (const [counts, text] of [
    [false, before],
    [true, span],
  ] as const) {
    for (const line of text.split("\n")) {
      const match = line.match(COLLECTION);
      if (match === null || match[1] === main) continue;
      const [, heap, kind, from, to, pause] = match;
      if (counts) {
        if (kind === "Scavenge") found.scavenges++;
        else found.majors++;
        found.paused += Number(pause);
        found.bytes += Math.max(0, Number(from) - (left.get(heap) ?? Number(from))) * 2 ** 20;
      }
      left.set(heap, Number(to));
    }
  }
  return found;
}

/** In the order in which they happened, of whatever thread. */
export function readDeoptimisations(output: string): Deoptimisation[] {
  return output.split("\n").flatMap((line) => {
    const match = line.match(BAILOUT);
    return match === null ? [] : [{ name: match[3] || "(anonymous)", kind: match[1], reason: match[2] }];
  });
}
