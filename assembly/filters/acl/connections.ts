// What the filter knows beside its rules: connections and the first fragments of datagrams, in the state that the workers
// share. It outlives the rules: they may change while the pipeline runs.

import {
  now,
  Packet,
  PROTOCOL_ICMP,
  PROTOCOL_ICMPV6,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  random,
  Tcp,
  worker,
  workers,
} from "pktflow/assembly";
import {
  CLASS_ICMP,
  CLASS_OTHER,
  CLASS_UDP,
  CLASS_UDP_STREAM,
  openConntrack,
} from "pktflow/assembly/lib/conntrack";
import { reapConnections } from "pktflow/assembly/lib/conntrack-expiry";
import { ConntrackTable } from "pktflow/assembly/lib/conntrack-table";
import {
  TCP_CLOSE_WAIT,
  TCP_CLOSED,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT,
  TCP_LAST_ACK,
  TCP_SYN_RECEIVED,
  TCP_SYN_SENT,
  TCP_SYN_SENT_BOTH,
  TCP_TIME_WAIT,
} from "pktflow/assembly/lib/conntrack-tcp";
import {
  FRAGMENT_EVICTED,
  FRAGMENT_KNOWN,
  FRAGMENT_REFUSED,
  FragmentTable,
} from "pktflow/assembly/lib/fragment-table";
import { params } from "./params";

const SECOND: u64 = 1_000_000_000;
/** Records that a worker looks through each tick for connections that have ended. */
const REAPED: u32 = 4096;

let table: ConntrackTable = changetype<ConntrackTable>(0);
let fragments: FragmentTable = changetype<FragmentTable>(0);
let header: usize = 0;
let reapFrom: u32 = 0;

// The tables lie behind their addresses.
//    0           4           64
//   +-----------+-----------+-------------+-----------+
//   | conntrack | fragments | connections | fragments |
//   +-----------+-----------+-------------+-----------+
const TABLES_CONNTRACK: usize = 0;
const TABLES_FRAGMENTS: usize = 4;
const TABLES_HEADER: usize = 64;

export function tablesSize(): usize {
  let bytes = TABLES_HEADER;
  if (params.stateful) bytes += align64(ConntrackTable.bytes(params.connections));
  if (params.reassembly != 0) bytes += FragmentTable.bytes(params.reassembly);
  return bytes;
}

/** Once, before the workers start. @param tables a multiple of 64 */
export function formatTables(tables: usize): void {
  let at = tables + TABLES_HEADER;
  if (params.stateful) {
    store<u32>(tables, <u32>at, TABLES_CONNTRACK);
    setTimeouts(ConntrackTable.format(at, params.connections, random()));
    at += align64(ConntrackTable.bytes(params.connections));
  }
  if (params.reassembly != 0) {
    store<u32>(tables, <u32>at, TABLES_FRAGMENTS);
    FragmentTable.format(at, params.reassembly, random(), params.fragmentTimeout);
  }
}

/** As Linux's net.netfilter.nf_conntrack_*_timeout*. */
function setTimeouts(made: ConntrackTable): void {
  made.setTimeout(TCP_SYN_SENT, 120 * SECOND);
  made.setTimeout(TCP_SYN_SENT_BOTH, 120 * SECOND);
  made.setTimeout(TCP_SYN_RECEIVED, 60 * SECOND);
  made.setTimeout(TCP_ESTABLISHED, params.tcpEstablishedTimeout);
  made.setTimeout(TCP_FIN_WAIT, 120 * SECOND);
  made.setTimeout(TCP_CLOSE_WAIT, 60 * SECOND);
  made.setTimeout(TCP_LAST_ACK, 30 * SECOND);
  made.setTimeout(TCP_TIME_WAIT, 120 * SECOND);
  made.setTimeout(TCP_CLOSED, 10 * SECOND);
  made.setTimeout(CLASS_UDP, params.udpTimeout);
  made.setTimeout(CLASS_UDP_STREAM, params.udpStreamTimeout);
  made.setTimeout(CLASS_ICMP, params.icmpTimeout);
  made.setTimeout(CLASS_OTHER, params.otherTimeout);
}

