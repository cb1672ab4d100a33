// The answer, made of the query in its place: the question stays as it came, to the case of its letters, and what came behind it
// makes room for records. Addresses, ports and, on Ethernet, the stations' addresses change sides.

import {
  be16,
  complement,
  Ethernet,
  IPV4_CHECKSUM,
  IPV4_DESTINATION,
  IPV4_SOURCE,
  IPV6_DESTINATION,
  IPV6_SOURCE,
  PACKET_FLAG_CSUM_VALID,
  Packet,
  setBe16,
  setBe32,
  sumIpv4Header,
  UDP_DESTINATION_PORT,
  UDP_HEADER,
  UDP_LENGTH,
  UDP_SOURCE_PORT,
} from "pktflow/assembly";
import { completeChecksum, makePartial } from "pktflow/assembly/lib/segment";
import { foundLabel } from "./names";
import { Ip, params } from "./params";
import {
  ANCOUNT,
  ARCOUNT,
  CLASS_IN,
  DNS_HEADER,
  FLAGS,
  hasEdns,
  labelStart,
  NSCOUNT,
  queryType,
  questionEnd,
  TYPE_OPT,
  wantsDnssec,
} from "./question";

const TTL: u8 = 64;
const TYPE_A: u32 = 1;
const TYPE_SOA: u32 = 6;
const TYPE_AAAA: u32 = 28;
const TYPE_ANY: u32 = 255;
/** QR, AA and RA; of the query's, RD and CD stay. */
const REPLY: u32 = 0x8480;
const KEPT: u32 = 0x0110;
const NXDOMAIN: u32 = 3;
const POINTER: u32 = 0xc000;
/** Octets of a record before its data, its name a pointer; of an SOA's data with names that are pointers. */
const RECORD: u32 = 12;
const SOA_DATA: u32 = 24;
const OPT: u32 = 11;
/** What we take over UDP: no fragments (the DNS flag day's, 2020). */
const UDP_SIZE: u32 = 1232;

/** Addresses that answer this query. */
export function answers(): u32 {
  let count: u32 = 0;
  for (let i = 0; i < params.answer.length; i++) if (fits(params.answer.at(i))) count++;
  return count;
}

function fits(ip: Ip): bool {
  return queryType == TYPE_ANY || queryType == (ip.family == 4 ? TYPE_A : TYPE_AAAA);
}

/** @returns false: its slot has no room for the answer, and it is as it was */
export function answer(p: Packet): bool {
  const message = p.transport + UDP_HEADER;
  let end = questionEnd + replyBytes();
  if (end > <usize>p.slot + p.capacity) return false;
  let at = questionEnd;
  let records: u32 = 0;
  const ttl = <u32>(params.ttl / 1_000_000_000);
  for (let i = 0; i < params.answer.length; i++) {
    const ip = params.answer.at(i);
    if (!fits(ip)) continue;
    const isIpv4 = ip.family == 4;
    at = record(at, <u32>DNS_HEADER, isIpv4 ? TYPE_A : TYPE_AAAA, ttl, isIpv4 ? 4 : 16);
    memory.copy(at, ip.address + (isIpv4 ? 12 : 0), isIpv4 ? 4 : 16);
    at += isIpv4 ? 4 : 16;
    records++;
  }
  if (records == 0) at = authority(at, ttl);
  if (hasEdns) at = edns(at);
  const flags = (<u32>be16(message + FLAGS) & KEPT) | REPLY;
  setBe16(message + FLAGS, <u16>(flags | (params.answer.length == 0 ? NXDOMAIN : 0)));
  setBe16(message + ANCOUNT, <u16>records);
  setBe16(message + NSCOUNT, records == 0 ? 1 : 0);
  setBe16(message + ARCOUNT, hasEdns ? 1 : 0);
  turn(p, <u32>(at - p.transport));
  return true;
}

function replyBytes(): usize {
  let bytes: u32 = 0;
  for (let i = 0; i < params.answer.length; i++) {
    const ip = params.answer.at(i);
    if (fits(ip)) bytes += RECORD + (ip.family == 4 ? 4 : 16);
  }
  return (bytes == 0 ? RECORD + SOA_DATA : bytes) + (hasEdns ? OPT : 0);
}

/** @param name offset in the message of what it is about @returns address of its data */
function record(at: usize, name: u32, type: u32, ttl: u32, bytes: u32): usize {
  setBe16(at, <u16>(POINTER | name));
  setBe16(at + 2, <u16>type);
  setBe16(at + 4, <u16>CLASS_IN);
  setBe32(at + 6, ttl);
  setBe16(at + 10, <u16>bytes);
  return at + RECORD;
}

/** What lets resolvers keep that there is nothing (RFC 2308, 3): the listed name as a zone of its own. */
function authority(at: usize, ttl: u32): usize {
  const zone = <u32>DNS_HEADER + labelStart(foundLabel);
  const data = record(at, zone, TYPE_SOA, ttl, SOA_DATA);
  setBe16(data, <u16>(POINTER | zone));
  setBe16(data + 2, <u16>(POINTER | zone));
  // Serial, refresh, retry, expire, and the TTL of what is not there.
  setBe32(data + 4, 1);
  setBe32(data + 8, 3600);
  setBe32(data + 12, 600);
  setBe32(data + 16, 86_400);
  setBe32(data + 20, ttl);
  return data + SOA_DATA;
}

function edns(at: usize): usize {
  store<u8>(at, 0);
  setBe16(at + 1, <u16>TYPE_OPT);
  setBe16(at + 3, <u16>UDP_SIZE);
  setBe32(at + 5, wantsDnssec ? 0x8000 : 0);
  setBe16(at + 9, 0);
  return at + OPT;
}

/** Back to where it came from. @param bytes of the UDP header and its data */
function turn(p: Packet, bytes: u32): void {
  if (p.l3 != 0) {
    const ethernet = Ethernet.at(p.data);
    const sender = ethernet.source;
    ethernet.source = ethernet.destination;
    ethernet.destination = sender;
  }
  const ip = p.ip;
  if (p.isIpv4) {
    const source = load<u32>(ip, IPV4_SOURCE);
    store<u32>(ip, load<u32>(ip, IPV4_DESTINATION), IPV4_SOURCE);
    store<u32>(ip, source, IPV4_DESTINATION);
    setBe16(ip + 2, <u16>(<u32>p.l4 - <u32>p.l3 + bytes));
    store<u8>(ip, TTL, 8);
    store<u16>(ip, 0, IPV4_CHECKSUM);
    store<u16>(ip, complement(sumIpv4Header(ip)), IPV4_CHECKSUM);
  } else {
    const high = load<u64>(ip, IPV6_SOURCE);
    const low = load<u64>(ip, IPV6_SOURCE + 8);
    memory.copy(ip + IPV6_SOURCE, ip + IPV6_DESTINATION, 16);
    store<u64>(ip, high, IPV6_DESTINATION);
    store<u64>(ip, low, IPV6_DESTINATION + 8);
    setBe16(ip + 4, <u16>bytes);
    store<u8>(ip, TTL, 7);
  }
  const udp = p.transport;
  const port = load<u16>(udp, UDP_SOURCE_PORT);
  store<u16>(udp, load<u16>(udp, UDP_DESTINATION_PORT), UDP_SOURCE_PORT);
  store<u16>(udp, port, UDP_DESTINATION_PORT);
  setBe16(udp + UDP_LENGTH, <u16>bytes);
  p.length = <u32>p.l4 + bytes;
  makePartial(p);
  completeChecksum(p);
  p.vnetFlags = 0;
  p.flags &= ~PACKET_FLAG_CSUM_VALID;
}
