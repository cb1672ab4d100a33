/**
 * System calls on file descriptors. Every function gives a non-negative result or -errno, never throws, and allocates
 * nothing (paths apart), so that the data path can call them once a packet. Addresses are host addresses: memory.ts.
 * Every descriptor made here is closed on exec.
 */
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";

// <fcntl.h>, asm-generic
export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_TRUNC = 0o1000;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const F_DUPFD_CLOEXEC = 1030;
export const F_GETFD = 1;
export const F_GETFL = 3;
export const F_SETFL = 4;
// <poll.h>
export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;
// <sys/eventfd.h>
const EFD_CLOEXEC = O_CLOEXEC;
const EFD_NONBLOCK = O_NONBLOCK;
// <time.h>
const CLOCK_REALTIME = 0;
const CLOCK_MONOTONIC = 1;

type OnBytes = (fd: number, address: number, length: number) => number;
type OnVector = (fd: number, iovec: number, count: number) => number;

const cOpen = libc<(path: string, flags: number, mode: number) => number>("open", "int", [
  "str",
  "int",
  "uint",
]);
const cClose = libc<(fd: number) => number>("close", "int", ["int"]);
const cRead = libc<OnBytes>("read", "intptr_t", ["int", "uintptr_t", "size_t"]);
const cWrite = libc<OnBytes>("write", "intptr_t", ["int", "uintptr_t", "size_t"]);
const cReadv = libc<OnVector>("readv", "intptr_t", ["int", "uintptr_t", "int"]);
const cWritev = libc<OnVector>("writev", "intptr_t", ["int", "uintptr_t", "int"]);
const cPread = libc<(fd: number, address: number, length: number, offset: number) => number>(
  "pread",
  "intptr_t",
  ["int", "uintptr_t", "size_t", "intptr_t"],
);
const cPpoll = libc<(fds: number, count: number, timeout: number, mask: number) => number>("ppoll", "int", [
  "uintptr_t",
  "ulong",
  "uintptr_t",
  "uintptr_t",
]);
const cEventfd = libc<(initial: number, flags: number) => number>("eventfd", "int", ["uint", "int"]);
const cFcntl = libc<(fd: number, command: number, argument: number) => number>("fcntl", "int", [
  "int",
  "int",
  "uintptr_t",
]);
const cIoctl = libc<(fd: number, request: number, argument: number) => number>("ioctl", "int", [
  "int",
  "ulong",
  "uintptr_t",
]);
const cClockGettime = libc<(clock: number, timespec: number) => number>("clock_gettime", "int", [
  "int",
  "uintptr_t",
]);

// One of each a thread, for every thread has modules of its own. struct timespec: i64 seconds, i64 nanoseconds.
const timespec = new Uint32Array(new SharedArrayBuffer(16));
const timespecAddress = addressOf(timespec);
const counter = new Uint32Array(new SharedArrayBuffer(8));
const counterAddress = addressOf(counter);

/** open(2) with O_CLOEXEC. @returns the descriptor */
export function open(path: string, flags: number, mode = 0): number {
  return orErrno(cOpen(path, flags | O_CLOEXEC, mode));
}

/** close(2). On Linux the descriptor is gone even when it fails, so never call it again. */
export function close(fd: number): number {
  return orErrno(cClose(fd));
}

/** read(2). @returns bytes read */
export function read(fd: number, address: number, length: number): number {
  return orErrno(cRead(fd, address, length));
}

/** write(2). @returns bytes written */
export function write(fd: number, address: number, length: number): number {
  return orErrno(cWrite(fd, address, length));
}

/** readv(2). @param iovec address of `count` struct iovec: u64 address, u64 length */
export function readv(fd: number, iovec: number, count: number): number {
  return orErrno(cReadv(fd, iovec, count));
}

/** writev(2). @param iovec address of `count` struct iovec: u64 address, u64 length */
export function writev(fd: number, iovec: number, count: number): number {
  return orErrno(cWritev(fd, iovec, count));
}

/** pread(2). @param offset in the file, bytes, exact up to 2^53 */
export function pread(fd: number, address: number, length: number, offset: number): number {
  return orErrno(cPread(fd, address, length, offset));
}

/**
 * ppoll(2) without a signal mask.
 * @param pollfds address of `count` struct pollfd: i32 fd, i16 events, i16 revents
 * @param timeout ns; -1: no limit
 * @returns how many entries have revents; 0: the time is over
 */
export function ppoll(pollfds: number, count: number, timeout: number): number {
  if (timeout < 0) return orErrno(cPpoll(pollfds, count, 0, 0));
  // 68 years at most, which keeps seconds in the lower word.
  const seconds = Math.min(Math.floor(timeout / 1e9), 0x7fffffff);
  timespec[0] = seconds;
  timespec[1] = 0;
  timespec[2] = timeout - seconds * 1e9 < 1e9 ? timeout - seconds * 1e9 : 0;
  timespec[3] = 0;
  return orErrno(cPpoll(pollfds, count, timespecAddress, 0));
}

/** eventfd(2), nonblocking. @returns the descriptor */
export function eventfd(initial: number): number {
  return orErrno(cEventfd(initial, EFD_CLOEXEC | EFD_NONBLOCK));
}

/** Adds one to an eventfd: whoever polls it wakes. @returns 8; -EAGAIN when it is full, and so signalled anyway */
export function eventfdSignal(fd: number): number {
  counter[0] = 1;
  counter[1] = 0;
  return orErrno(cWrite(fd, counterAddress, 8));
}

/** Sets an eventfd back to zero. @returns 8; -EAGAIN when it was zero */
export function eventfdDrain(fd: number): number {
  return orErrno(cRead(fd, counterAddress, 8));
}

/** dup(2), closed on exec. @returns the new descriptor */
export function dup(fd: number): number {
  return orErrno(cFcntl(fd, F_DUPFD_CLOEXEC, 0));
}

/** fcntl(2) with an integer or address as argument. */
export function fcntl(fd: number, command: number, argument = 0): number {
  return orErrno(cFcntl(fd, command, argument));
}

/** ioctl(2) with an integer or address as argument. */
export function ioctl(fd: number, request: number, argument: number): number {
  return orErrno(cIoctl(fd, request, argument));
}

/** CLOCK_MONOTONIC in ns: exact for 104 days after boot, then to the next double, 2 ns. */
export function clockMonotonic(): number {
  cClockGettime(CLOCK_MONOTONIC, timespecAddress);
  return (timespec[1] * 4294967296 + timespec[0]) * 1e9 + timespec[2];
}

/** CLOCK_REALTIME into two words: seconds modulo 2^32, and nanoseconds. */
export function clockRealtime(words: Uint32Array, at: number): void {
  cClockGettime(CLOCK_REALTIME, timespecAddress);
  words[at] = timespec[0];
  words[at + 1] = timespec[2];
}
