/** write(2) until all is written, whatever the descriptor is, or until there is no more time for a slow reader. */
import { POLLOUT, ppoll, write } from "../../sys/calls.ts";
import { EAGAIN, EINTR } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";

/** How often a pipe that is full is asked whether there is still time to wait. ns */
const PATIENCE = 100e6;

export class Writer {
  /** Positive: why the last call did not write all. A pipe that nobody reads is EPIPE: Node ignores SIGPIPE. */
  errno = 0;
  private readonly fd: number;
  private readonly hurried: () => boolean;
  private readonly pollfd = new Int32Array(new SharedArrayBuffer(8));
  private readonly pollfdAddress: number;

  /** @param hurried there is no time to wait for a pipe that nobody empties; writing to it fails with EAGAIN then */
  constructor(fd: number, hurried: () => boolean = () => false) {
    this.hurried = hurried;
    this.fd = fd;
    this.pollfd[0] = fd;
    this.pollfd[1] = POLLOUT;
    this.pollfdAddress = addressOf(this.pollfd);
  }

  /** @returns bytes that the kernel took at once; `errno` is set if it was for another reason than want of room */
  offer(address: number, bytes: number): number {
    this.errno = 0;
    let written = 0;
    while (written < bytes) {
      const result = write(this.fd, address + written, bytes - written);
      if (result >= 0) written += result;
      else if (result === -EAGAIN) break;
      else if (result !== -EINTR) {
        this.errno = -result;
        break;
      }
    }
    return written;
  }

  /** @param address in the process @returns bytes that the kernel took; fewer than `bytes`: `errno` says why */
  write(address: number, bytes: number): number {
    this.errno = 0;
    let written = 0;
    while (written < bytes) {
      const result = write(this.fd, address + written, bytes - written);
      if (result >= 0) written += result;
      else if (result === -EAGAIN) {
        if (ppoll(this.pollfdAddress, 1, PATIENCE) !== 0 || !this.hurried()) continue;
        this.errno = EAGAIN;
        break;
      } else if (result !== -EINTR) {
        this.errno = -result;
        break;
      }
    }
    return written;
  }
}
