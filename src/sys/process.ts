/** System calls on processes and on what they see of the file system. Results are non-negative or -errno. */
import { libc, orErrno } from "./libc.ts";
import { addressOf } from "./memory.ts";

// <sys/mount.h>
export const MS_NOSUID = 0x2;
export const MS_NODEV = 0x4;
export const MS_NOEXEC = 0x8;
export const MS_BIND = 0x1000;
export const MS_REC = 0x4000;
export const MS_PRIVATE = 0x40000;
export const MS_SLAVE = 0x80000;
// <sys/prctl.h>
const PR_SET_TIMERSLACK = 29;
// <fcntl.h>
const F_SETFD = 2;
const FD_CLOEXEC = 1;
// <sys/wait.h>
const P_ALL = 0;
const WNOHANG = 0x1;
const WEXITED = 0x4;
const WNOWAIT = 0x1000000;
// siginfo_t of a child: i32 signo, errno, code, padding to 8 (all 64-bit ABIs), then its pid.
const SIGINFO_BYTES = 128;
const SI_PID = 16;

const cExecve = libc<(path: string, argv: number, envp: number) => number>("execve", "int", [
  "str",
  "uintptr_t",
  "uintptr_t",
]);
const cMount = libc<(source: string, target: string, type: string, flags: number, data: number) => number>(
  "mount",
  "int",
  ["str", "str", "str", "ulong", "uintptr_t"],
);
const cPrctl = libc<(option: number, a: number, b: number, c: number, d: number) => number>("prctl", "int", [
  "int",
  "ulong",
  "ulong",
  "ulong",
  "ulong",
]);
const cFcntl = libc<(fd: number, command: number, argument: number) => number>("fcntl", "int", [
  "int",
  "int",
  "uintptr_t",
]);
const cWaitid = libc<(which: number, id: number, info: number, options: number) => number>("waitid", "int", [
  "int",
  "uint",
  "uintptr_t",
  "int",
]);
const cWaitpid = libc<(pid: number, status: number, options: number) => number>("waitpid", "int", [
  "int",
  "uintptr_t",
  "int",
]);

const cGettid = libc<() => number>("gettid", "int", []);

/** gettid(2): the number of this thread in /proc/self/task. */
export function threadId(): number {
  return cGettid();
}

/**
 * How late the kernel may end this thread's sleeps, so that several end together: 50 us unless said (PR_SET_TIMERSLACK).
 * @param ns at least 1
 */
export function setTimerSlack(ns: number): void {
  cPrctl(PR_SET_TIMERSLACK, ns, 0, 0, 0);
}

/**
 * execve(2): the whole process, all its threads, becomes another program. Comes back only when it failed.
 * @param argv with the program's name as its first
 * @param env "NAME=value" each
 * @returns -errno
 */
export function execve(path: string, argv: readonly string[], env: readonly string[]): number {
  const [args, environment] = [stringVector(argv), stringVector(env)];
  return orErrno(cExecve(path, addressOf(args), addressOf(environment)));
}

/** char *[]: pointers, the last one null, and behind them the zero-terminated strings that they point to. */
function stringVector(strings: readonly string[]): Uint8Array {
  const encoded = strings.map((string) => new TextEncoder().encode(`${string}\0`));
  const pointerBytes = 8 * (strings.length + 1);
  const bytes = new Uint8Array(
    new SharedArrayBuffer(encoded.reduce((sum, one) => sum + one.length, pointerBytes)),
  );
  const pointers = new BigUint64Array(bytes.buffer, 0, strings.length + 1);
  const base = addressOf(bytes);
  let at = pointerBytes;
  encoded.forEach((one, i) => {
    bytes.set(one, at);
    pointers[i] = BigInt(base + at);
    at += one.length;
  });
  return bytes;
}

/** mount(2) without data. @returns 0 or -errno */
export function mount(source: string, target: string, type: string, flags: number): number {
  return orErrno(cMount(source, target, type, flags, 0));
}

/** Says whether a descriptor is closed on exec. @returns 0 or -errno */
export function closeOnExec(fd: number, closed: boolean): number {
  return orErrno(cFcntl(fd, F_SETFD, closed ? FD_CLOEXEC : 0));
}

/**
 * Reaps dead children that nobody waits for, as process 1 of a pid namespace has to: they were orphaned and became its.
 * @param awaited the runtime's own child, which it reaps itself
 */
export function reapOrphans(awaited: number): void {
  const info = new Int32Array(new SharedArrayBuffer(SIGINFO_BYTES));
  for (;;) {
    // A look without reaping, for the runtime would miss the end of its own child.
    info[SI_PID >>> 2] = 0;
    const result = orErrno(cWaitid(P_ALL, 0, addressOf(info), WEXITED | WNOHANG | WNOWAIT));
    const pid = info[SI_PID >>> 2];
    if (result < 0 || pid === 0 || pid === awaited) return;
    cWaitpid(pid, 0, WNOHANG);
  }
}
