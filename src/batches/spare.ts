/**
 * Memory that a pipeline takes while it runs: grown behind what the plan has laid out, given back, and taken again. Thread: the
 * main one; others see what was grown through views made anew (PacketMemory.renew).
 */
import type { PacketMemory } from "./memory.ts";

const PAGE = 65536;
const LINE = 64;

interface Free {
  address: number;
  bytes: number;
}

/** There is no more: addresses are 32 bits wide, and machines have limits. */
export class NoMemory extends Error {}

export class SpareMemory {
  private readonly m: PacketMemory;
  /** By address, none next to another. */
  private free: Free[] = [];

  constructor(m: PacketMemory) {
    this.m = m;
  }

  /** @returns the address of so many bytes, zeroed, a multiple of 64 @throws NoMemory */
  take(bytes: number): number {
    const size = lines(bytes);
    const found = this.free.find((one) => one.bytes >= size) ?? this.grow(size);
    const { address } = found;
    found.address += size;
    found.bytes -= size;
    this.free = this.free.filter((one) => one.bytes > 0);
    this.m.u8.fill(0, address, address + size);
    return address;
  }

  /** @param range what take() gave, or the plan; nobody looks at it any more */
  give({ address, bytes }: { address: number; bytes: number }): void {
    if (bytes === 0) return;
    this.free.push({ address, bytes: lines(bytes) });
    this.free.sort((a, b) => a.address - b.address);
    this.free = this.free.reduce<Free[]>((joined, one) => {
      const last = joined.at(-1);
      if (last !== undefined && last.address + last.bytes === one.address) last.bytes += one.bytes;
      else joined.push(one);
      return joined;
    }, []);
  }

  private grow(bytes: number): Free {
    const { memory } = this.m;
    const end = memory.buffer.byteLength;
    const last = this.free.at(-1);
    // What is free at the end is a part of it.
    const there = last !== undefined && last.address + last.bytes === end ? last.bytes : 0;
    const pages = Math.ceil((bytes - there) / PAGE);
    let address: number;
    try {
      address = memory.grow(pages) * PAGE;
    } catch {
      throw new NoMemory(`${Math.ceil((pages * PAGE) / 2 ** 20)} MiB more than there is`);
    }
    this.m.renew();
    this.give({ address, bytes: pages * PAGE });
    return this.free.at(-1)!;
  }
}

function lines(bytes: number): number {
  return Math.ceil(bytes / LINE) * LINE;
}
