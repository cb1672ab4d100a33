/**
 * One io_uring driven from TypeScript: SQEs are written into mapped memory, CQEs read from it, and one system call a
 * round submits and collects. Thread: the worker's, alone (IORING_SETUP_SINGLE_ISSUER).
 */
import { EINTR, ETIME, SystemError } from "../../sys/errno.ts";
import {
  IORING_ASYNC_CANCEL_ALL,
  IORING_ASYNC_CANCEL_ANY,
  IORING_ENTER_EXT_ARG,
  IORING_ENTER_GETEVENTS,
  IORING_FEAT_EXT_ARG,
  IORING_OP_READ,
  IORING_OP_WRITE,
  IORING_REGISTER_FILES,
  IORING_REGISTER_SYNC_CANCEL,
  IORING_SETUP_DEFER_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER,
  IORING_UNREGISTER_FILES,
  ioUringEnter,
  ioUringRegister,
  ioUringSetup,
  type MappedRing,
  type RingMapping,
  releaseRing,
} from "../../sys/io_uring.ts";
import { addressOf } from "../../sys/memory.ts";

const SQE_WORDS = 16;
const CQE_WORDS = 4;

/** struct io_uring_getevents_arg: u64 sigmask, u32 sigmask_sz, u32 pad, u64 ts; then the struct timespec it points to. */
const GETEVENTS_ARG_BYTES = 24;

export class Ring {
  readonly entries: number;
  private readonly mapped: MappedRing;
  private tail: number;
  private submitted: number;
  private head: number;
  private readonly argument: Uint32Array;
  private readonly argumentAddress: number;

  /** @throws SystemError when the kernel has no io_uring for us: ENOSYS, EPERM (seccomp, sysctl), EINVAL (too old) */
  constructor(entries: number) {
    // DEFER_TASKRUN (6.1): completions are worked off when we ask for them, not when we are about something else.
    const mapped = ioUringSetup(
      entries,
      entries * 2,
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    );
    if (typeof mapped === "number") throw new SystemError("io_uring_setup", "", mapped);
    this.mapped = mapped;
    if ((mapped.features & IORING_FEAT_EXT_ARG) === 0) {
      this.close();
      throw new SystemError("io_uring_setup", "IORING_FEAT_EXT_ARG", -22, {
        detail: "Linux 5.11 or later is needed",
      });
    }
    this.entries = mapped.entries;
    this.tail = mapped.ring[mapped.sqTail];
    this.submitted = this.tail;
    this.head = mapped.ring[mapped.cqHead];
    this.argument = new Uint32Array(new SharedArrayBuffer(GETEVENTS_ARG_BYTES + 16));
    this.argumentAddress = addressOf(this.argument);
    const timespec = this.argumentAddress + GETEVENTS_ARG_BYTES;
    this.argument[4] = timespec % 4294967296;
    this.argument[5] = Math.floor(timespec / 4294967296);
  }

  /** Registers descriptors, so that SQEs name them by index and the kernel need not look them up. @throws SystemError */
  registerFiles(fds: number[]): void {
    const list = new Int32Array(new SharedArrayBuffer(4 * fds.length));
    list.set(fds);
    const result = ioUringRegister(this.mapped.fd, IORING_REGISTER_FILES, addressOf(list), fds.length);
    if (result < 0) throw new SystemError("io_uring_register", "IORING_REGISTER_FILES", result);
  }

  get mapping(): RingMapping {
    return this.mapped.mapping;
  }

  /** SQEs that can still be written before the next enter. */
  get room(): number {
    return this.entries - ((this.tail - this.submitted) | 0);
  }

