/**
 * io_uring(7): set-up, enter, register, and the rings mapped as typed arrays. Constants have the names of
 * linux/io_uring.h. Functions give a non-negative result or -errno.
 */
import koffi from "koffi";
import { close } from "./calls.ts";
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";

const NR_IO_URING_SETUP = 425;
const NR_IO_URING_ENTER = 426;
const NR_IO_URING_REGISTER = 427;

export const IORING_SETUP_CQSIZE = 1 << 3;
export const IORING_SETUP_CLAMP = 1 << 4;
export const IORING_SETUP_SINGLE_ISSUER = 1 << 12;
export const IORING_SETUP_DEFER_TASKRUN = 1 << 13;

export const IORING_ENTER_GETEVENTS = 1 << 0;
export const IORING_ENTER_EXT_ARG = 1 << 3;
export const IORING_REGISTER_FILES = 2;
export const IORING_UNREGISTER_FILES = 3;
export const IORING_REGISTER_SYNC_CANCEL = 24;
export const IORING_ASYNC_CANCEL_ALL = 1 << 0;
export const IORING_ASYNC_CANCEL_ANY = 1 << 2;
export const IORING_FEAT_EXT_ARG = 1 << 8;

export const IORING_OP_POLL_ADD = 6;
export const IORING_OP_ASYNC_CANCEL = 14;
export const IORING_OP_READ = 22;
export const IORING_OP_WRITE = 23;
export const IOSQE_FIXED_FILE = 1 << 0;
export const RWF_NOWAIT = 0x8;

const IORING_OFF_SQ_RING = 0;
const IORING_OFF_SQES = 0x10000000;
const PROT_READ_WRITE = 3;
const MAP_SHARED_POPULATE = 0x8001;
const SQE_BYTES = 64;
const CQE_BYTES = 16;
/** struct io_uring_params, in u32 words. */
const PARAMS = {
  SQ_ENTRIES: 0,
  CQ_ENTRIES: 1,
  FLAGS: 2,
  FEATURES: 5,
  SQ_OFF: 10,
  CQ_OFF: 20,
  WORDS: 30,
} as const;
/** struct io_sqring_offsets and io_cqring_offsets, in u32 words. */
const SQ = { HEAD: 0, TAIL: 1, MASK: 2, FLAGS: 4, DROPPED: 5, ARRAY: 6 } as const;
const CQ = { HEAD: 0, TAIL: 1, MASK: 2, OVERFLOW: 4, CQES: 5 } as const;

// Three arities of syscall(2): a number for each argument, so that nothing is allocated a call.
const syscall2 = libc<(nr: number, a: number, b: number) => number>("syscall", "intptr_t", [
  "intptr_t",
  "uintptr_t",
  "uintptr_t",
]);
const syscall4 = libc<(nr: number, a: number, b: number, c: number, d: number) => number>(
  "syscall",
  "intptr_t",
  ["intptr_t", "uintptr_t", "uintptr_t", "uintptr_t", "uintptr_t"],
);
const syscall6 = libc<
  (nr: number, a: number, b: number, c: number, d: number, e: number, f: number) => number
>("syscall", "intptr_t", [
  "intptr_t",
  "uintptr_t",
  "uintptr_t",
  "uintptr_t",
  "uintptr_t",
  "uintptr_t",
  "uintptr_t",
]);
const mmap = libc<
  (address: number, length: number, protection: number, flags: number, fd: number, offset: number) => number
>("mmap", "intptr_t", ["uintptr_t", "size_t", "int", "int", "int", "intptr_t"]);
const munmap = libc<(address: number, length: number) => number>("munmap", "int", ["uintptr_t", "size_t"]);

/** What holds an io_uring: it is gone when all of these are released. Addresses are the process's. */
export interface RingMapping {
  fd: number;
  ringAddress: number;
  ringBytes: number;
  sqeAddress: number;
  sqeBytes: number;
}

/** Releases a ring, of another thread's too when that has ended: what is under way is cancelled. */
export function releaseRing({ fd, ringAddress, ringBytes, sqeAddress, sqeBytes }: RingMapping): void {
  munmap(ringAddress, ringBytes);
  munmap(sqeAddress, sqeBytes);
  close(fd);
}

