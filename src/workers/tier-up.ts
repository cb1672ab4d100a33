/**
 * When V8 compiles. Thread: the main one, before the workers start; the setting is the process's.
 *
 * By default a function is optimized after some 66 KB of its bytecode have run, which a loop that forwards a few hundred
 * packets a second reaches after seconds: meanwhile it is interpreted, and with cold caches a packet takes 20 us longer
 * through a device (bench/README.md, "Round trip"). A data path is few functions, always the same, with few types, so
 * nothing is lost by compiling them after a thirteenth of that.
 *
 * Only where the process is the pipeline's, as the command line's is: a program that uses pktflow as a library has the
 * flags that it has chosen.
 */
import { setFlagsFromString } from "node:v8";

const FLAGS = ["--interrupt-budget=5000", "--interrupt-budget-for-feedback-allocation=200"];

let isOurs = false;
let isDone = false;

/** The process is there for pipelines alone: its flags may be set. */
export function processIsOurs(): void {
  isOurs = true;
}

/**
 * From now on, if the process is ours. Called when a worker begins and not before, or all that runs once at the start is compiled too. Does
 * nothing where the engine is not V8, or has no such flags.
 */
export function compileEarly(): void {
  if (!isOurs || isDone) return;
  isDone = true;
  for (const flag of FLAGS) {
    try {
      setFlagsFromString(flag);
    } catch {
      // JavaScriptCore, say, which decides for itself.
      return;
    }
  }
}
