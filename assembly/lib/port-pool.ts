// The ports of one outside address and protocol: which are taken. Any worker takes and gives back without a lock: a port
// is whose that set its bit. The memory must be zero.
//
//    0        64                             8256
//   +--------+------------------------------+
//   | taken  | bit a port, 1: taken (8 KiB) |
//   +--------+------------------------------+

import { randomBelow } from "../abi/context";

const TAKEN: usize = 0;
const BITMAP: usize = 64;
/** Bits of the even ports in a word. */
const EVEN: u64 = 0x5555555555555555;
/** Ports below are those of servers (RFC 6335: the system ports). */
const WELL_KNOWN: u32 = 1024;

@unmanaged
export class PortPool {
  static readonly BYTES: usize = BITMAP + 8192;

  @inline static at(address: usize): PortPool {
    return changetype<PortPool>(address);
  }

  /** How many are taken now. */
  get taken(): u32 {
    return atomic.load<u32>(changetype<usize>(this), TAKEN);
  }

  isTaken(port: u32): bool {
    return ((atomic.load<u64>(this.wordOf(port)) >> (<u64>port & 63)) & 1) != 0;
  }

  /** Takes this port for good, if it is free. @param counts does it count among those that are taken? */
  reserve(port: u32, counts: bool): bool {
    if (!this.take(port)) return false;
    if (!counts) atomic.sub<u32>(changetype<usize>(this), 1, TAKEN);
    return true;
  }

  /** Takes this port, if it is free. Looked at first: a word that nobody changes may lie in every worker's cache. */
  take(port: u32): bool {
    const bit: u64 = (<u64>1) << (<u64>port & 63);
    const word = this.wordOf(port);
    if ((atomic.load<u64>(word) & bit) != 0) return false;
    if ((atomic.or<u64>(word, bit) & bit) != 0) return false;
    atomic.add<u32>(changetype<usize>(this), 1, TAKEN);
    return true;
  }

  /** Address of the eight bytes in which a port's bit is. */
  @inline wordOf(port: u32): usize {
    return changetype<usize>(this) + BITMAP + ((<usize>(port >> 6)) << 3);
  }

  /**
   * Takes a port for an inside endpoint: its own where that is free; else one on the same side of 1024, and of the same parity
   * where there is one (RFC 4787 REQ-3a and 4; RFC 6146, 3.5.1.1); else any.
   * @param wanted host order; @param first, last the ports that it may be
   * @param all nobody takes others from this pool: when as many are taken, none is looked at
   * @param foreseen what foresee() said of the same, or -1
   * @returns the port, or -1: all are taken
   */
  takeLike(wanted: u32, first: u32, last: u32, all: bool, foreseen: i32 = -1): i32 {
    if (wanted >= first && wanted <= last && this.take(wanted)) return <i32>wanted;
    if (all && this.taken > last - first) return -1;
    if (foreseen >= <i32>first && foreseen <= <i32>last && this.take(<u32>foreseen)) return foreseen;
    return this.seek(wanted, first, last, true);
  }

  /**
   * The port that takeLike() would take now, which it will if it is told and nobody is faster: so that what hangs on the
   * port can come nearer meanwhile. -1: all are taken
   */
  foresee(wanted: u32, first: u32, last: u32, all: bool): i32 {
    if (wanted >= first && wanted <= last && !this.isTaken(wanted)) return <i32>wanted;
    if (all && this.taken > last - first) return -1;
    return this.seek(wanted, first, last, false);
  }

  /** On the same side of 1024 first. @param takes the port is taken, not only looked for */
  private seek(wanted: u32, first: u32, last: u32, takes: bool): i32 {
    const isLow = wanted < WELL_KNOWN;
    const low = isLow ? first : max(first, WELL_KNOWN);
    const high = isLow ? min(last, WELL_KNOWN - 1) : last;
    if (low <= high) {
      const port = this.seekAny(low, high, low + randomBelow(high - low + 1), wanted, takes);
      if (port >= 0 || (low == first && high == last)) return port;
    }
    return this.seekAny(first, last, first + randomBelow(last - first + 1), wanted, takes);
  }

  /**
   * A free port of first..last, the first one at or after `start`, one of them, around the end. With the parity of `wanted`
   * if there is one (RFC 4787, REQ-4), else any.
   * @returns the port, or -1: all are taken. Costs a look at a word for every 64 of them, twice, when nearly all are.
   */
  private seekAny(first: u32, last: u32, start: u32, wanted: u32, takes: bool): i32 {
    const parity = (wanted & 1) == 0 ? EVEN : ~EVEN;
    const port = this.scan(first, last, start, parity, takes);
    return port >= 0 ? port : this.scan(first, last, start, ~parity, takes);
  }

  release(port: u32): void {
    const at = changetype<usize>(this);
    // Counted first: `taken` may be too low for a moment, which costs a scan; too high it would refuse a free port.
    atomic.sub<u32>(at, 1, TAKEN);
    atomic.and<u64>(this.wordOf(port), ~((<u64>1) << (<u64>port & 63)));
  }

  private scan(first: u32, last: u32, start: u32, mask: u64, takes: bool): i32 {
    const bitmap = changetype<usize>(this) + BITMAP;
    const firstWord = first >> 6;
    const lastWord = last >> 6;
    let index = start >> 6;
    // The word of `start` is looked at twice: from `start` on, and at the end as a whole.
    let within = mask & (~(<u64>0) << (<u64>start & 63));
    for (let left = lastWord - firstWord + 2; left != 0; left--) {
      const low = index << 6;
      let free = ~atomic.load<u64>(bitmap + ((<usize>index) << 3)) & within & inRange(low, first, last);
      while (free != 0) {
        const port = low + <u32>ctz<u64>(free);
        if (!takes || this.take(port)) return <i32>port;
        free &= free - 1;
      }
      within = mask;
      index = index == lastWord ? firstWord : index + 1;
    }
    return -1;
  }
}

/** The bits of the word that begins with port `low` whose ports lie in first..last; at least one does. */
function inRange(low: u32, first: u32, last: u32): u64 {
  let bits = ~(<u64>0);
  if (first > low) bits &= ~(<u64>0) << (<u64>(first - low));
  if (last < low + 63) bits &= ~(<u64>0) >> <u64>(low + 63 - last);
  return bits;
}
