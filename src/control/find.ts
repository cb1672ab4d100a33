/** The pipelines that run, by their sockets. */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Connection, ConnectionLost, NoAnswer } from "./client.ts";
import { refusalOfDirectory } from "./directory.ts";
import type { About } from "./protocol.ts";

/** A pipeline has this long to say who it is, ms. */
const PATIENCE = 5000;
/** And this long if its process is stopped (SIGSTOP, a debugger): then it never does. */
const PATIENCE_STOPPED = 100;
/** How long a process that has closed its connections may take to be gone, ms. */
const ENDING = 2000;

export interface Found {
  pid: number;
  path: string;
  /** Why it does not say who it is; then there is nothing more than these three. */
  problem?: string;
  about?: About;
  /** Open, and the caller's to close. */
  connection?: Connection;
}

interface SocketFile {
  pid: number;
  path: string;
}

/**
 * Asks every pipeline that runs who it is. Sockets whose owner is gone are removed on the way.
 * @param refusals gets why a directory was not looked into
 */
export async function findPipelines(
  directories: string[],
  refusals: string[] = [],
  patience = PATIENCE,
): Promise<Found[]> {
  const cleared: Promise<void>[] = [];
  const files = directories.flatMap((directory) => {
    try {
      const refusal = refusalOfDirectory(directory);
      if (refusal === undefined) {
        cleared.push(clear(filesIn(directory, BEGUN)));
        return filesIn(directory, NAMED);
      }
      refusals.push(refusal);
    } catch (error) {
      refusals.push((error as Error).message);
    }
    return [];
  });
  const found = await Promise.all(files.map((file) => ask(file, patience)));
  await Promise.all(cleared);
  return found.filter((pipeline) => pipeline !== undefined).sort((a, b) => a.pid - b.pid);
}

/** Removes the sockets whose owner is gone. Those of processes that are there are left in peace. */
export async function removeStale(directory: string): Promise<void> {
  await clear([...filesIn(directory, NAMED), ...filesIn(directory, BEGUN)]);
}

async function clear(files: SocketFile[]): Promise<void> {
  const left = files.filter(({ pid }) => !isThere(pid));
  await Promise.all(left.map(async ({ path }) => (await connectTo(path).catch(() => undefined))?.close()));
}

/**
 * Whether the pipeline is gone whose connection has ended; it may have had other reasons. Waits a little for it.
 * @param patience ms
 */
export async function isGone({ pid, path }: SocketFile, patience = ENDING): Promise<boolean> {
  for (const late = Date.now() + patience; ; await new Promise((resolve) => setTimeout(resolve, 10))) {
    if (!existsSync(path) || !isThere(pid) || stateOf(pid) === "Z") return true;
    if (Date.now() > late) return false;
  }
}

const NAMED = /^(\d+)-[0-9a-f]+\.sock$/;
/** One that does not listen yet, or never will: its process was killed then. */
const BEGUN = /^\.(\d+)-[0-9a-f]+$/;

function filesIn(directory: string, pattern: RegExp): SocketFile[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.flatMap((name) => {
    const pid = pattern.exec(name)?.[1];
    return pid === undefined ? [] : [{ pid: Number(pid), path: join(directory, name) }];
  });
}

async function ask({ pid, path }: SocketFile, patience: number): Promise<Found | undefined> {
  let connection: Connection | undefined;
  try {
    connection = await connectTo(path);
    if (connection === undefined) return undefined;
    const limit = isStopped(pid) ? PATIENCE_STOPPED : patience;
    return { pid, path, about: await connection.ask("info", limit), connection };
  } catch (error) {
    connection?.close();
    // It has ended meanwhile.
    if (error instanceof ConnectionLost) return undefined;
    const isAsleep = error instanceof NoAnswer && isStopped(pid);
    return { pid, path, problem: isAsleep ? STOPPED : (error as Error).message };
  }
}

/** @returns undefined: its owner is gone, and now the file is too. @throws Error of connect(2) */
async function connectTo(path: string): Promise<Connection | undefined> {
  try {
    return await Connection.open(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // A pipeline's socket has its name only from when it listens, to when it is removed: nobody will listen on this one.
    if (code === "ECONNREFUSED") rmSync(path, { force: true });
    else if (code !== "ENOENT") throw error;
    return undefined;
  }
}

const STOPPED = "it is stopped (SIGSTOP, a debugger)";

function isStopped(pid: number): boolean {
  return /^[Tt]$/.test(stateOf(pid) ?? "");
}

/** The letter that ps shows (proc_pid_stat(5)). */
function stateOf(pid: number): string | undefined {
  try {
    return /\) (.) [^)]*$/.exec(readFileSync(`/proc/${pid}/stat`, "utf8"))?.[1];
  } catch {
    return undefined;
  }
}

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
