// Queries for listed names are answered, all else goes on. A query is read as far as it must be to be answered, and what cannot be read
// is somebody else's to judge, unless it is told otherwise.

import {
  be16,
  counter,
  Ipv4,
  Ipv6,
  OUTPUT_NEXT,
  Output,
  PACKET_FLAG_BROADCAST,
  PACKET_FLAG_CSUM_PARTIAL,
  PACKET_FLAG_CSUM_VALID,
  PACKET_FLAG_MULTICAST,
  PACKET_FLAG_OPTIONS,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  sum,
  sumPseudoIpv4,
  sumPseudoIpv6,
  TCP_ACK,
  TCP_SYN,
  Tcp,
  UDP_CHECKSUM,
  UDP_DESTINATION_PORT,
  UDP_HEADER,
  UDP_LENGTH,
} from "pktflow/assembly";
import { isSuper } from "pktflow/assembly/lib/segment";
import { buildNames, EXCEPTED, findName, LISTED, namesBytes } from "./names";
import { Counters, Outputs, params } from "./params";
import { NOT_OURS, readQuery, UNREADABLE } from "./question";
import { answer, answers } from "./reply";

const PORT: u16 = 53;
const MULTICAST4: u32 = 0xe0000000;

export function preparedStateSize(_: usize): usize {
  return namesBytes();
}

export function prepare(): void {
  buildNames();
}

export function packet(p: Packet): Output {
  if (p.isTransport(PROTOCOL_UDP)) {
    if (be16(p.transport + UDP_DESTINATION_PORT) == PORT) return query(p);
  } else if (p.isTransport(PROTOCOL_TCP)) {
    const tcp = Tcp.of(p);
    if (tcp.destinationPort == PORT && (tcp.flags & (TCP_SYN | TCP_ACK)) == TCP_SYN)
      counter(Counters.tcp).add(1);
  }
  return OUTPUT_NEXT;
}

function query(p: Packet): Output {
  if (p.isFragment || p.isMalformed || p.has(PACKET_FLAG_OPTIONS) || isSuper(p) || isFromMany(p))
    return unreadable();
  const udp = p.transport;
  const end = udp + <usize>be16(udp + UDP_LENGTH);
  const read = readQuery(udp + UDP_HEADER, end);
  if (read == NOT_OURS) return OUTPUT_NEXT;
  if (read == UNREADABLE || !isRight(p, end)) return unreadable();
  counter(Counters.queries).add(1);
  const found = findName();
  if (found != LISTED) {
    if (found == EXCEPTED) counter(Counters.excepted).add(1);
    return OUTPUT_NEXT;
  }
  const count = answers();
  if (!answer(p)) return unreadable();
  if (count > 0) counter(Counters.addresses).add(1);
  else counter(params.answer.length == 0 ? Counters.noName : Counters.noData).add(1);
  return Outputs.reply;
}

function unreadable(): Output {
  counter(Counters.unreadable).add(1);
  return params.unreadable;
}

/** An answer to such a source would go to many, or to nobody. */
function isFromMany(p: Packet): bool {
  if (p.has(PACKET_FLAG_BROADCAST | PACKET_FLAG_MULTICAST)) return true;
  if (p.isIpv4) {
    const source = Ipv4.of(p).source;
    return source >= MULTICAST4 || source >> 24 == 0 || source >> 24 == 127;
  }
  const ip = Ipv6.of(p);
  return ip.sourceHigh >> 56 == 0xff || (ip.sourceHigh == 0 && ip.sourceLow <= 1);
}

/** A query that was damaged on its way may have had another name. */
function isRight(p: Packet, end: usize): bool {
  if (p.has(PACKET_FLAG_CSUM_PARTIAL | PACKET_FLAG_CSUM_VALID)) return true;
  const udp = p.transport;
  // RFC 768 allows none, RFC 8200, 8.1 does not.
  if (load<u16>(udp, UDP_CHECKSUM) == 0) return p.isIpv4;
  const bytes = <u32>(end - udp);
  const pseudo = p.isIpv4
    ? sumPseudoIpv4(p.ip, PROTOCOL_UDP, bytes)
    : sumPseudoIpv6(p.ip, PROTOCOL_UDP, bytes);
  return sum(udp, bytes, pseudo) == 0xffff;
}
