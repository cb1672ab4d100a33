/**
 * A synchronous client of rtnetlink(7) and nfnetlink, for set-up: one request, then its answer. The kernel has the answer ready when
 * the request's write returns, so the read that follows does not wait. Integers are in the host's order, which is
 * little-endian on every machine that this runs on.
 *
 *    0        4      6       8     12        16
 *   +--------+------+-------+-----+---------+------------------+-------------------------------
 *   | length | type | flags | seq | port id | family's header  | attributes: length u16, type u16,
 *   +--------+------+-------+-----+---------+------------------+ payload, padded to 4 bytes
 */
import { close, read, write } from "./calls.ts";
import { check, EINTR, EMSGSIZE, ENOENT, SystemError, type SystemErrorOptions } from "./errno.ts";
import { addressOf } from "./memory.ts";
import { AF_NETLINK, SOCK_RAW, setsockopt, socket } from "./socket.ts";

// <linux/netlink.h>
const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
const SOL_NETLINK = 270;
const NETLINK_EXT_ACK = 11;
const NLMSG_HEADER = 16;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_F_REQUEST = 0x001;
const NLM_F_ACK = 0x004;
const NLM_F_DUMP_INTR = 0x010;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
const NLM_F_DUMP = 0x300;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;
const NLMSGERR_ATTR_MSG = 1;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;

/** A dump's parts are up to 32 KiB each. */
const RECEIVE_BYTES = 65536;
const REQUEST_BYTES = 4096;
/** A dump that the kernel marks as inconsistent is asked for again, this often. */
const DUMP_ATTEMPTS = 5;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A request in the making. */
export class Message {
  readonly bytes = new Uint8Array(new ArrayBuffer(REQUEST_BYTES));
  private readonly view = new DataView(this.bytes.buffer);
  length = NLMSG_HEADER;

  /** @param header the family's header (struct ifinfomsg, ...), as [width in bytes, value] each */
  constructor(type: number, flags: number, header: [width: 1 | 2 | 4, value: number][]) {
    this.view.setUint16(4, type, true);
    this.view.setUint16(6, flags, true);
    for (const [width, value] of header) this.integer(width, value);
  }

  u32(type: number, value: number): this {
    const start = this.begin(type);
    this.integer(4, value);
    return this.end(start);
  }

  /** Zero-terminated. */
  string(type: number, value: string): this {
    return this.octets(type, [...encoder.encode(value), 0]);
  }

  octets(type: number, value: ArrayLike<number>): this {
    const start = this.begin(type);
    this.bytes.set(value, this.length);
    this.length += value.length;
    return this.end(start);
  }

  nested(type: number, fill: (message: this) => void): this {
    const start = this.begin(type | NLA_F_NESTED);
    fill(this);
    return this.end(start);
  }

  /** Writes what only the sender knows. */
  finish(flags: number, sequence: number): void {
    this.view.setUint32(0, this.length, true);
    this.view.setUint16(6, this.view.getUint16(6, true) | flags, true);
    this.view.setUint32(8, sequence, true);
  }

  private integer(width: 1 | 2 | 4, value: number): void {
    if (width === 1) this.view.setUint8(this.length, value);
    else if (width === 2) this.view.setUint16(this.length, value, true);
    else this.view.setUint32(this.length, value, true);
    this.length += width;
  }

  private begin(type: number): number {
    const start = this.length;
    this.view.setUint16(start + 2, type, true);
    this.length += 4;
    return start;
  }

  private end(start: number): this {
    this.view.setUint16(start, this.length - start, true);
    this.length = align(this.length);
    return this;
  }
}

/** Attributes of an answer, by type. A length that leads beyond the end ends them. */
export class Attributes {
  private readonly byType = new Map<number, Uint8Array>();

  constructor(bytes: Uint8Array, from = 0) {
    const view = viewOf(bytes);
    for (let at = from; at + 4 <= bytes.length; ) {
      const length = view.getUint16(at, true);
      if (length < 4 || at + length > bytes.length) break;
      this.byType.set(view.getUint16(at + 2, true) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length));
      at += align(length);
    }
  }

  octets(type: number): Uint8Array | undefined {
    return this.byType.get(type);
  }

  /** u8, u16 or u32, by the attribute's length. */
  integer(type: number): number | undefined {
    const bytes = this.byType.get(type);
    if (bytes?.length === 1) return bytes[0];
    if (bytes?.length === 2) return viewOf(bytes).getUint16(0, true);
    return bytes && bytes.length >= 4 ? viewOf(bytes).getUint32(0, true) : undefined;
  }

  string(type: number): string | undefined {
    const bytes = this.byType.get(type);
    if (!bytes) return undefined;
    const end = bytes.indexOf(0);
    return decoder.decode(bytes.subarray(0, end < 0 ? bytes.length : end));
  }

  nested(type: number): Attributes | undefined {
    const bytes = this.byType.get(type);
    return bytes && new Attributes(bytes);
  }
}

/** What a request is for, as an error names it. */
export interface Purpose {
  /** "RTM_NEWADDR" */
  call: string;
  /** "lan0 10.77.0.1/24" */
  target: string;
  options?: SystemErrorOptions;
}

/** One socket; it speaks to the network namespace in which it was opened, wherever its thread goes. */
export class Netlink {
  private readonly fd: number;
  private readonly received = new Uint8Array(new ArrayBuffer(RECEIVE_BYTES));
  private readonly receivedAddress = addressOf(this.received);
  private sequence = 0;

