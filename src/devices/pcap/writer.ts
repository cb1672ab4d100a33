/** write(2) until all is written, whatever the descriptor is. */
import { POLLOUT, ppoll, write } from "../../sys/calls.ts";
import { EAGAIN, EINTR } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";

export class Writer {
  /** Positive: why the last call did not write all. A pipe that nobody reads is EPIPE: Node ignores SIGPIPE. */
  errno = 0;
  private readonly fd: number;
  private readonly pollfd = new Int32Array(new SharedArrayBuffer(8));
  private readonly pollfdAddress: number;

  constructor(fd: number) {
    this.fd = fd;
    this.pollfd[0] = fd;
    this.pollfd[1] = POLLOUT;
    this.pollfdAddress = addressOf(this.pollfd);
  }

  /** @param address in the process @returns bytes that the kernel took; fewer than `bytes`: `errno` says why */
  write(address: number, bytes: number): number {
    this.errno = 0;
    let written = 0;
    while (written < bytes) {
      const result = write(this.fd, address + written, bytes - written);
      if (result >= 0) written += result;
      else if (result === -EAGAIN) ppoll(this.pollfdAddress, 1, -1);
      else if (result !== -EINTR) {
        this.errno = -result;
        break;
      }
    }
    return written;
  }
}
