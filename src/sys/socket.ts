/** Sockets, as far as set-up code needs them. */
import { O_CLOEXEC } from "./calls.ts";
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";

// <bits/socket.h>
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const SOCK_STREAM = 1;
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
type OnAddress = (fd: number, address: number, length: number) => number;
const cConnect = libc<OnAddress>("connect", "int", ["int", "uintptr_t", "uint"]);
const cBind = libc<OnAddress>("bind", "int", ["int", "uintptr_t", "uint"]);

/** An address as it stands in a packet (4 or 16 bytes), and a port. */
export interface Endpoint {
  octets: readonly number[];
  port: number;
}

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

/** Which family of sockets an address is for. */
export function familyOf({ octets }: Endpoint): number {
  return octets.length === 4 ? AF_INET : AF_INET6;
}

/** connect(2). @returns 0 or -errno */
export function connect(fd: number, peer: Endpoint): number {
  const address = socketAddress(peer);
  return orErrno(cConnect(fd, addressOf(address), address.length));
}

/** bind(2). @returns 0 or -errno */
export function bind(fd: number, local: Endpoint): number {
  const address = socketAddress(local);
  return orErrno(cBind(fd, addressOf(address), address.length));
}

/** struct sockaddr_in: u16 family, be16 port, address; sockaddr_in6: u16 family, be16 port, u32 flow, address, u32 scope */
function socketAddress({ octets, port }: Endpoint): Uint8Array {
  const v4 = octets.length === 4;
  const bytes = new Uint8Array(v4 ? 16 : 28);
  bytes[0] = v4 ? AF_INET : AF_INET6;
  bytes[2] = port >>> 8;
  bytes[3] = port & 0xff;
  bytes.set(octets, v4 ? 4 : 8);
  return bytes;
}
