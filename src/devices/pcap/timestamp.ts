/**
 * Capture times to and from ns since the epoch as two u32 halves. 64-bit arithmetic in doubles: every intermediate
 * stays below 2^53, so it is exact, and nothing is allocated.
 */

const TWO_32 = 4294967296;
const BILLION = 1e9;

/** A u64, modulo 2^64. */
export class U64 {
  high = 0;
  low = 0;

  set(high: number, low: number): void {
    this.high = high;
    this.low = low;
  }

  /** @param factor below 2^20 */
  multiply(factor: number): void {
    const product = this.low * factor;
    this.low = product >>> 0;
    this.high = (this.high * factor + (product - this.low) / TWO_32) >>> 0;
  }

  /** @param divisor below 2^20 */
  divide(divisor: number): void {
    const quotient = Math.floor(this.high / divisor);
    const rest = this.high - quotient * divisor;
    this.high = quotient;
    this.low = Math.floor((rest * TWO_32 + this.low) / divisor);
  }

  add(high: number, low: number): void {
    const sum = this.low + low;
    this.low = sum >>> 0;
    this.high = (this.high + high + (sum >= TWO_32 ? 1 : 0)) >>> 0;
  }

  /** @param seconds u32 @param nanoseconds u32 */
  setSeconds(seconds: number, nanoseconds: number): void {
    const upper = (seconds >>> 16) * BILLION;
    const upperRest = upper & 0xffff;
    const sum = (seconds & 0xffff) * BILLION + upperRest * 65536 + nanoseconds;
    this.low = sum >>> 0;
    this.high = ((upper - upperRest) / 65536 + (sum - this.low) / TWO_32) >>> 0;
  }
}

/** A time as pcap writes it. */
export class SecondsAndNanoseconds {
  seconds = 0;
  nanoseconds = 0;

  /** From a u64 of ns. Seconds are modulo 2^32 (the year 2106). */
  set(high: number, low: number): void {
    const first = (high % BILLION) * 65536 + (low >>> 16);
    const upper = Math.floor(first / BILLION);
    const second = (first - upper * BILLION) * 65536 + (low & 0xffff);
    const lower = Math.floor(second / BILLION);
    this.seconds = (upper * 65536 + lower) >>> 0;
    this.nanoseconds = second - lower * BILLION;
  }
}

/** How the times of one pcapng interface turn into ns: its if_tsresol and if_tsoffset. */
export class TimeScale {
  /** Units a second are 2^exponent, not 10^exponent. */
  private readonly binary: boolean;
  private readonly exponent: number;
  /** if_tsoffset in ns, modulo 2^64. */
  private readonly offsetHigh: number;
  private readonly offsetLow: number;
  private readonly limbs = new Float64Array(13);

  /** @param resolution if_tsresol, u8: the top bit says binary @param offset if_tsoffset, seconds, i64 */
  constructor(resolution: number, offset: bigint) {
    this.binary = (resolution & 0x80) !== 0;
    this.exponent = resolution & 0x7f;
    const ns = BigInt.asUintN(64, offset * 1_000_000_000n);
    this.offsetHigh = Number(ns >> 32n);
    this.offsetLow = Number(ns & 0xffff_ffffn);
  }

  /** Turns a time in the interface's units into ns since the epoch, rounded down. */
  apply(time: U64): void {
    if (this.binary) this.shift(time);
    else if (this.exponent <= 9) multiplyByPowerOfTen(time, 9 - this.exponent);
    else divideByPowerOfTen(time, this.exponent - 9);
    if (this.offsetLow !== 0 || this.offsetHigh !== 0) time.add(this.offsetHigh, this.offsetLow);
  }

  /** time * 10^9 / 2^exponent, in limbs of 16 bits, the lowest first. */
  private shift(time: U64): void {
    const limbs = this.limbs;
    let carry = 0;
    for (let i = 0; i < 6; i++) {
      const half = i < 2 ? time.low : i < 4 ? time.high : 0;
      const product = ((half >>> (16 * (i & 1))) & 0xffff) * BILLION + carry;
      const limb = product & 0xffff;
      limbs[i] = limb;
      carry = (product - limb) / 65536;
    }
    const first = this.exponent >>> 4;
    const bits = this.exponent & 15;
    time.low = (this.limbAt(first, bits) | (this.limbAt(first + 1, bits) << 16)) >>> 0;
    time.high = (this.limbAt(first + 2, bits) | (this.limbAt(first + 3, bits) << 16)) >>> 0;
  }

  private limbAt(index: number, bits: number): number {
    return ((this.limbs[index] + this.limbs[index + 1] * 65536) >>> bits) & 0xffff;
  }
}

function multiplyByPowerOfTen(time: U64, exponent: number): void {
  for (let left = exponent; left > 0; left -= 3) time.multiply(left === 1 ? 10 : left === 2 ? 100 : 1000);
}

function divideByPowerOfTen(time: U64, exponent: number): void {
  // Beyond 10^20 nothing of a u64 is left.
  for (let left = Math.min(exponent, 21); left > 0; left -= 3) {
    time.divide(left === 1 ? 10 : left === 2 ? 100 : 1000);
  }
}
