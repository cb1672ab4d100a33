/** Sockets, as far as set-up code needs them. */
import { O_CLOEXEC } from "./calls.ts";
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";

// <bits/socket.h>
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;

const cSocket = libc<(domain: number, type: number, protocol: number) => number>("socket", "int", [
  "int",
  "int",
  "int",
]);
const cSetsockopt = libc<
  (fd: number, level: number, option: number, value: number, length: number) => number
>("setsockopt", "int", ["int", "int", "int", "uintptr_t", "uint"]);

/** socket(2), closed on exec. @returns the descriptor, or -errno */
export function socket(domain: number, type: number, protocol: number): number {
  return orErrno(cSocket(domain, type | O_CLOEXEC, protocol));
}

/** setsockopt(2) of an option that is an int. @returns 0 or -errno */
export function setsockopt(fd: number, level: number, option: number, value: number): number {
  const int = new Int32Array([value]);
  return orErrno(cSetsockopt(fd, level, option, addressOf(int), 4));
}

/** setsockopt(2) of any option. @returns 0 or -errno */
export function setsockoptBytes(fd: number, level: number, option: number, value: Uint8Array): number {
  return orErrno(cSetsockopt(fd, level, option, addressOf(value), value.length));
}
