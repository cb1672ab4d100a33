/**
 * A lab without privileges: the process becomes root of a user namespace of its own, where it may make network
 * namespaces and devices in them, and nothing outside. A process with threads may not unshare its user namespace, so
 * it turns into unshare(1) of util-linux, which turns into this program again: the same process all the way, with the
 * same terminal, parent and number.
 */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { close, F_GETFL, F_SETFL, fcntl, O_NONBLOCK, O_RDWR, open } from "../sys/calls.ts";
import { EACCES, EPERM, SystemError } from "../sys/errno.ts";
import { TUN_DEVICE } from "../sys/if_tun.ts";
import { closeOnExec, execve } from "../sys/process.ts";

/** Stands in the environment of the second life, so that there is no third. */
const MARKER = "PKTFLOW_USER_NAMESPACE";
/** Its own network namespace: going back to one (setns) takes rights over it. */
const UNSHARE = ["--user", "--map-root-user", "--net"];

/** Has this process been through enterUserNamespace? Asked once: commands that are started do not see the marker. */
export const insideUserNamespace = process.env[MARKER] !== undefined;
delete process.env[MARKER];

/** Is it the refusal to make namespaces that a user namespace would help against? */
export function needsUserNamespace(error: unknown): boolean {
  return (
    error instanceof SystemError && error.call === "unshare" && error.errno === EPERM && !insideUserNamespace
  );
}

/**
 * Starts this program anew, with the same arguments, as root of a user namespace. Does not return.
 * @throws SystemError that says what is missing on this machine, and the command that gives it
 */
export function enterUserNamespace(): never {
  checkTunDevice();
  const unshare = findProgram("unshare");
  if (unshare === undefined) {
    throw unavailable("unshare(1) is not installed", "sudo apt install util-linux, or run it as root");
  }
  const attempt = spawnSync(unshare, [...UNSHARE, "--", "true"], { encoding: "utf8" });
  if (attempt.status !== 0) {
    const said = (attempt.error?.message ?? attempt.stderr).trim().split("\n")[0];
    throw unavailable(`user namespaces are not allowed here: ${said}`, hint());
  }
  handOverStdio();
  const argv = [unshare, ...UNSHARE, "--", process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const env = Object.entries({ ...process.env, [MARKER]: "1" }).map(([name, value]) => `${name}=${value}`);
  throw new SystemError("execve", unshare, execve(unshare, argv, env), { unavailable: true });
}

/** As they were when this runtime started: it closes them on exec, and has made some nonblocking. */
function handOverStdio(): void {
  for (const fd of [0, 1, 2]) {
    const flags = fcntl(fd, F_GETFL);
    if (flags < 0) continue;
    fcntl(fd, F_SETFL, flags & ~O_NONBLOCK);
    closeOnExec(fd, false);
  }
}

/** Root of a user namespace opens the device node as the user that it is outside. */
function checkTunDevice(): void {
  const fd = open(TUN_DEVICE, O_RDWR);
  if (fd >= 0) close(fd);
  else if (fd === -EACCES) {
    throw new SystemError("open", TUN_DEVICE, fd, {
      hint: `sudo chmod 0666 ${TUN_DEVICE}, which is safe (a device of one's own takes CAP_NET_ADMIN), or run it as root`,
    });
  } else {
    throw new SystemError("open", TUN_DEVICE, fd, {
      hint: "sudo modprobe tun (in a container: start it with --device /dev/net/tun)",
      unavailable: true,
    });
  }
}

function unavailable(detail: string, hint: string): SystemError {
  return new SystemError("unshare", "CLONE_NEWNET", EPERM, { detail, hint, unavailable: true });
}

/** Switches that forbid user namespaces: a file, what in it forbids, and the command that allows them. */
const SWITCHES: [file: string, forbids: string, command: string][] = [
  ["/proc/sys/kernel/unprivileged_userns_clone", "0", "sudo sysctl kernel.unprivileged_userns_clone=1"],
  [
    "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
    "1",
    "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
  ],
  ["/proc/sys/user/max_user_namespaces", "0", "sudo sysctl user.max_user_namespaces=10000"],
];

function hint(): string {
  const found = SWITCHES.find(([file, forbids]) => {
    try {
      return readFileSync(file, "utf8").trim() === forbids;
    } catch {
      return false;
    }
  });
  if (found) return `${found[2]}, or run it as root`;
  return "run it as root (in a container: start it with --cap-add SYS_ADMIN --cap-add NET_ADMIN)";
}

function findProgram(name: string): string | undefined {
  const folders = (process.env["PATH"] ?? "/usr/bin:/bin").split(delimiter);
  return folders
    .map((folder) => join(folder, name))
    .find((file) => {
      try {
        accessSync(file, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}
