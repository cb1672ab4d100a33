/** Chance that is the same for the same seed (mulberry32), so that what fails can be run again. */
export class Chance {
  private state: number;
  constructor(seed: number) {
    this.state = seed >>> 0;
  }
  /** A whole number below `limit`. */
  below(limit: number): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 4294967296) * limit);
  }
  /** True once in so many times. */
  once(times: number): boolean {
    return this.below(times) === 0;
  }
  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }
}
