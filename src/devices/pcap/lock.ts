/**
 * A mutual exclusion of threads in the pipeline's memory: an i32 that is 0, or says who holds it. Whoever waits sleeps
 * in the kernel (futex). A holder that dies cannot release it; who buries it does, with `lockBreak`.
 */
import type { PacketMemory } from "../../batches/memory.ts";

/** What it was to guard is of no use any more. */
const SPOILT = -1;

/** @param owner above 0, different for each thread that may hold the lock @returns false: it was spoilt, and is not held */
export function lockAcquire(m: PacketMemory, lock: number, owner: number): boolean {
  const at = lock >>> 2;
  for (;;) {
    const holder = Atomics.compareExchange(m.i32, at, 0, owner);
    if (holder === 0) return true;
    if (holder === SPOILT) return false;
    Atomics.wait(m.i32, at, holder);
  }
}

/** Without waiting. @returns whether it is held now */
export function lockTry(m: PacketMemory, lock: number, owner: number): boolean {
  return Atomics.compareExchange(m.i32, lock >>> 2, 0, owner) === 0;
}

/** Instead of releasing it: nobody gets it any more. */
export function lockSpoil(m: PacketMemory, lock: number): void {
  Atomics.store(m.i32, lock >>> 2, SPOILT);
  Atomics.notify(m.i32, lock >>> 2);
}

export function lockRelease(m: PacketMemory, lock: number): void {
  Atomics.store(m.i32, lock >>> 2, 0);
  Atomics.notify(m.i32, lock >>> 2, 1);
}

/** Takes the lock away from a thread that has ended. @returns whether it held it */
export function lockBreak(m: PacketMemory, lock: number, owner: number): boolean {
  if (Atomics.compareExchange(m.i32, lock >>> 2, owner, 0) !== owner) return false;
  Atomics.notify(m.i32, lock >>> 2, 1);
  return true;
}