/** Rings of one io_uring, mapped. Indices are in i32 words of `ring` and `sqes`. */
export interface MappedRing {
  fd: number;
  features: number;
  entries: number;
  ring: Int32Array;
  sqes: Int32Array;
  sqHead: number;
  sqTail: number;
  sqMask: number;
  cqHead: number;
  cqTail: number;
  cqMask: number;
  cqOverflow: number;
  /** Word of the first CQE: user_data (2 words), res, flags. */
  cqes: number;
  mapping: RingMapping;
}

/**
 * io_uring_setup(2) and the mappings of its rings.
 * @returns the rings, or -errno
 */
export function ioUringSetup(entries: number, cqEntries: number, flags: number): MappedRing | number {
  const params = new Uint32Array(new ArrayBuffer(PARAMS.WORDS * 4));
  params[PARAMS.FLAGS] = flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  params[PARAMS.CQ_ENTRIES] = cqEntries;
  const fd = orErrno(syscall2(NR_IO_URING_SETUP, entries, addressOf(params)));
  if (fd < 0) return fd;
  const sq = params.subarray(PARAMS.SQ_OFF, PARAMS.SQ_OFF + 10);
  const cq = params.subarray(PARAMS.CQ_OFF, PARAMS.CQ_OFF + 10);
  // IORING_FEAT_SINGLE_MMAP (5.4): one mapping holds both rings, as large as the larger one.
  const ringBytes = Math.max(
    sq[SQ.ARRAY] + params[PARAMS.SQ_ENTRIES] * 4,
    cq[CQ.CQES] + params[PARAMS.CQ_ENTRIES] * CQE_BYTES,
  );
  const sqeBytes = params[PARAMS.SQ_ENTRIES] * SQE_BYTES;
  const ringAddress = orErrno(
    mmap(0, ringBytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, IORING_OFF_SQ_RING),
  );
  if (ringAddress < 0) {
    close(fd);
    return ringAddress;
  }
  const sqeAddress = orErrno(mmap(0, sqeBytes, PROT_READ_WRITE, MAP_SHARED_POPULATE, fd, IORING_OFF_SQES));
  if (sqeAddress < 0) {
    munmap(ringAddress, ringBytes);
    close(fd);
    return sqeAddress;
  }
  const ring = new Int32Array(koffi.view(BigInt(ringAddress), ringBytes));
  const sqes = new Int32Array(koffi.view(BigInt(sqeAddress), sqeBytes));
  // SQEs are taken in order, so the indirection array never changes.
  for (let i = 0; i < params[PARAMS.SQ_ENTRIES]; i++) ring[(sq[SQ.ARRAY] >>> 2) + i] = i;
  return {
    fd,
    features: params[PARAMS.FEATURES],
    entries: params[PARAMS.SQ_ENTRIES],
    ring,
    sqes,
    sqHead: sq[SQ.HEAD] >>> 2,
    sqTail: sq[SQ.TAIL] >>> 2,
    sqMask: ring[sq[SQ.MASK] >>> 2],
    cqHead: cq[CQ.HEAD] >>> 2,
    cqTail: cq[CQ.TAIL] >>> 2,
    cqMask: ring[cq[CQ.MASK] >>> 2],
    cqOverflow: cq[CQ.OVERFLOW] >>> 2,
    cqes: cq[CQ.CQES] >>> 2,
    mapping: { fd, ringAddress, ringBytes, sqeAddress, sqeBytes },
  };
}

/** io_uring_enter(2). @param argument address and size of what `flags` asks for, 0 and 0 otherwise @returns SQEs taken */
export function ioUringEnter(
  fd: number,
  submit: number,
  minComplete: number,
  flags: number,
  argument = 0,
  argumentBytes = 0,
): number {
  return orErrno(syscall6(NR_IO_URING_ENTER, fd, submit, minComplete, flags, argument, argumentBytes));
}

/** io_uring_register(2). */
export function ioUringRegister(fd: number, opcode: number, argument: number, count: number): number {
  return orErrno(syscall4(NR_IO_URING_REGISTER, fd, opcode, argument, count));
}