  /**
   * Writes one SQE; where there is no room, what was pushed is submitted first.
   * @param opcode with IOSQE flags in bits 8 to 15
   * @param address host address, exact
   * @param rwFlags RWF_* of a read or write, poll events of POLL_ADD
   * @param user what comes back in the completion, with `kind`: user_data's lower and upper half
   */
  push(
    opcode: number,
    file: number,
    address: number,
    length: number,
    rwFlags: number,
    user: number,
    kind: number,
  ): void {
    if (this.room === 0) this.enter(0);
    const { sqes, sqMask } = this.mapped;
    const s = (this.tail & sqMask) * SQE_WORDS;
    // Offset -1: the file has no position. Others want 0 there.
    const operation = opcode & 0xff;
    const offset = operation === IORING_OP_READ || operation === IORING_OP_WRITE ? -1 : 0;
    sqes[s] = opcode;
    sqes[s + 1] = file;
    sqes[s + 2] = offset;
    sqes[s + 3] = offset;
    sqes[s + 4] = address | 0;
    sqes[s + 5] = (address / 4294967296) | 0;
    sqes[s + 6] = length;
    sqes[s + 7] = rwFlags;
    sqes[s + 8] = user;
    sqes[s + 9] = kind;
    sqes[s + 10] = 0;
    this.tail = (this.tail + 1) | 0;
  }

  /**
   * Submits what was pushed and waits for at least `minComplete` completions.
   * @param timeout ns to wait at most; Infinity: no limit
   * @throws SystemError
   */
  enter(minComplete: number, timeout = Number.POSITIVE_INFINITY): void {
    const { ring, sqTail, fd } = this.mapped;
    Atomics.store(ring, sqTail, this.tail);
    const submit = (this.tail - this.submitted) | 0;
    let flags = IORING_ENTER_GETEVENTS;
    let argument = 0;
    let argumentBytes = 0;
    if (timeout !== Number.POSITIVE_INFINITY) {
      const seconds = Math.floor(timeout / 1e9);
      this.argument[6] = seconds;
      this.argument[8] = timeout - seconds * 1e9;
      flags |= IORING_ENTER_EXT_ARG;
      argument = this.argumentAddress;
      argumentBytes = GETEVENTS_ARG_BYTES;
    }
    const taken = ioUringEnter(fd, submit, minComplete, flags, argument, argumentBytes);
    if (taken >= 0) {
      this.submitted = (this.submitted + taken) | 0;
      return;
    }
    // Interrupted or timed out after everything was submitted: the kernel says how far it read in the ring itself.
    this.submitted = Atomics.load(ring, this.mapped.sqHead);
    if (taken !== -EINTR && taken !== -ETIME) throw new SystemError("io_uring_enter", "", taken);
  }

  /** How many completions are there to be read. */
  get completions(): number {
    const { ring, cqTail } = this.mapped;
    return (Atomics.load(ring, cqTail) - this.head) | 0;
  }

  /** Of the i-th completion: the lower half of user_data, unsigned. */
  user(i: number): number {
    return this.mapped.ring[this.cqe(i)] >>> 0;
  }

  /** Of the i-th completion: the upper half of user_data. */
  kind(i: number): number {
    return this.mapped.ring[this.cqe(i) + 1];
  }

  /** Of the i-th completion: bytes or -errno. */
  result(i: number): number {
    return this.mapped.ring[this.cqe(i) + 2];
  }

  /** Gives `count` read completions back to the kernel. */
  consume(count: number): void {
    this.head = (this.head + count) | 0;
    Atomics.store(this.mapped.ring, this.mapped.cqHead, this.head);
  }

  /**
   * Ends what is under way and lets go of the registered files now: left to the kernel, that happens some time after the
   * ring's descriptor is closed, and a device would outlive the process that made it.
   */
  close(): void {
    const { fd } = this.mapped;
    // struct io_uring_sync_cancel_reg: u64 addr, i32 fd, u32 flags, i64 seconds, i64 ns, and 32 bytes of padding.
    const cancel = new Int32Array(new SharedArrayBuffer(64));
    cancel[3] = IORING_ASYNC_CANCEL_ALL | IORING_ASYNC_CANCEL_ANY;
    cancel.fill(-1, 4, 8);
    // A failure says that there was nothing to end.
    ioUringRegister(fd, IORING_REGISTER_SYNC_CANCEL, addressOf(cancel), 1);
    ioUringEnter(fd, 0, 0, IORING_ENTER_GETEVENTS);
    ioUringRegister(fd, IORING_UNREGISTER_FILES, 0, 0);
    releaseRing(this.mapped.mapping);
  }

  private cqe(i: number): number {
    const { cqMask, cqes } = this.mapped;
    return cqes + ((this.head + i) & cqMask) * CQE_WORDS;
  }
}
