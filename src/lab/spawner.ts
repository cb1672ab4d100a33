/**
 * The thread that starts a lab's command. It stands in front of a new pid namespace: its next child is process 1 in
 * there. Only a thread of its own can: one that has unshared its pid namespace can start no more threads, and going
 * back (setns) needs rights over the old namespace, which an unprivileged user does not have.
 * It lives as long as the child, for the child is told to die with the thread that started it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { constants } from "node:os";
import type { Writable } from "node:stream";
import { parentPort, workerData } from "node:worker_threads";
import { check } from "../sys/errno.ts";
import { CLONE_NEWPID, unshare } from "../sys/namespaces.ts";
import {
  FIRST_NAMESPACE,
  LIFELINE,
  type SpawnerReply,
  type SpawnerRequest,
  type SpawnerTask,
} from "./command.ts";

const port = parentPort!;

function reply(message: SpawnerReply): void {
  port.postMessage(message);
  port.close();
}

function start({ file, exec, namespaces, env }: SpawnerTask): ChildProcess {
  check(unshare(CLONE_NEWPID), "unshare", "CLONE_NEWPID", {
    hint: "a pid namespace needs CAP_SYS_ADMIN, or a user namespace",
  });
  const stdio: ("inherit" | "pipe" | number)[] = ["inherit", "inherit", "inherit"];
  stdio[LIFELINE] = "pipe";
  namespaces.forEach((namespace, i) => {
    stdio[FIRST_NAMESPACE + i] = namespace;
  });
  return spawn(process.execPath, [...process.execArgv, file, JSON.stringify(exec)], { stdio, env });
}

try {
  const child = start(workerData as SpawnerTask);
  const lifeline = child.stdio[LIFELINE] as unknown as Writable;
  // It breaks when the child dies, and the child's end is reported as such.
  lifeline.on("error", () => {});
  child.on("error", (error) => reply({ failure: `starting the command's helper: ${error.message}` }));
  child.on("exit", (code, signal) =>
    reply({ status: code ?? 128 + (signal === null ? 0 : constants.signals[signal]) }),
  );
  port.on("message", (request: SpawnerRequest) => {
    if ("kill" in request) child.kill("SIGKILL");
    else lifeline.write(`${request.signal}\n`);
  });
} catch (error) {
  reply({ failure: (error as Error).message });
}
