/**
 * Network namespaces. A namespace belongs to a thread: what is opened in one (a tun device, a socket) keeps belonging
 * to it after the thread has gone home, so a visit is short and synchronous.
 */
import { close, O_RDONLY, open } from "./calls.ts";
import { check, ENOENT, SystemError, type SystemErrorOptions } from "./errno.ts";
import { libc, orErrno } from "./libc.ts";

// <linux/sched.h>
export const CLONE_NEWNS = 0x00020000;
export const CLONE_NEWUSER = 0x10000000;
export const CLONE_NEWPID = 0x20000000;
export const CLONE_NEWNET = 0x40000000;
// <linux/prctl.h>
export const PR_SET_PDEATHSIG = 1;
export const PR_GET_PDEATHSIG = 2;
export const PR_SET_NAME = 15;
export const PR_SET_CHILD_SUBREAPER = 36;

/** Where `ip netns add` keeps names (iproute2's NETNS_RUN_DIR). */
const NETNS_RUN_DIR = "/run/netns";
const OWN = "/proc/thread-self/ns/net";

const cSetns = libc<(fd: number, type: number) => number>("setns", "int", ["int", "int"]);
const cUnshare = libc<(flags: number) => number>("unshare", "int", ["int"]);
const cPrctl = libc<(option: number, a: number, b: number, c: number, d: number) => number>("prctl", "int", [
  "int",
  "ulong",
  "ulong",
  "ulong",
  "ulong",
]);

/** setns(2). @returns 0 or -errno */
export function setns(fd: number, type: number): number {
  return orErrno(cSetns(fd, type));
}

/** unshare(2): of this thread (CLONE_NEWUSER wants a process of one thread). @returns 0 or -errno */
export function unshare(flags: number): number {
  return orErrno(cUnshare(flags));
}

/** prctl(2). @returns what the option gives, or -errno */
export function prctl(option: number, a = 0, b = 0, c = 0, d = 0): number {
  return orErrno(cPrctl(option, a, b, c, d));
}

/**
 * Opens a network namespace.
 * @param which a name of `ip netns`, a path (anything with a slash), or a process id
 * @returns its descriptor; the caller closes it
 * @throws SystemError
 */
export function openNamespace(which: string | number): number {
  const path = namespacePath(which);
  let fd = open(path, O_RDONLY);
  // As in iproute2: a number is a name first.
  if (fd === -ENOENT && typeof which === "string" && /^\d+$/.test(which))
    fd = open(namespacePath(+which), O_RDONLY);
  return check(fd, "open", path, { ...hintFor(which, fd), unavailable: true });
}

function namespacePath(which: string | number): string {
  if (typeof which === "number") return `/proc/${which}/ns/net`;
  return which.includes("/") ? which : `${NETNS_RUN_DIR}/${which}`;
}

function hintFor(which: string | number, result: number): SystemErrorOptions {
  if (result !== -ENOENT || typeof which === "number" || which.includes("/")) return {};
  return { hint: `there is no network namespace of that name: sudo ip netns add ${which}` };
}

/**
 * Runs `visit` with this thread in the namespace, and goes back, whatever comes of it. Child processes started there
 * stay there.
 * @param namespace from openNamespace or createNamespace
 * @param visit runs to its end at once: nothing asynchronous of it would be in the namespace
 * @throws SystemError, and what `visit` throws
 */
export function withNamespace<T>(namespace: number, visit: () => T): T {
  const own = ownNamespace();
  try {
    check(setns(namespace, CLONE_NEWNET), "setns", `descriptor ${namespace}`, {
      detail: "entering a network namespace",
      ...NEEDS_SYS_ADMIN,
    });
    try {
      return visit();
    } finally {
      goBack(own);
    }
  } finally {
    close(own);
  }
}

/**
 * Makes a network namespace without a name; it is gone when its last descriptor, device and process are. Its only
 * device is lo, which is down.
 * @returns its descriptor; the caller closes it
 * @throws SystemError
 */
export function createNamespace(): number {
  const own = ownNamespace();
  try {
    check(unshare(CLONE_NEWNET), "unshare", "CLONE_NEWNET", NEEDS_SYS_ADMIN);
    try {
      return ownNamespace();
    } finally {
      goBack(own);
    }
  } finally {
    close(own);
  }
}

const NEEDS_SYS_ADMIN: SystemErrorOptions = {
  hint: "entering a network namespace needs CAP_SYS_ADMIN: run as root, or use `pktflow lab`",
};

function ownNamespace(): number {
  return check(open(OWN, O_RDONLY), "open", OWN);
}

function goBack(own: number): void {
  const result = setns(own, CLONE_NEWNET);
  if (result === 0) return;
  const detail = "this thread cannot go back to its own network namespace";
  throw new SystemError("setns", OWN, result, { detail });
}