  /** @throws SystemError */
  constructor(protocol: typeof NETLINK_ROUTE | typeof NETLINK_NETFILTER = NETLINK_ROUTE) {
    const name = protocol === NETLINK_ROUTE ? "NETLINK_ROUTE" : "NETLINK_NETFILTER";
    this.fd = check(socket(AF_NETLINK, SOCK_RAW, protocol), "socket", name);
    // A kernel without it says less about its errors; nothing else is lost.
    setsockopt(this.fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
  }

  close(): void {
    close(this.fd);
  }

  /** Asks for something to be done. @throws SystemError with the kernel's own words where it has some */
  change(message: Message, purpose: Purpose): void {
    this.exchange(message, NLM_F_ACK, purpose, () => {});
  }

  /** Asks for one object. @returns its payload: the family's header and attributes */
  get(message: Message, purpose: Purpose): Uint8Array {
    let answer: Uint8Array | undefined;
    this.exchange(message, NLM_F_ACK, purpose, (payload) => {
      answer = payload;
    });
    if (!answer) throw new SystemError(purpose.call, purpose.target, ENOENT, { detail: "no answer" });
    return answer;
  }

  /** Asks for all objects. @returns their payloads */
  dump(message: Message, purpose: Purpose): Uint8Array[] {
    for (let attempt = 1; ; attempt++) {
      const answers: Uint8Array[] = [];
      const consistent = this.exchange(message, NLM_F_DUMP, purpose, (payload) => answers.push(payload));
      if (consistent || attempt === DUMP_ATTEMPTS) return answers;
    }
  }

  /** Sends a request and hands every answer to `take`, until the acknowledgement. @returns whether it is consistent */
  private exchange(
    message: Message,
    flags: number,
    purpose: Purpose,
    take: (payload: Uint8Array) => void,
  ): boolean {
    const { call, target, options } = purpose;
    message.finish(NLM_F_REQUEST | flags, ++this.sequence);
    check(write(this.fd, addressOf(message.bytes), message.length), call, target, options);
    return this.answers(purpose, take);
  }

  /**
   * Sends messages as one, as nfnetlink wants its batches: all of them take effect or none.
   * @param envelope opens and closes the batch; the kernel acknowledges neither
   * @throws SystemError of the first that is refused
   */
  batch(messages: Message[], envelope: { begin: Message; end: Message }, purpose: Purpose): void {
    const all = [envelope.begin, ...messages, envelope.end];
    const bytes = new Uint8Array(new ArrayBuffer(all.reduce((sum, { length }) => sum + length, 0)));
    // One number for all: the first answer to any of them that is an error ends it.
    this.sequence++;
    let at = 0;
    for (const message of all) {
      const last = message === messages[messages.length - 1];
      message.finish(NLM_F_REQUEST | (last ? NLM_F_ACK : 0), this.sequence);
      bytes.set(message.bytes.subarray(0, message.length), at);
      at += message.length;
    }
    const { call, target, options } = purpose;
    check(write(this.fd, addressOf(bytes), bytes.length), call, target, options);
    this.answers(purpose, () => {});
  }

  /** Reads until the acknowledgement. @returns whether the answers are consistent */
  private answers(purpose: Purpose, take: (payload: Uint8Array) => void): boolean {
    const { call, target, options } = purpose;
    let consistent = true;
    for (;;) {
      const length = read(this.fd, this.receivedAddress, RECEIVE_BYTES);
      if (length === -EINTR) continue;
      check(length, call, target, options);
      const view = viewOf(this.received);
      for (let at = 0; at + NLMSG_HEADER <= length; ) {
        const size = view.getUint32(at, true);
        if (size < NLMSG_HEADER || at + size > length) throw new SystemError(call, target, EMSGSIZE);
        const bytes = this.received.slice(at, at + size);
        at += align(size);
        const header = viewOf(bytes);
        if (header.getUint32(8, true) !== this.sequence) continue;
        const type = header.getUint16(4, true);
        const answerFlags = header.getUint16(6, true);
        if ((answerFlags & NLM_F_DUMP_INTR) !== 0) consistent = false;
        if (type === NLMSG_ERROR || type === NLMSG_DONE) {
          const error = size >= NLMSG_HEADER + 4 ? header.getInt32(NLMSG_HEADER, true) : 0;
          if (error < 0) throw new SystemError(call, target, error, { detail: extack(bytes), ...options });
          return consistent;
        }
        take(bytes.subarray(NLMSG_HEADER));
      }
    }
  }
}

/** Runs `visit` with a socket to this thread's network namespace, and closes it. */
export function withNetlink<T>(visit: (netlink: Netlink) => T, protocol?: typeof NETLINK_NETFILTER): T {
  const netlink = new Netlink(protocol);
  try {
    return visit(netlink);
  } finally {
    netlink.close();
  }
}

/** The text that the kernel sent along with an error (NETLINK_EXT_ACK). */
function extack(bytes: Uint8Array): string | undefined {
  const view = viewOf(bytes);
  const flags = view.getUint16(6, true);
  if ((flags & NLM_F_ACK_TLVS) === 0) return undefined;
  const error = NLMSG_HEADER + 4;
  // The request follows the error number: its header alone where capped.
  const request = (flags & NLM_F_CAPPED) !== 0 ? NLMSG_HEADER : align(view.getUint32(error, true));
  return new Attributes(bytes, error + request).string(NLMSGERR_ATTR_MSG)?.replace(/\.$/, "");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function align(length: number): number {
  return (length + 3) & ~3;
}
