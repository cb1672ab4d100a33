/** <linux/if_tun.h>: the ioctls of /dev/net/tun. Each gives 0 or -errno. */
import { ioctl } from "./calls.ts";
import { addressOf } from "./memory.ts";

export const TUN_DEVICE = "/dev/net/tun";

export const IFF_TUN = 0x0001;
export const IFF_TAP = 0x0002;
export const IFF_NAPI = 0x0010;
export const IFF_MULTI_QUEUE = 0x0100;
export const IFF_ATTACH_QUEUE = 0x0200;
export const IFF_DETACH_QUEUE = 0x0400;
export const IFF_PERSIST = 0x0800;
export const IFF_NO_PI = 0x1000;
export const IFF_ONE_QUEUE = 0x2000;
export const IFF_VNET_HDR = 0x4000;
/** Fail with EBUSY if the device exists. */
export const IFF_TUN_EXCL = 0x8000;
/** Bytes of an interface's name, its final zero included. <linux/if.h> */
export const IFNAMSIZ = 16;
/** Most queues of a device (MAX_TAP_QUEUES in drivers/net/tun.c). */
export const MAX_TAP_QUEUES = 256;

const TUNSETIFF = 0x400454ca;
const TUNSETPERSIST = 0x400454cb;
const TUNSETOWNER = 0x400454cc;
const TUNSETGROUP = 0x400454ce;
const TUNSETOFFLOAD = 0x400454d0;
const TUNGETIFF = 0x800454d2;
const TUNGETVNETHDRSZ = 0x800454d7;
const TUNSETVNETHDRSZ = 0x400454d8;
const TUNSETQUEUE = 0x400454d9;

// struct ifreq: char ifr_name[IFNAMSIZ], then a union that begins with the flags (i16).
const IFREQ_BYTES = 40;
const IFR_FLAGS = IFNAMSIZ;

const ifreq = new Uint8Array(new ArrayBuffer(IFREQ_BYTES));
const ifreqAddress = addressOf(ifreq);
const integer = new Int32Array(new SharedArrayBuffer(4));
const integerAddress = addressOf(integer);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * Makes the device, or attaches to it where it exists: the descriptor becomes a queue of it. The caller has checked
 * the name: at most 15 bytes, and the kernel makes a number of "%d".
 * @param name empty: the kernel chooses tun0, tap0, ...
 */
export function tunSetIff(fd: number, name: string, flags: number): number {
  ifreq.fill(0);
  ifreq.set(encoder.encode(name).subarray(0, IFNAMSIZ - 1));
  setFlags(flags);
  return ioctl(fd, TUNSETIFF, ifreqAddress);
}

/** @returns name and flags of the device that a descriptor is a queue of, or -errno */
export function tunGetIff(fd: number): { name: string; flags: number } | number {
  ifreq.fill(0);
  const result = ioctl(fd, TUNGETIFF, ifreqAddress);
  if (result < 0) return result;
  const name = decoder.decode(ifreq.subarray(0, ifreq.indexOf(0)));
  return { name, flags: ifreq[IFR_FLAGS] | (ifreq[IFR_FLAGS + 1] << 8) };
}

/** Does the device outlive its last descriptor? */
export function tunSetPersist(fd: number, persist: boolean): number {
  return ioctl(fd, TUNSETPERSIST, persist ? 1 : 0);
}

/** Lets a user attach to the device without CAP_NET_ADMIN. */
export function tunSetOwner(fd: number, uid: number): number {
  return ioctl(fd, TUNSETOWNER, uid);
}

/** Lets a group attach to the device without CAP_NET_ADMIN. */
export function tunSetGroup(fd: number, gid: number): number {
  return ioctl(fd, TUNSETGROUP, gid);
}

/** @param features TUN_F_ bits: what the kernel may leave to the reader. It keeps them when the reader goes. */
export function tunSetOffload(fd: number, features: number): number {
  return ioctl(fd, TUNSETOFFLOAD, features);
}

/** @returns bytes of the struct virtio_net_hdr before each packet, or -errno */
export function tunGetVnetHdrSize(fd: number): number {
  const result = ioctl(fd, TUNGETVNETHDRSZ, integerAddress);
  return result < 0 ? result : integer[0];
}

/** @param bytes 10 or 12: the device's, for all its queues */
export function tunSetVnetHdrSize(fd: number, bytes: number): number {
  integer[0] = bytes;
  return ioctl(fd, TUNSETVNETHDRSZ, integerAddress);
}

/** Takes a queue out of the device's steering, or back in. */
export function tunSetQueue(fd: number, attached: boolean): number {
  ifreq.fill(0);
  setFlags(attached ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE);
  return ioctl(fd, TUNSETQUEUE, ifreqAddress);
}

function setFlags(flags: number): void {
  ifreq[IFR_FLAGS] = flags & 0xff;
  ifreq[IFR_FLAGS + 1] = flags >>> 8;
}
