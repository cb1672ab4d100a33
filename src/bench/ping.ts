/**
 * Round trips: ICMP echo requests (RFC 792, RFC 4443) from one host to another, whose kernel answers. As ping(8) does it:
 * from before the send to the time at which the kernel took the reply from the device. Thread: the main one, in slices.
 */
import { checksum } from "../lab/probes/icmp.ts";
import { clockMonotonic, clockRealtime, close, POLLIN, ppoll, write } from "../sys/calls.ts";
import { Receiver, stampArrivals } from "../sys/datagrams.ts";
import { check } from "../sys/errno.ts";
import { addressOf } from "../sys/memory.ts";
import { withNamespace } from "../sys/namespaces.ts";
import { connectIcmp } from "../sys/raw-socket.ts";
import { type Latency, latency } from "./results.ts";
import type { Side } from "./stage.ts";

/** type u8, code u8, checksum u16, identifier u16, sequence number u16; 56 bytes behind it, as ping(8)'s. */
const MESSAGE_BYTES = 8 + 56;
const SEQUENCE = 6;
/** A reply that has not come by now is lost. ns */
const PATIENCE = 100e6;
/** The event loop has its turn this often. ns */
const SLICE = 50e6;

export interface PingOptions {
  /** ms */
  duration: number;
  /** From one request to the next, ns; 0: a request follows the reply at once. */
  period: number;
  signal: AbortSignal;
}

/** @throws SystemError, the signal's reason */
export async function ping(from: Side, octets: readonly number[], options: PingOptions): Promise<Latency> {
  const fd = withNamespace(from.namespace, () => check(connectIcmp(octets), "connect", "a raw ICMP socket"));
  try {
    check(stampArrivals(fd), "setsockopt", "SO_TIMESTAMPNS");
    const pinger = new Pinger(fd, octets.length === 4);
    const end = clockMonotonic() + options.duration * 1e6;
    while (clockMonotonic() < end) {
      options.signal.throwIfAborted();
      pinger.run(Math.min(end, clockMonotonic() + SLICE), options.period);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return latency(pinger.samples, pinger.sent);
  } finally {
    close(fd);
  }
}

class Pinger {
  readonly samples: number[] = [];
  sent = 0;
  private readonly fd: number;
  private readonly v4: boolean;
  private readonly message = new Uint8Array(new SharedArrayBuffer(MESSAGE_BYTES));
  private readonly address = addressOf(this.message);
  private readonly clock = new Uint32Array(new SharedArrayBuffer(8));
  private readonly pollfd = new Int32Array(new SharedArrayBuffer(8));
  private readonly pollAddress = addressOf(this.pollfd);
  private readonly receiver = new Receiver();

  constructor(fd: number, v4: boolean) {
    this.fd = fd;
    this.v4 = v4;
    this.message[0] = v4 ? 8 : 128;
    // Any identifier will do: the namespace is this program's own.
    this.message[4] = 0x70;
  }

  /** @param end of CLOCK_MONOTONIC, ns */
  run(end: number, period: number): void {
    for (let now = clockMonotonic(); now < end; now = clockMonotonic()) {
      const ns = this.roundTrip();
      if (ns > 0) this.samples.push(ns);
      const rest = now + period - clockMonotonic();
      // No descriptor is waited for: a timer.
      if (rest > 0) ppoll(this.pollAddress, 0, rest);
    }
  }

  /** @returns ns; 0: no reply came */
  private roundTrip(): number {
    const sequence = ++this.sent & 0xffff;
    const { message } = this;
    message[SEQUENCE] = sequence >>> 8;
    message[SEQUENCE + 1] = sequence & 0xff;
    message[2] = message[3] = 0;
    if (this.v4) {
      const sum = checksum(message);
      message[2] = sum >>> 8;
      message[3] = sum & 0xff;
    }
    clockRealtime(this.clock, 0);
    if (write(this.fd, this.address, message.length) < 0) return 0;
    for (
      let left = PATIENCE, start = clockMonotonic();
      left > 0;
      left = start + PATIENCE - clockMonotonic()
    ) {
      this.pollfd[0] = this.fd;
      this.pollfd[1] = POLLIN;
      ppoll(this.pollAddress, 1, left);
      while (this.receiver.receive(this.fd) > 0) if (this.isReply(sequence)) return this.passed();
    }
    return 0;
  }

  private isReply(sequence: number): boolean {
    const { payload } = this.receiver;
    // The kernel gives IPv4 packets with their header, and ICMPv6 messages without.
    const at = this.v4 ? 4 * (payload[0] & 15) : 0;
    const type = this.v4 ? 0 : 129;
    return payload[at] === type && ((payload[at + SEQUENCE] << 8) | payload[at + SEQUENCE + 1]) === sequence;
  }

  private passed(): number {
    const { seconds, nanoseconds } = this.receiver;
    return ((seconds - this.clock[0]) | 0) * 1e9 + nanoseconds - this.clock[1];
  }
}
