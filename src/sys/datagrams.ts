/**
 * UDP sockets at addresses: many datagrams a call, segmentation by the kernel, arrival times of the kernel's.
 * Results are non-negative or -errno; sending and receiving allocates nothing.
 */
import { close, F_GETFL, F_SETFL, fcntl, O_NONBLOCK } from "./calls.ts";
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";
import {
  bind,
  connect,
  type Endpoint,
  familyOf,
  SOCK_DGRAM,
  setsockopt,
  setsockoptBytes,
  socket,
} from "./socket.ts";

// <asm-generic/socket.h>
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const SO_TIMESTAMPNS = 35;
// <linux/udp.h>
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
/** Most segments that one send may be cut into on every kernel that has UDP_SEGMENT (128 since Linux 5.18). */
export const UDP_MAX_SEGMENTS = 64;
// <bits/socket.h>
export const MSG_DONTWAIT = 0x40;
// <linux/filter.h>
const BPF_LD_W_ABS = 0x20;
const BPF_JEQ_K = 0x15;
const BPF_RET_K = 0x06;
const UDP_HEADER = 8;

/** struct mmsghdr: struct msghdr (56 bytes), u32 length, padding. */
const MMSGHDR_BYTES = 64;
const MSGHDR_IOV = 16;
const MSGHDR_IOVLEN = 24;
const MSGHDR_CONTROL = 32;
const MSGHDR_CONTROLLEN = 40;
/** struct cmsghdr (u64 length, i32 level, i32 type) and struct timespec. */
const CONTROL_BYTES = 64;

const cSendmmsg = libc<(fd: number, messages: number, count: number, flags: number) => number>(
  "sendmmsg",
  "int",
  ["int", "uintptr_t", "uint", "int"],
);
const cRecvmsg = libc<(fd: number, message: number, flags: number) => number>("recvmsg", "intptr_t", [
  "int",
  "uintptr_t",
  "int",
]);

/** A UDP socket to one peer. @returns the descriptor, or -errno */
export function connectUdp(peer: Endpoint): number {
  return open(peer, connect);
}

/** A nonblocking UDP socket at an address and port. @returns the descriptor, or -errno */
export function bindUdp(local: Endpoint): number {
  const fd = open(local, bind);
  if (fd >= 0) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  return fd;
}

function open(endpoint: Endpoint, call: typeof bind): number {
  const fd = socket(familyOf(endpoint), SOCK_DGRAM, 0);
  if (fd < 0) return fd;
  const result = call(fd, endpoint);
  if (result === 0) return fd;
  close(fd);
  return result;
}

/** What is sent is cut into datagrams of so many bytes of payload. @returns 0 or -errno */
export function segmentUdp(fd: number, bytes: number): number {
  return setsockopt(fd, SOL_UDP, UDP_SEGMENT, bytes);
}

/** Every datagram comes with the time at which the kernel took it from its device. @returns 0 or -errno */
export function stampArrivals(fd: number): number {
  return setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
}

/** @returns 0 or -errno */
export function setReceiveBuffer(fd: number, bytes: number): number {
  return setsockopt(fd, SOL_SOCKET, SO_RCVBUF, bytes);
}

/** The socket does not take datagrams whose payload begins with these four octets. @returns 0 or -errno */
export function refuseUdp(fd: number, octets: readonly number[]): number {
  const value = new DataView(Uint8Array.from(octets).buffer).getUint32(0);
  // struct sock_filter: u16 code, u8 jump if true, u8 jump if false, u32 k. It sees the UDP header first.
  const program = new Uint32Array([
    ...[BPF_LD_W_ABS, UDP_HEADER],
    ...[BPF_JEQ_K | (1 << 16), value],
    ...[BPF_RET_K, 0xffffffff],
    ...[BPF_RET_K, 0],
  ]);
  // struct sock_fprog: u16 instructions, padding, their address.
  const header = new DataView(new ArrayBuffer(16));
  header.setUint16(0, program.length / 2, true);
  header.setBigUint64(8, BigInt(addressOf(program)), true);
  return setsockoptBytes(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(header.buffer));
}

/** The same bytes, sent several times in one call. */
export class Volley {
  private readonly payload: Uint8Array;
  private readonly vector: Uint8Array;
  private readonly iovec: BigUint64Array;
  private readonly address: number;
  private readonly count: number;

  /** @param payload in a SharedArrayBuffer, or referenced for as long as this is; may change between calls */
  constructor(payload: Uint8Array, count: number) {
    this.payload = payload;
    this.count = count;
    this.vector = new Uint8Array(new SharedArrayBuffer(MMSGHDR_BYTES * count));
    this.iovec = new BigUint64Array(new SharedArrayBuffer(16));
    this.iovec[0] = BigInt(addressOf(this.payload));
    this.iovec[1] = BigInt(payload.length);
    const view = new DataView(this.vector.buffer);
    for (let i = 0; i < count; i++) {
      view.setBigUint64(MMSGHDR_BYTES * i + MSGHDR_IOV, BigInt(addressOf(this.iovec)), true);
      view.setBigUint64(MMSGHDR_BYTES * i + MSGHDR_IOVLEN, 1n, true);
    }
    this.address = addressOf(this.vector);
  }

  /** sendmmsg(2). @returns how many of `count` were sent, or -errno */
  send(fd: number): number {
    return orErrno(cSendmmsg(fd, this.address, this.count, 0));
  }
}

/** Receives one datagram after the other, with its time of arrival. */
export class Receiver {
  readonly payload = new Uint8Array(new SharedArrayBuffer(2048));
  private readonly message = new DataView(new SharedArrayBuffer(MMSGHDR_BYTES));
  private readonly iovec = new BigUint64Array(new SharedArrayBuffer(16));
  private readonly control = new DataView(new SharedArrayBuffer(CONTROL_BYTES));
  private readonly address: number;
  /** CLOCK_REALTIME of the datagram received last: seconds modulo 2^32, and nanoseconds. */
  seconds = 0;
  nanoseconds = 0;

  constructor() {
    this.iovec[0] = BigInt(addressOf(this.payload));
    this.iovec[1] = BigInt(this.payload.length);
    this.message.setBigUint64(MSGHDR_IOV, BigInt(addressOf(this.iovec)), true);
    this.message.setBigUint64(MSGHDR_IOVLEN, 1n, true);
    this.message.setBigUint64(MSGHDR_CONTROL, BigInt(addressOf(this.control)), true);
    this.address = addressOf(this.message);
  }

  /** recvmsg(2), never waits. @returns the length of the payload, -EAGAIN: there is none, or -errno */
  receive(fd: number): number {
    this.message.setUint32(MSGHDR_CONTROLLEN, CONTROL_BYTES, true);
    const length = orErrno(cRecvmsg(fd, this.address, MSG_DONTWAIT));
    if (length < 0) return length;
    const stamped =
      this.message.getUint32(MSGHDR_CONTROLLEN, true) >= 32 &&
      this.control.getInt32(8, true) === SOL_SOCKET &&
      this.control.getInt32(12, true) === SO_TIMESTAMPNS;
    this.seconds = stamped ? this.control.getUint32(16, true) : 0;
    this.nanoseconds = stamped ? this.control.getUint32(24, true) : 0;
    return length;
  }
}
