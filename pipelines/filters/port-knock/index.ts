// One word for each client, at a place that its address says. Workers change it with compare-and-exchange.
//
//    63        48        40                        0
//   +-----------+---------+------------------------+
//   | tag       | step    | until, ms              |      step: knocks in order so far; all of them: open
//   +-----------+---------+------------------------+
import {
  counter,
  Ipv4,
  log,
  now,
  OUTPUT_DROP,
  OUTPUT_NEXT,
  Output,
  Packet,
  PROTOCOL_TCP,
  PROTOCOL_UDP,
  sharedState,
  Tcp,
  Udp,
} from "pktflow/assembly";
import { Counters, Logs, params } from "./params";

const PLACES: u32 = 65536;
const STEP: u64 = 40;
const TAG: u64 = 48;
const UNTIL: u64 = (1 << 40) - 1;
const MILLISECOND: u64 = 1_000_000;
/** RFC 9293, 3.1: SYN, and ACK. */
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

let place: usize = 0;
let tag: u64 = 0;

export function packet(p: Packet): Output {
  if (!p.isIpv4) return OUTPUT_NEXT;
  const port = portThatIsOpened(p);
  if (port < 0) return OUTPUT_NEXT;
  const isPort = <u16>port == params.port;
  if (!isPort && !isKnock(<u16>port)) return OUTPUT_NEXT;
  find(Ipv4.of(p).source);
  if (isPort) {
    if (stepOf(atomic.load<u64>(place)) == params.knocks.length) return OUTPUT_NEXT;
    counter(Counters.refused).add(1);
  } else {
    knock(p, <u16>port);
  }
  // Nobody learns that a knock was heard.
  return OUTPUT_DROP;
}

/** The destination port of a packet that opens a TCP connection, or of a UDP packet; -1: it is neither. */
function portThatIsOpened(p: Packet): i32 {
  if (p.isTransport(PROTOCOL_UDP)) return Udp.of(p).destinationPort;
  if (!p.isTransport(PROTOCOL_TCP) || (Tcp.of(p).flags & SYN_ACK) != SYN) return -1;
  return Tcp.of(p).destinationPort;
}

function isKnock(port: u16): bool {
  for (let i = 0; i < params.knocks.length; i++) if (params.knocks.at(i) == port) return true;
  return false;
}

/** A mix that loses nothing (MurmurHash3's finalizer), so that place and tag together are the address. */
function find(address: u32): void {
  let h = (address ^ (address >> 16)) * 0x85ebca6b;
  h = (h ^ (h >> 13)) * 0xc2b2ae35;
  h ^= h >> 16;
  place = sharedState() + <usize>(h % PLACES) * 8;
  tag = <u64>(h / PLACES);
}

/** How many knocks are behind the client, if it is this one and its time is not over. */
function stepOf(word: u64): i32 {
  if (word >> TAG != tag || (word & UNTIL) < now() / MILLISECOND) return 0;
  return <i32>((word >> STEP) & 0xff);
}

function knock(p: Packet, port: u16): void {
  const last = params.knocks.length;
  for (;;) {
    const word = atomic.load<u64>(place);
    const step = stepOf(word);
    if (step == last) return;
    const isRight = params.knocks.at(step) == port;
    // The first knock again is a new beginning.
    const next = isRight ? step + 1 : params.knocks.at(0) == port ? 1 : 0;
    const time = next == last ? params.openFor : params.within;
    const until = (now() + time) / MILLISECOND;
    const changed = (tag << TAG) | ((<u64>next) << STEP) | (until & UNTIL);
    if (atomic.cmpxchg<u64>(place, word, changed) != word) continue;
    counter(isRight ? Counters.knocks : Counters.wrong).add(1);
    if (next == last) {
      counter(Counters.opened).add(1);
      log(Logs.opened, Ipv4.of(p).source);
    }
    return;
  }
}
