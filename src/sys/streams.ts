/** TCP sockets at addresses, nonblocking. Results are non-negative or -errno. */
import { close, F_GETFL, F_SETFL, fcntl, O_CLOEXEC, O_NONBLOCK, POLLOUT, ppoll } from "./calls.ts";
import { EINPROGRESS } from "./errno.ts";
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";
import { bind, connect, type Endpoint, familyOf, SOCK_STREAM, setsockopt, socket } from "./socket.ts";

// <asm-generic/socket.h>
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_ERROR = 4;

const cListen = libc<(fd: number, backlog: number) => number>("listen", "int", ["int", "int"]);
const cAccept4 = libc<(fd: number, address: number, length: number, flags: number) => number>(
  "accept4",
  "int",
  ["int", "uintptr_t", "uintptr_t", "int"],
);
const cGetsockopt = libc<
  (fd: number, level: number, option: number, value: number, length: number) => number
>("getsockopt", "int", ["int", "int", "int", "uintptr_t", "uintptr_t"]);

/** Begins a connection: `connectionState` says what became of it. @returns the descriptor, or -errno */
export function connectTcp(peer: Endpoint): number {
  return open(peer, (fd) => {
    const result = connect(fd, peer);
    return result === -EINPROGRESS ? 0 : result;
  });
}

/** @param backlog connections that may wait to be accepted @returns the descriptor, or -errno */
export function listenTcp(local: Endpoint, backlog: number): number {
  return open(local, (fd) => {
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const result = bind(fd, local);
    return result < 0 ? result : orErrno(cListen(fd, backlog));
  });
}

/** accept4(2). @returns a nonblocking descriptor; -EAGAIN: nobody is waiting */
export function acceptTcp(listener: number): number {
  return orErrno(cAccept4(listener, 0, 0, O_CLOEXEC | O_NONBLOCK));
}

/** @returns 1: it stands, 0: not yet, or -errno of what ended the attempt */
export function connectionState(fd: number): number {
  const pollfd = new Int32Array([fd, POLLOUT]);
  if (ppoll(addressOf(pollfd), 1, 0) <= 0) return 0;
  const value = new Int32Array([0]);
  const length = new Int32Array([4]);
  const result = orErrno(cGetsockopt(fd, SOL_SOCKET, SO_ERROR, addressOf(value), addressOf(length)));
  if (result < 0) return result;
  return value[0] === 0 ? 1 : -value[0];
}

function open(endpoint: Endpoint, prepare: (fd: number) => number): number {
  const fd = socket(familyOf(endpoint), SOCK_STREAM, 0);
  if (fd < 0) return fd;
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  const result = prepare(fd);
  if (result >= 0) return fd;
  close(fd);
  return result;
}
