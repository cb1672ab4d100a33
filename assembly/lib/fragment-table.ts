// What the first fragment of a datagram showed, for those that come without it: virtual reassembly (VPP's "shallow"
// one, RFC 4963's caveats hold). Nothing is put together; a filter keeps a number of its own (ports, a verdict, where
// the datagram goes) with the datagram's name, and every other fragment finds it. Shared by all workers, of fixed size.
//
//    0       4      8           64                  then (a cache line on)
//   +-------+------+-----------+-------------------+--------------------------------------
//   | sets  | life |  seeds    | u32 a set: lock   | sets of 4 entries, 64 bytes each
//   +-------+------+-----------+-------------------+--------------------------------------
//    entry
//    0        4       8                                40                              48      56
//   +--------+-------+--------------------------------+-------------------------------+-------+-------+
//   | version| until | source, destination            | identification, protocol,     | value | other |
//   |        |       | (IPv4: one word, IPv6: four)   | family (0: the entry is free) |       |       |
//   +--------+-------+--------------------------------+-------------------------------+-------+-------+
//
// A datagram's name: source, destination, identification, and in IPv4 the protocol (RFC 791, 3.2; RFC 8200, 4.5: IPv6
// leaves the protocol out). It is compared whole, so nobody can make one datagram be taken for another. until: in UNIT ns.
// version: odd while the entry is written, so that readers take no lock; a writer holds its set's.
//
// A full set loses what ends first: a flood of fragments costs others theirs, and never memory; put() says so.

import { Packet } from "../abi/packet";
import { be16, be32, be64 } from "../wire/bytes";
import { Ipv4 } from "../wire/ipv4";
import {
  extensionLength,
  IPV6_DESTINATION,
  IPV6_HEADER,
  IPV6_SOURCE,
  Ipv6,
  isExtension,
  NEXT_HEADER_FRAGMENT,
} from "../wire/ipv6";
import { lock, unlock } from "./spin-lock";

const HEADER: usize = 64;
const SEEDS: usize = 8;
const WAYS: u32 = 4;
const ENTRY: usize = 64;
const UNTIL: usize = 4;
const NAME: usize = 8;
const TAIL: usize = 40;
const VALUE: usize = 48;
const OTHER: usize = 56;
/** 2^27 ns, 134 ms. */
const UNIT_SHIFT: u64 = 27;

/** What put() did. */
export const FRAGMENT_KEPT: i32 = 0;
/** The datagram was known already: its value is what it was, see `value`. */
export const FRAGMENT_KNOWN: i32 = 1;
/** Kept, in the place of another datagram that had time left. */
export const FRAGMENT_EVICTED: i32 = 2;
/** Not kept: the set's lock was not to be had; or the packet has no fragment header. */
export const FRAGMENT_REFUSED: i32 = -1;

// The name of the packet at hand.
let name0: u64 = 0;
let name1: u64 = 0;
let name2: u64 = 0;
let name3: u64 = 0;
let tail: u64 = 0;
// What find() and put() saw last.
let seenValue: u64 = 0;
let seenOther: u64 = 0;

@unmanaged
export class FragmentTable {
  private sets: u32;
  private life: u32;

  /** @param datagrams room for at least so many, 4 to 2^24 */
  static bytes(datagrams: u32): usize {
    const sets = <usize>setsFor(datagrams);
    return HEADER + align64(sets << 2) + sets * <usize>WAYS * ENTRY;
  }

  /**
   * Once, in zeroed shared memory, at a multiple of 64, before any worker looks.
   * @param seed random: what the sets are found by, so that nobody outside can aim for one
   * @param life ns that a datagram is remembered from its first fragment on (RFC 791 says 15 s, Linux takes 30)
   */
  static format(at: usize, datagrams: u32, seed: u64, life: u64): FragmentTable {
    const table = changetype<FragmentTable>(at);
    table.sets = setsFor(datagrams);
    table.life = <u32>max<u64>(1, (life + ((1 << UNIT_SHIFT) - 1)) >> UNIT_SHIFT);
    for (let i: usize = 0; i < 6; i++) {
      seed = mix(seed + 0x9e3779b97f4a7c15);
      store<u64>(at + (i << 3), seed, SEEDS);
    }
    return table;
  }

