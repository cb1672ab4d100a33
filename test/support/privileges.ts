/** Takes things away from this thread for the time of a synchronous function: its user, its view of /dev. Root only. */
import koffi from "koffi";
import { close, O_RDONLY, open } from "../../src/sys/calls.ts";
import { check } from "../../src/sys/errno.ts";
import { CLONE_NEWNS, setns, unshare } from "../../src/sys/namespaces.ts";

const libc = koffi.load(null);
// The system call, not the C function: that one changes all threads.
const syscall = libc.func("long syscall(long number, long a, long b, long c)");
const mount = libc.func("int mount(str source, str target, str type, ulong flags, str data)");
const SYS_setresuid = process.arch === "arm64" ? 147 : 117;
const MS_REC_PRIVATE = 0x4000 | 0x40000;

/** Runs `visit` with the effective user `uid`, and so without capabilities. */
export function asUser<T>(uid: number, visit: () => T): T {
  setEffectiveUser(uid);
  try {
    return visit();
  } finally {
    setEffectiveUser(0);
  }
}

function setEffectiveUser(uid: number): void {
  if (syscall(SYS_setresuid, -1, uid, -1) !== 0) throw new Error(`setresuid ${uid}: errno ${koffi.errno()}`);
}

/** Runs `visit` where /dev/net is an empty directory, for this thread only. */
export function withEmptyDevNet<T>(visit: () => T): T {
  return withMount("tmpfs", "/dev/net", visit);
}

/** Runs `visit` where /sys is that of this thread's network namespace, as `ip netns exec` does. */
export function withOwnSys<T>(visit: () => T): T {
  return withMount("sysfs", "/sys", visit);
}

function withMount<T>(type: string, target: string, visit: () => T): T {
  const cwd = process.cwd();
  const own = check(open("/proc/thread-self/ns/mnt", O_RDONLY), "open", "ns/mnt");
  check(unshare(CLONE_NEWNS), "unshare", "CLONE_NEWNS");
  try {
    if (mount("none", "/", null, MS_REC_PRIVATE, null) !== 0) throw new Error("mount --make-rprivate /");
    if (mount("none", target, type, 0, null) !== 0) throw new Error(`mount -t ${type} ${target}`);
    return visit();
  } finally {
    check(setns(own, CLONE_NEWNS), "setns", "ns/mnt");
    close(own);
    process.chdir(cwd);
  }
}
