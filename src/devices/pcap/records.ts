/** What readers of both formats have in common: the record at hand, and how a capture that lies is refused. */

import { U64 } from "./timestamp.ts";
import { STATUS, type Status, type Window } from "./window.ts";

/** A capture that cannot be used, or not to its end. The message names the file, the byte offset and what is there. */
export class CaptureError extends Error {}

export abstract class Records {
  protected readonly window: Window;
  /** Layer of all packets: 2 or 3; 0: not known yet. */
  layer: 0 | 2 | 3 = 0;
  /** Bytes a packet has at most, as the file says; 0: it does not say. */
  snaplen = 0;
  /** Address of the record's captured bytes, good until the next call of `next`. */
  data = 0;
  /** How many there are. */
  length = 0;
  /** ns since the epoch. */
  readonly time = new U64();
  /** Why the file cannot be read on. */
  error: Error | undefined;

  constructor(window: Window) {
    this.window = window;
  }

  /** Reads on until the layer is known. */
  abstract head(): Status;
  /** Goes to the next packet. Nothing but READY changes the record at hand. */
  abstract next(): Status;

  /** @param what "record header", @param start its offset @param bytes as long as it should be */
  protected truncated(what: string, start: number, bytes: number): Status {
    const there = this.window.offset + this.window.available - start;
    return this.fail(
      `truncated ${what} at byte ${start}: the file ends after ${there} of its ${bytes} bytes`,
    );
  }

  protected fail(message: string): Status {
    this.error = new CaptureError(`${this.window.name}: ${message}`);
    return STATUS.FAILED;
  }

  /** Hands on why the window cannot go on; at the file's end that is a truncation. */
  protected stopped(status: Status, what: string, start: number, bytes: number): Status {
    if (status === STATUS.END) return this.truncated(what, start, bytes);
    if (status === STATUS.FAILED) this.error = this.window.error;
    return status;
  }
}
