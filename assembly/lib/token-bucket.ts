// A token bucket (RFC 2697's committed part): `rate` tokens a second up to `burst`. For one worker; not atomic.
//
//    0               8
//   +---------------+---------------+
//   | credit        | last          |     credit: ns of tokens saved, times rate: a token is worth 10^9; last: ns
//   +---------------+---------------+
//
// Example: 1000 packets a second for each worker, 50 at once (16 bytes of state).
//
//   export function init(): void { TokenBucket.at(workerState()).fill(50, now()); }
//   ...
//   if (!TokenBucket.at(workerState()).take(1, 1000, 50, now())) return OUTPUT_DROP;

const TOKEN: u64 = 1_000_000_000;

@unmanaged
export class TokenBucket {
  private credit: u64;
  private last: u64;

  /** Bytes of state for a bucket. */
  static readonly BYTES: usize = 16;

  /**
   * A bucket in zeroed memory is empty until fill(). Needs BYTES bytes: not checked.
   * @param address of its memory, a multiple of 8
   */
  @inline static at(address: usize): TokenBucket {
    return changetype<TokenBucket>(address);
  }

  /**
   * Fills it to the brim. Never fails.
   * @param burst tokens, as for take()
   * @param now ns
   */
  fill(burst: u32, now: u64): void {
    this.credit = <u64>burst * TOKEN;
    this.last = now;
  }

  /**
   * Takes tokens, or none.
   * @param tokens how many: 1 for a packet, or its length for a rate of bytes
   * @param rate tokens a second, up to 2^34
   * @param burst most tokens that are saved up
   * @param now ns, never backwards
   * @returns false: there are not as many, and none is taken
   */
  take(tokens: u32, rate: u64, burst: u32, now: u64): bool {
    const full = <u64>burst * TOKEN;
    // After 2^29 ns (half a second) at 2^34 tokens a second the product is near 2^63: longer pauses fill the bucket in
    // steps, which no burst below 2^32 tokens at such a rate can tell.
    const elapsed =
      now > this.last ? min<u64>(now - this.last, rate < 1 << 20 ? (<u64>1) << 42 : (<u64>1) << 29) : 0;
    this.last = max<u64>(now, this.last);
    this.credit = min<u64>(full, this.credit + elapsed * rate);
    const price = <u64>tokens * TOKEN;
    if (this.credit < price) return false;
    this.credit -= price;
    return true;
  }
}