/**
 * In each worker, at the start and whenever the rules have changed.
 * @param asks some rule asks for ports, flags or ICMP types: those that look at addresses alone treat all fragments of a
 * datagram alike
 * @param room 128 bytes of its own
 * @returns are there connections?
 */
export function openTables(tables: usize, asks: bool, room: usize): bool {
  const at = <usize>load<u32>(tables, TABLES_CONNTRACK);
  const isStateful = at != 0;
  fragments = FragmentTable.at(isStateful || asks ? <usize>load<u32>(tables, TABLES_FRAGMENTS) : 0);
  header = room + 64;
  table = changetype<ConntrackTable>(at);
  if (isStateful) openConntrack(at, room, params.tcpLoose);
  return isStateful;
}

/** Other timeouts hold at once, for the connections that there are as well. Each worker writes the same. */
export function renewTimeouts(): void {
  if (changetype<usize>(table) != 0) setTimeouts(table);
}

/** @returns how many connections have ended */
export function reap(): u32 {
  if (changetype<usize>(table) == 0) return 0;
  // Each worker looks at a part of them.
  if (reapFrom == 0) reapFrom = REAPED * worker();
  const removed = reapConnections(table, reapFrom, REAPED, now());
  reapFrom += REAPED * workers();
  return removed;
}

/** The transport header that a fragment belongs to: its first 8 bytes, and TCP's flags. */
export let datagramHeader: usize = 0;
export let datagramFlags: u8 = 0;

export const DATAGRAM_KNOWN: i32 = 0;
/** Known, and another one has been forgotten for it. */
export const DATAGRAM_EVICTED: i32 = 1;
/** The first fragment differs from this one. */
export const DATAGRAM_UNKNOWN: i32 = -1;
/** The first fragment has not come, or came too long ago. */
export const DATAGRAM_PENDING: i32 = -2;

/** Finds the transport header of a fragment's datagram, or keeps it if this is the first. */
export function findDatagram(p: Packet, isFirst: bool): i32 {
  datagramHeader = p.hasTransport ? p.transport : 0;
  datagramFlags = p.isTransport(PROTOCOL_TCP) ? Tcp.of(p).flags : 0;
  const protocol = p.protocol;
  const hasHeader =
    protocol == PROTOCOL_TCP ||
    protocol == PROTOCOL_UDP ||
    protocol == (p.isIpv4 ? PROTOCOL_ICMP : PROTOCOL_ICMPV6);
  if (changetype<usize>(fragments) == 0 || !hasHeader) return DATAGRAM_KNOWN;
  // RFC 8200, 4.5: the first fragment's protocol counts; one that says another would be read as what it is not.
  const other = ((<u64>protocol) << 8) | <u64>datagramFlags;
  if (isFirst) {
    const value = load<u64>(datagramHeader);
    const put = fragments.put(p, value, other, now());
    if (put == FRAGMENT_REFUSED) return DATAGRAM_UNKNOWN;
    // The first one may come twice, but not with other ports or flags: who knows which the receiver takes.
    if (put == FRAGMENT_KNOWN && (fragments.value != value || fragments.other != other))
      return DATAGRAM_UNKNOWN;
    return put == FRAGMENT_EVICTED ? DATAGRAM_EVICTED : DATAGRAM_KNOWN;
  }
  if (!fragments.find(p, now())) return DATAGRAM_PENDING;
  if (<u8>(fragments.other >> 8) != protocol) return DATAGRAM_UNKNOWN;
  store<u64>(header, fragments.value);
  datagramHeader = header;
  datagramFlags = <u8>fragments.other;
  return DATAGRAM_KNOWN;
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
