/**
 * What the benchmark's datagrams carry. Their first four bytes say what they are, for ports and addresses may be
 * translated on the way.
 */

/** The load: dropped where it arrives, by the kernel. */
export const LOAD = [0x70, 0x66, 0x4c, 0x44];
/** A probe, which carries its time of sending. */
export const PROBE = [0x70, 0x66, 0x50, 0x52];

/** Words of a probe's payload: mark, phase, CLOCK_REALTIME seconds modulo 2^32, nanoseconds. */
export const PROBE_WORD = { MARK: 0, PHASE: 1, SECONDS: 2, NANOSECONDS: 3, WORDS: 4 } as const;

/** Bytes of the headers before the payload, by address length. */
export function headerBytes(octets: readonly number[]): number {
  return (octets.length === 4 ? 20 : 40) + 8;
}
