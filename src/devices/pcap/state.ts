/**
 * What a capture's port knows that must outlive its thread: a worker that is ended in a filter that does not end is replaced, and
 * the next one goes on where it was. At the end of the port's buffer, written by the worker between two batches.
 *
 *    0               4       8          12      64
 *   +---------------+-------+----------+-------+-----------------------------+
 *   | descriptor + 1| used  | records  | begun | datagrams of each record    |     descriptor: of the file that is read
 *   +---------------+-------+----------+-------+-----------------------------+     used: bytes of records that wait
 *   begun: bytes of the first of them that a pipe has
 */
import type { PacketMemory } from "../../batches/memory.ts";

const DESCRIPTOR = 0;
const USED = 1;
const RECORDS = 2;
const BEGUN = 3;
const HEADER_BYTES = 64;

/** @param records that may wait to be written */
export function stateBytes(records: number): number {
  return HEADER_BYTES + 4 * records;
}

export class PcapState {
  readonly datagrams: Uint32Array;
  private readonly words: Uint32Array;

  /** @param buffer the port's @param records as for stateBytes() */
  constructor(m: PacketMemory, buffer: { address: number; bytes: number }, records: number) {
    const address = buffer.address + buffer.bytes - stateBytes(records);
    this.words = new Uint32Array(m.memory.buffer, address, HEADER_BYTES / 4);
    this.datagrams = new Uint32Array(m.memory.buffer, address + HEADER_BYTES, records);
  }

  /** The file that is read; -1: none is open. */
  get descriptor(): number {
    return this.words[DESCRIPTOR] - 1;
  }
  set descriptor(fd: number) {
    this.words[DESCRIPTOR] = fd + 1;
  }

  get used(): number {
    return this.words[USED];
  }
  get records(): number {
    return this.words[RECORDS];
  }
  get begun(): number {
    return this.words[BEGUN];
  }
  waiting(used: number, records: number, begun: number): void {
    this.words[USED] = used;
    this.words[RECORDS] = records;
    this.words[BEGUN] = begun;
  }
}
