/** Hands out ranges of the pipeline's memory, upwards, and says at the end how large it must be. */
import type { Range } from "./types.ts";

export const PAGE = 65536;
/** Of a memory whose addresses are 32 bits wide. */
export const MOST_PAGES = 65536;
const CACHE_LINE = 64;

export class Allocator {
  // The first page stays unused: an address of 0, or a small offset from it, hits nothing that matters.
  private next = PAGE;

  /** @param align a power of two; a cache line unless said, so that two workers never write to one line. */
  take(bytes: number, align = CACHE_LINE): number {
    const address = Math.ceil(this.next / align) * align;
    this.next = address + bytes;
    return address;
  }

  range(bytes: number): Range {
    return { address: this.take(bytes), bytes };
  }

  get bytes(): number {
    return this.next;
  }

  get pages(): number {
    return Math.ceil(this.next / PAGE);
  }
}

/**
 * Bytes of a packet slot. An odd number of cache lines: with a power of two, the headers of all slots would fall
 * into the same few sets of the L1 cache.
 */
export function slotBytes(headroom: number, longestPacket: number): number {
  const lines = Math.ceil((headroom + longestPacket) / CACHE_LINE);
  return (lines % 2 === 0 ? lines + 1 : lines) * CACHE_LINE;
}
