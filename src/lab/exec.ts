/**
 * The helper that runs a lab's command: process 1 of a pid namespace of its own (see command.ts). It enters the host's
 * network namespace, shows itself and its children fresh /proc and /sys, runs the command, and ends with its status.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readlinkSync } from "node:fs";
import { Socket } from "node:net";
import { constants } from "node:os";
import { check } from "../sys/errno.ts";
import { CLONE_NEWNET, CLONE_NEWNS, PR_SET_PDEATHSIG, prctl, setns, unshare } from "../sys/namespaces.ts";
import {
  closeOnExec,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_REC,
  MS_SLAVE,
  mount,
  reapOrphans,
} from "../sys/process.ts";
import { type ExecTask, FIRST_NAMESPACE, LIFELINE, namespaceVariable } from "./command.ts";

/** As shells do. */
const NOT_FOUND = 127;
const NOT_EXECUTABLE = 126;
const FAILED = 1;

function main(task: ExecTask): void {
  prctl(PR_SET_PDEATHSIG, constants.signals.SIGKILL);
  if (process.pid !== 1) throw new Error("the command's helper is not in a pid namespace of its own");
  // Signals for the command come through the lifeline, and so does the end of a parent that died before the prctl.
  const lifeline = new Socket({ fd: LIFELINE, readable: true, writable: false });
  let child: ChildProcess | undefined;
  lifeline.on("data", (text) => {
    for (const signal of String(text).split("\n")) {
      if (signal !== "") child?.kill(signal as NodeJS.Signals);
    }
  });
  lifeline.on("error", () => process.exit(FAILED));
  lifeline.on("close", () => process.exit(FAILED));
  forwardSignals((signal) => child?.kill(signal));

  for (let fd = LIFELINE; fd < FIRST_NAMESPACE + task.devices.length; fd++) closeOnExec(fd, true);
  const namespace = FIRST_NAMESPACE + task.host;
  check(setns(namespace, CLONE_NEWNET), "setns", `the namespace of ${task.devices[task.host]}`);
  freshMounts();
  child = run(task);
}

/** Each signal that would end the command is the command's to decide; a terminal's it gets from there itself. */
function forwardSignals(forward: (signal: NodeJS.Signals) => void): void {
  for (const signal of ["SIGINT", "SIGQUIT"] as const) process.on(signal, () => {});
  for (const signal of ["SIGTERM", "SIGHUP"] as const) process.on(signal, () => forward(signal));
}

/**
 * /proc with the processes of this namespace and /sys with the devices of this network namespace, seen from here only,
 * as `ip netns exec` does with /sys. Containers may not allow it; then the outer ones stay, which show more.
 */
function freshMounts(): void {
  if (unshare(CLONE_NEWNS) < 0) return;
  // What is mounted outside still comes in, nothing goes out.
  if (mount("none", "/", "none", MS_REC | MS_SLAVE) < 0) return;
  mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC);
  mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC);
}

function run({ argv, devices }: ExecTask): ChildProcess {
  const env = { ...process.env };
  // Our own number in the /proc that the command sees: 1 if it is fresh, the outer one if not.
  const self = readlinkSync("/proc/self");
  devices.forEach((device, i) => {
    env[namespaceVariable(device)] = `/proc/${self}/fd/${FIRST_NAMESPACE + i}`;
  });
  const child = spawn(argv[0], argv.slice(1), { stdio: "inherit", env });
  child.on("error", (error: NodeJS.ErrnoException) => {
    const missing = error.code === "ENOENT";
    const why = missing ? "there is no such program" : "it cannot be executed";
    process.stderr.write(`pktflow: lab: execvp ${argv[0]}: ${error.code ?? "failed"}: ${why}\n`);
    process.exit(missing ? NOT_FOUND : NOT_EXECUTABLE);
  });
  child.on("exit", (code, signal) =>
    process.exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
  );
  process.on("SIGCHLD", () => reapOrphans(child.pid ?? 0));
  return child;
}

try {
  main(JSON.parse(process.argv[2]) as ExecTask);
} catch (error) {
  process.stderr.write(`pktflow: lab: ${(error as Error).message}\n`);
  process.exit(FAILED);
}
