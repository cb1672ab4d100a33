/**
 * The C library as koffi sees it. Addresses travel as plain numbers (`uintptr_t`), and results as `intptr_t`: koffi
 * takes and gives both without allocating, so that a call costs 20 to 50 ns over the kernel's own time.
 * Variadic functions (open, ioctl, fcntl, prctl) are declared with the arguments used here: on Linux's ABIs for
 * 64-bit machines an integer goes into the same register either way.
 */
import koffi from "koffi";

const library = koffi.load(null);

type Result = "int" | "intptr_t";
type Parameter = "int" | "uint" | "ulong" | "size_t" | "intptr_t" | "uintptr_t" | "str";

/** A function of the C library, as it is: -1 and errno on failure. */
export function libc<T extends (...args: never[]) => number>(
  name: string,
  result: Result,
  parameters: Parameter[],
): T {
  return library.func(name, result, parameters) as unknown as T;
}

/** The C convention (-1 and errno) to the kernel's own: a non-negative result, or -errno. Call it at once. */
export function orErrno(result: number): number {
  return result === -1 ? -koffi.errno() : result;
}