  @inline static at(address: usize): FragmentTable {
    return changetype<FragmentTable>(address);
  }

  /** What was kept with the datagram that find() or put() saw last. */
  @inline get value(): u64 {
    return seenValue;
  }
  @inline get other(): u64 {
    return seenOther;
  }

  /** Is the datagram known that this fragment is of? Then `value` and `other` are what was kept. No lock. */
  find(p: Packet, now: u64): bool {
    return readName(p) && this.look(this.setOf(), unitsOf(now)) != 0;
  }

  /**
   * Keeps two numbers with the datagram that this fragment is of, usually the first one's.
   * One that is known already keeps its own: who sends a second first fragment cannot turn the others elsewhere.
   * @returns FRAGMENT_KEPT, FRAGMENT_KNOWN, FRAGMENT_EVICTED or FRAGMENT_REFUSED
   */
  put(p: Packet, value: u64, other: u64, now: u64): i32 {
    if (!readName(p)) return FRAGMENT_REFUSED;
    const set = this.setOf();
    if (!lock(this.lockOf(set))) return FRAGMENT_REFUSED;
    const result = this.putLocked(set, value, other, unitsOf(now));
    unlock(this.lockOf(set));
    return result;
  }

  /** Forgets the datagram, if it is known: what its first fragment was told no longer holds. */
  remove(p: Packet, now: u64): void {
    if (!readName(p)) return;
    const set = this.setOf();
    if (!lock(this.lockOf(set))) return;
    const entry = this.look(set, unitsOf(now));
    if (entry != 0) this.write(entry, 0, 0, 0);
    unlock(this.lockOf(set));
  }

  private putLocked(set: u32, value: u64, other: u64, now: u32): i32 {
    if (this.look(set, now) != 0) return FRAGMENT_KNOWN;
    let entry = this.entryOf(set);
    let oldest: i32 = i32.MAX_VALUE;
    let chosen: usize = entry;
    for (let i: u32 = 0; i < WAYS; i++) {
      const left = load<u64>(entry, TAIL) == 0 ? -1 : <i32>(load<u32>(entry, UNTIL) - now);
      if (left < oldest) {
        oldest = left;
        chosen = entry;
      }
      entry += ENTRY;
    }
    this.write(chosen, now + this.life, value, other);
    seenValue = value;
    seenOther = other;
    return oldest >= 0 ? FRAGMENT_EVICTED : FRAGMENT_KEPT;
  }

  /** Needs the lock. @param until 0: it becomes free */
  private write(entry: usize, until: u32, value: u64, other: u64): void {
    // Odd already where a worker was ended in here.
    const version = atomic.load<u32>(entry) | 1;
    atomic.store<u32>(entry, version);
    atomic.store<u64>(entry, until == 0 ? 0 : tail, TAIL);
    atomic.store<u64>(entry, name0, NAME);
    atomic.store<u64>(entry, name1, NAME + 8);
    atomic.store<u64>(entry, name2, NAME + 16);
    atomic.store<u64>(entry, name3, NAME + 24);
    atomic.store<u64>(entry, value, VALUE);
    atomic.store<u64>(entry, other, OTHER);
    atomic.store<u32>(entry, until, UNTIL);
    atomic.store<u32>(entry, version + 1);
  }

  /** @returns the entry of the name at hand that has time left, or 0 */
  private look(set: u32, now: u32): usize {
    let entry = this.entryOf(set);
    for (let i: u32 = 0; i < WAYS; i++) {
      // An entry that is being written is of another datagram, or of this one for the first time: nothing yet.
      const version = atomic.load<u32>(entry);
      if (
        (version & 1) == 0 &&
        atomic.load<u64>(entry, TAIL) == tail &&
        atomic.load<u64>(entry, NAME) == name0 &&
        atomic.load<u64>(entry, NAME + 8) == name1 &&
        atomic.load<u64>(entry, NAME + 16) == name2 &&
        atomic.load<u64>(entry, NAME + 24) == name3
      ) {
        const value = atomic.load<u64>(entry, VALUE);
        const other = atomic.load<u64>(entry, OTHER);
        const left = <i32>(atomic.load<u32>(entry, UNTIL) - now);
        if (atomic.load<u32>(entry) == version && left >= 0) {
          seenValue = value;
          seenOther = other;
          return entry;
        }
      }
      entry += ENTRY;
    }
    return 0;
  }

