/**
 * A file seen through a window of the pipeline's memory: read(2) fills it in large pieces, records are parsed where they
 * lie, and what has been used makes room for the next piece. So memory does not grow with the file. Thread: the worker's.
 */
import type { PacketMemory } from "../../batches/memory.ts";
import { POLLIN, ppoll, read } from "../../sys/calls.ts";
import { EAGAIN, EINTR, SystemError } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";

/** What a step of reading came to. */
export const STATUS = {
  /** What was asked for is there. */
  READY: 1,
  /** A pipe has nothing at the moment. */
  DRY: 0,
  /** The file ends here. */
  END: -1,
  /** It cannot be read on; `error` says why. */
  FAILED: -2,
} as const;
export type Status = (typeof STATUS)[keyof typeof STATUS];

/** Bytes of memory that reading a capture needs for each queue; no record or block may be longer. */
export const PCAP_READ_BYTES = 512 * 1024;
/** Bytes a read(2): what was read stays in the second-level cache until it is parsed. */
const CHUNK = 128 * 1024;

export interface WindowFile {
  /** For messages: the path. */
  name: string;
  fd: number;
  /** Reading may have to wait for a writer: a pipe, a terminal, a socket. */
  pipe: boolean;
}

export class Window {
  readonly u8: Uint8Array;
  readonly name: string;
  /** Address of the next byte that was not used. */
  at: number;
  /** Offset of that byte in the file. */
  offset = 0;
  /** Address behind the last byte that was read. */
  end: number;
  error: Error | undefined;
  /** Keep what was used while there is room, so that it can be handed to another reader. */
  keep = false;
  private readonly file: WindowFile;
  private readonly start: number;
  private readonly limit: number;
  private readonly base: number;
  private readonly pollfd = new Int32Array(new SharedArrayBuffer(8));
  private readonly pollfdAddress: number;
  private ended = false;
  /** Bytes still to be passed over that have not been read yet. */
  private behind = 0;

  constructor(m: PacketMemory, buffer: { address: number; bytes: number }, file: WindowFile) {
    this.u8 = m.u8;
    this.name = file.name;
    this.file = file;
    this.start = buffer.address;
    this.limit = buffer.address + buffer.bytes;
    this.at = this.start;
    this.end = this.start;
    this.base = addressOf(m.memory.buffer);
    this.pollfd[0] = file.fd;
    this.pollfd[1] = POLLIN;
    this.pollfdAddress = addressOf(this.pollfd);
  }

  /** Bytes that can be looked at now. */
  get available(): number {
    return this.end - this.at;
  }

  /** Starts with bytes that someone else has already taken from the pipe. */
  prepend(bytes: Uint8Array): void {
    this.u8.set(bytes, this.end);
    this.end += bytes.length;
  }

  /** Everything read so far. Meant for a window that keeps; undefined if it could not. */
  taken(): Uint8Array | undefined {
    if (this.start + this.offset !== this.at) return undefined;
    return this.u8.slice(this.start, this.end);
  }

  /**
   * Sees to it that `bytes` bytes from `at` can be looked at.
   * @param bytes at most PCAP_READ_BYTES
   * @returns END: the file has fewer; `available` says how many
   */
  want(bytes: number): Status {
    if (this.behind === 0 && this.end - this.at >= bytes) return STATUS.READY;
    return this.fill(bytes);
  }

  /** Passes over bytes, read or not. */
  skip(bytes: number): void {
    const here = Math.min(bytes, this.end - this.at);
    this.at += here;
    this.offset += here;
    this.behind += bytes - here;
  }

  private fill(bytes: number): Status {
    while (this.behind > 0 || this.end - this.at < bytes) {
      if (this.ended) return STATUS.END;
      if (this.at === this.end && !this.keep) {
        this.at = this.start;
        this.end = this.start;
      } else if (this.limit - this.at < bytes || this.limit === this.end) {
        this.u8.copyWithin(this.start, this.at, this.end);
        this.end -= this.at - this.start;
        this.at = this.start;
      }
      const status = this.read(Math.min(this.limit - this.end, CHUNK));
      if (status !== STATUS.READY) return status;
      const passed = Math.min(this.behind, this.end - this.at);
      this.behind -= passed;
      this.at += passed;
      this.offset += passed;
    }
    return STATUS.READY;
  }

  /** One read(2) to `end`; at the end of the file `ended` is set. */
  private read(room: number): Status {
    for (;;) {
      if (this.file.pipe) {
        const ready = ppoll(this.pollfdAddress, 1, 0);
        if (ready === -EINTR) continue;
        if (ready === 0) return STATUS.DRY;
      }
      const count = read(this.file.fd, this.base + this.end, room);
      if (count > 0) {
        this.end += count;
        return STATUS.READY;
      }
      if (count === 0) {
        this.ended = true;
        return STATUS.READY;
      }
      if (count === -EINTR) continue;
      if (count === -EAGAIN) return STATUS.DRY;
      this.error = new SystemError("read", this.name, -count);
      return STATUS.FAILED;
    }
  }
}
