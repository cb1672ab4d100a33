/**
 * Sleeping until a time, for filters to which microseconds matter. A thread that sleeps in the kernel wakes late, on a virtual
 * machine by a hundred microseconds and more, so it is told to wake earlier by what it was late of late, and what is left it
 * looks at the clock. That costs this much of a processor for each time that is waited for, and nothing when none is.
 */

/** ns; what is looked at the clock for, at least and at most. */
const LEAST = 10e3;
const MOST = 250e3;
/** Weight of the last sleep. */
const GAIN = 1 / 8;
/** So much more than the mean: half of all sleeps are later than that. */
const SPARE = 1.5;

export class Alarm {
  private late = 50e3;
  private isMeasured = false;

  /** How much before a time to wake, ns. */
  get early(): number {
    return Math.min(Math.max(this.late * SPARE, LEAST), MOST);
  }

  /** How late this thread wakes in the mean, ns, whatever wakes it; 0: nothing has been measured. */
  get usual(): number {
    return this.isMeasured ? this.late : 0;
  }

  /** @param asked when the sleep should have ended, @param now when it did; what ended it earlier says nothing */
  woke(asked: number, now: number): void {
    if (now < asked) return;
    this.late += (Math.min(now - asked, MOST) - this.late) * GAIN;
    this.isMeasured = true;
  }
}
