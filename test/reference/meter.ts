/** The meters of RFC 2697 and RFC 2698, as they are written there, in exact numbers. */

export type Colour = "green" | "yellow" | "red";

export interface MeterOptions {
  /** Tokens a second and most tokens of a bucket; a token is a bit or a packet. */
  cir: bigint;
  cbs: bigint;
  ebs: bigint;
  /** 0n: a single rate. */
  pir: bigint;
  pbs: bigint;
}

const SECOND = 1_000_000_000n;
const least = (a: bigint, b: bigint) => (a < b ? a : b);

export class ReferenceMeter {
  /** Tokens times 10^9. */
  private committed: bigint;
  private second: bigint;
  private last: bigint;
  private o: MeterOptions;

  constructor(o: MeterOptions, now: bigint) {
    this.o = o;
    this.committed = o.cbs * SECOND;
    this.second = (o.pir > 0n ? o.pbs : o.ebs) * SECOND;
    this.last = now;
  }

  /** Other rates and burst sizes, in the same units, for the tokens that there are; those over the smaller CBS come over it next. */
  change(o: MeterOptions): void {
    this.o = o;
    this.second = least(this.second, (o.pir > 0n ? o.pbs : o.ebs) * SECOND);
  }

  /** @param tokens that the packet takes; @param first those that its first packet takes, if it is a super-packet */
  meter(tokens: bigint, now: bigint, before: Colour = "green", first = tokens): Colour {
    const { cir, cbs, ebs, pir, pbs } = this.o;
    const elapsed = now - this.last;
    this.last = now;
    this.committed += elapsed * cir;
    const over = this.committed - cbs * SECOND;
    this.committed = least(this.committed, cbs * SECOND);
    if (pir > 0n) this.second = least(this.second + elapsed * pir, pbs * SECOND);
    else if (over > 0n) this.second = least(this.second + over, ebs * SECOND);
    const b = tokens * SECOND;
    const f = first * SECOND;
    if (pir > 0n) {
      if (before === "red" || this.second - f < 0n) return "red";
      this.second -= b;
      if (before === "yellow" || this.committed - f < 0n) return "yellow";
      this.committed -= b;
      return "green";
    }
    if (before === "green" && this.committed - f >= 0n) {
      this.committed -= b;
      return "green";
    }
    if (before !== "red" && this.second - f >= 0n) {
      this.second -= b;
      return "yellow";
    }
    return "red";
  }
}