  @inline private lockOf(set: u32): usize {
    return changetype<usize>(this) + HEADER + ((<usize>set) << 2);
  }

  @inline private entryOf(set: u32): usize {
    const entries = changetype<usize>(this) + HEADER + align64((<usize>this.sets) << 2);
    return entries + <usize>set * <usize>WAYS * ENTRY;
  }

  /** Multiply-shift over the name's words (Thorup 2015, 3.5): nobody without the seeds can tell which meet. */
  private setOf(): u32 {
    const at = changetype<usize>(this);
    let h =
      load<u64>(at, SEEDS) + fold(name0) * load<u64>(at, SEEDS + 8) + fold(name1) * load<u64>(at, SEEDS + 16);
    h += fold(name2) * load<u64>(at, SEEDS + 24) + fold(name3) * load<u64>(at, SEEDS + 32);
    h = mix(h + tail * (load<u64>(at, SEEDS + 40) | 1));
    return <u32>(((h >> 32) * <u64>this.sets) >> 32);
  }
}

/** Reads the name of the datagram that a fragment is of. @returns false: it is no fragment */
function readName(p: Packet): bool {
  if (!p.isFragment) return false;
  const ip = p.ip;
  if (p.isIpv4) {
    name0 = ((<u64>Ipv4.of(p).source) << 32) | <u64>Ipv4.of(p).destination;
    name1 = 0;
    name2 = 0;
    name3 = 0;
    tail = ((<u64>4) << 40) | ((<u64>p.protocol) << 32) | <u64>Ipv4.of(p).id;
    return true;
  }
  const fragment = fragmentHeader(p);
  if (fragment == 0) return false;
  name0 = be64(ip + IPV6_SOURCE);
  name1 = be64(ip + IPV6_SOURCE + 8);
  name2 = be64(ip + IPV6_DESTINATION);
  name3 = be64(ip + IPV6_DESTINATION + 8);
  tail = ((<u64>6) << 40) | <u64>be32(fragment + 4);
  return true;
}

/** Address of the fragment header of an IPv6 fragment; dissect has proved it and what is before it. 0: there is none. */
function fragmentHeader(p: Packet): usize {
  if (!p.isIpv6) return 0;
  let at = p.ip + <usize>IPV6_HEADER;
  let kind = Ipv6.of(p).nextHeader;
  const end = <usize>p.data + <usize>p.payload;
  while (at + 8 <= end && isExtension(kind)) {
    if (kind == NEXT_HEADER_FRAGMENT) return at;
    const length = <usize>extensionLength(kind, at);
    kind = load<u8>(at);
    at += length;
  }
  return 0;
}

/** Where in its datagram a fragment begins, bytes; 0 for one that is none. */
export function fragmentOffset(p: Packet): u32 {
  if (!p.isFragment) return 0;
  if (p.isIpv4) return (<u32>Ipv4.of(p).fragment & 0x1fff) << 3;
  const fragment = fragmentHeader(p);
  return fragment == 0 ? 0 : <u32>be16(fragment + 2) & 0xfff8;
}

function setsFor(datagrams: u32): u32 {
  return max<u32>(1, (datagrams + WAYS - 1) / WAYS);
}

function unitsOf(now: u64): u32 {
  return <u32>(now >> UNIT_SHIFT);
}

/** An injection would not fit 32 bits; what folds alike is told apart by comparing names. */
function fold(word: u64): u64 {
  return word ^ (word >> 29);
}

/** The finalizer of splitmix64 (Steele, Lea, Flood 2014). */
function mix(z: u64): u64 {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

function align64(bytes: usize): usize {
  return (bytes + 63) & ~63;
}
