/** The pipelines that run, by their sockets. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Connection, ConnectionLost } from "./client.ts";
import { refusalOfDirectory } from "./directory.ts";
import type { About } from "./protocol.ts";

/** A pipeline has this long to say who it is, ms: one that is stopped (SIGSTOP, a debugger) never does. */
const PATIENCE = 5000;

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
  const files = directories.flatMap((directory) => {
    try {
      const refusal = refusalOfDirectory(directory);
      if (refusal === undefined) return socketsIn(directory);
      refusals.push(refusal);
    } catch (error) {
      refusals.push((error as Error).message);
    }
    return [];
  });
  const found = await Promise.all(files.map((file) => ask(file, patience)));
  return found.filter((pipeline) => pipeline !== undefined).sort((a, b) => a.pid - b.pid);
}

/** Removes the sockets whose owner is gone. Those of processes that are there are left in peace. */
export async function removeStale(directory: string): Promise<void> {
  await Promise.all(
    socketsIn(directory)
      .filter(({ pid }) => !isThere(pid))
      .map(async ({ path }) => (await connectTo(path))?.close()),
  );
}

function socketsIn(directory: string): SocketFile[] {
  let names: string[];
  try {
    names = readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names.flatMap((name) => {
    const pid = /^(\d+)-[0-9a-f]+\.sock$/.exec(name)?.[1];
    return pid === undefined ? [] : [{ pid: Number(pid), path: join(directory, name) }];
  });
}

async function ask({ pid, path }: SocketFile, patience: number): Promise<Found | undefined> {
  let connection: Connection | undefined;
  try {
    connection = await connectTo(path);
    if (connection === undefined) return undefined;
    return { pid, path, about: await connection.ask("info", patience), connection };
  } catch (error) {
    connection?.close();
    // It has ended meanwhile.
    if (error instanceof ConnectionLost) return undefined;
    return { pid, path, problem: (error as Error).message };
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

function isThere(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
