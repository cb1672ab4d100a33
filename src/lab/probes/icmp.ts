/** ICMP echo (RFC 792, RFC 4443 section 4) over a raw socket: the peer's kernel answers. */
import { randomBytes } from "node:crypto";
import { parseAddress } from "../../params/addresses.ts";
import { close, POLLIN, ppoll, read, write } from "../../sys/calls.ts";
import { EAGAIN, errnoName } from "../../sys/errno.ts";
import { addressOf } from "../../sys/memory.ts";
import { connectIcmp } from "../../sys/raw-socket.ts";
import { Answers, ECHOES, type OnProgress, type Probe, type ProbeTask, SILENCE } from "./probe.ts";

/** By family: the types of request and reply. */
const TYPES = { 4: { request: 8, reply: 0 }, 6: { request: 128, reply: 129 } } as const;
/** type u8, code u8, checksum u16, identifier u16, sequence number u16 */
const HEADER_BYTES = 8;
const PAYLOAD_BYTES = 48;
/** One wait; between two of them the host's thread does what else there is to do. ns */
const WAIT = 5e6;

export function probeIcmp({ to }: ProbeTask, onProgress: OnProgress): Probe {
  const peer = parseAddress(to)!;
  const names = Array.from({ length: ECHOES }, (_, i) => `echo ${i + 1}`);
  const answers = new Answers(names, SILENCE, onProgress);
  const fd = connectIcmp(peer.bytes);
  if (fd < 0) {
    for (const i of names.keys()) answers.set(i, { outcome: "silent", why: `connect: ${errnoName(fd)}` });
    return { answers: answers.all, giveUp: () => {} };
  }
  const requests = names.map((_, i) => echoRequest(peer.family, i));
  const sentAt = requests.map((request) => send(fd, request, answers));
  void receive(fd, peer.family, requests, sentAt, answers).finally(() => close(fd));
  return { answers: answers.all, giveUp: () => answers.end() };
}

/** @returns when, performance.now() */
function send(fd: number, request: Uint8Array, answers: Answers): number {
  const now = performance.now();
  const result = write(fd, addressOf(request), request.length);
  if (result < 0) {
    // An error about an earlier one, or one of this machine's own (no route): it took this one's place.
    answers.set(answers.firstPending, { outcome: "refused", why: errnoName(result) });
    write(fd, addressOf(request), request.length);
  }
  return now;
}

async function receive(
  fd: number,
  family: 4 | 6,
  requests: Uint8Array[],
  sentAt: number[],
  answers: Answers,
): Promise<void> {
  const buffer = new Uint8Array(new SharedArrayBuffer(65536));
  const pollfd = new Int32Array(new SharedArrayBuffer(8));
  pollfd[0] = fd;
  pollfd[1] = POLLIN;
  while (!answers.ended) {
    ppoll(addressOf(pollfd), 1, WAIT);
    const now = performance.now();
    for (;;) {
      const length = read(fd, addressOf(buffer), buffer.length);
      if (length === -EAGAIN) break;
      if (length < 0) answers.set(answers.firstPending, { outcome: "refused", why: errnoName(length) });
      else readReply(buffer.subarray(0, length), family, requests, sentAt, now, answers);
    }
    // A turn of the event loop: messages to this thread, and its servers.
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

function readReply(
  packet: Uint8Array,
  family: 4 | 6,
  requests: Uint8Array[],
  sentAt: number[],
  now: number,
  answers: Answers,
): void {
  // The kernel gives IPv4 packets with their header, and ICMPv6 messages without.
  const message = family === 4 ? packet.subarray((packet[0] & 15) * 4) : packet;
  if (message.length < HEADER_BYTES || message[0] !== TYPES[family].reply) return;
  const index = requests.findIndex(
    (request) => Buffer.compare(request.subarray(4, HEADER_BYTES), message.subarray(4, HEADER_BYTES)) === 0,
  );
  if (index < 0) return;
  const same = Buffer.compare(message.subarray(HEADER_BYTES), requests[index].subarray(HEADER_BYTES)) === 0;
  if (same) answers.set(index, { outcome: "answered", ms: now - sentAt[index] });
  else answers.set(index, { outcome: "corrupt", why: "another payload came back" });
}

function echoRequest(family: 4 | 6, sequence: number): Uint8Array {
  const message = new Uint8Array(HEADER_BYTES + PAYLOAD_BYTES);
  message[0] = TYPES[family].request;
  // The identifier and the payload are random: nobody else's reply is taken for ours.
  message.set(randomBytes(2), 4);
  message[7] = sequence + 1;
  message.set(randomBytes(PAYLOAD_BYTES), HEADER_BYTES);
  if (family === 4) {
    const sum = checksum(message);
    message[2] = sum >>> 8;
    message[3] = sum & 255;
  }
  return message;
}

/** RFC 1071. @param bytes an even number of them */
export function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
