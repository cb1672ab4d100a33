// Looks for the server name (RFC 6066, 3) in a TLS ClientHello (RFC 8446, 4.1.2), as far as it lies in one segment.
//
//    0      1         3        5      6        9         11       43
//   +------+---------+--------+------+--------+---------+--------+------------+---------------+-------------+-----------
//   | 22   | version | length | 1    | length | version | random | session id | cipher suites | compression | extensions
//   +------+---------+--------+------+--------+---------+--------+------------+---------------+-------------+-----------
//     TLS record               ClientHello                         u8 + bytes   u16 + bytes     u8 + bytes    u16 + list
//
// Every length is the sender's, so nothing is read before it was found to lie in the packet.

import { be16, be32, counter, OUTPUT_NEXT, Output, Packet, PROTOCOL_TCP, Tcp } from "pktflow/assembly";
import { Counters, params } from "./params";

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const TO_SESSION_ID: usize = 43;
const SERVER_NAME: u16 = 0;
/** Of a server name extension: length of the list, type of the name, length of the name. */
const NAME_HEADER: usize = 5;

// Where we are, and where the segment ends.
let at: usize = 0;
let end: usize = 0;
let name: usize = 0;
let nameLength: usize = 0;

export function packet(p: Packet): Output {
  if (!p.isTransport(PROTOCOL_TCP) || Tcp.of(p).destinationPort != params.port) return OUTPUT_NEXT;
  at = <usize>p.data + <usize>p.payload;
  end = p.ipEnd;
  if (!isClientHello()) return OUTPUT_NEXT;
  nameLength = 0;
  if (!findName()) {
    counter(Counters.cut).add(1);
    return params.strict ? params.action : OUTPUT_NEXT;
  }
  const blocked = isListed();
  counter(blocked ? Counters.blocked : Counters.allowed).add(1);
  return blocked ? params.action : OUTPUT_NEXT;
}

function isClientHello(): bool {
  return (
    at + 9 <= end && load<u8>(at) == HANDSHAKE && load<u8>(at, 1) == 3 && load<u8>(at, 5) == CLIENT_HELLO
  );
}

/** Finds the name, if there is one. @returns false: the segment ends before */
function findName(): bool {
  const helloEnd = at + 9 + <usize>(be32(at + 5) & 0xffffff);
  if (!skip(TO_SESSION_ID) || !skipVector(1) || !skipVector(2) || !skipVector(1)) return false;
  // There may be no extensions at all.
  if (at >= helloEnd) return true;
  if (end - at < 2) return false;
  const limit = at + 2 + <usize>be16(at);
  const whole = limit <= end;
  if (whole) end = limit;
  at += 2;
  while (end - at >= 4) {
    const type = be16(at);
    const length = <usize>be16(at + 2);
    at += 4;
    if (type == SERVER_NAME) return takeName(length);
    if (!skip(length)) return whole;
  }
  return whole;
}

function takeName(length: usize): bool {
  if (end - at < length) return false;
  if (length < NAME_HEADER || load<u8>(at, 2) != 0) return true;
  const bytes = <usize>be16(at + 3);
  if (bytes > length - NAME_HEADER) return true;
  name = at + NAME_HEADER;
  nameLength = bytes;
  return true;
}

function skip(bytes: usize): bool {
  if (end - at < bytes) return false;
  at += bytes;
  return true;
}

/** Passes over a length of so many bytes, and what it counts. */
function skipVector(width: usize): bool {
  if (end - at < width) return false;
  return skip(width + (width == 1 ? <usize>load<u8>(at) : <usize>be16(at)));
}

function isListed(): bool {
  const names = params.names;
  for (let i = 0; i < names.length; i++) {
    const text = names.at(i);
    if (text.length != 0 && isAtOrBelow(text.address, text.length)) return true;
  }
  return false;
}

/** Is the name this one, or does it end in a dot and this one? DNS names know no case (RFC 4343). */
function isAtOrBelow(address: usize, length: usize): bool {
  if (nameLength < length) return false;
  const tail = name + nameLength - length;
  if (tail > name && load<u8>(tail - 1) != 0x2e) return false;
  for (let i: usize = 0; i < length; i++) {
    if (lower(load<u8>(tail + i)) != lower(load<u8>(address + i))) return false;
  }
  return true;
}

function lower(byte: u8): u8 {
  return byte - 0x41 < 26 ? byte | 0x20 : byte;
}
