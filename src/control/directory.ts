/**
 * Where running pipelines' sockets are: a directory that is its user's alone, so that nobody else can talk to them, or
 * put a socket there for others to talk to. One that somebody else has made is never trusted.
 *
 *   $PKTFLOW_RUNTIME_DIR           if it is set, and then nowhere else
 *   /run/pktflow                   root's, and it alone: a service and a login of root's shall find each other
 *   $XDG_RUNTIME_DIR/pktflow       anyone's, where that is theirs
 *   $TMPDIR/pktflow-UID, or /tmp   where neither can be had
 */
import { lstatSync, mkdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";

export const DIRECTORY_VARIABLE = "PKTFLOW_RUNTIME_DIR";

/** Bytes of a socket's path: sun_path has 108, the last of which is 0 (unix(7)). */
export const LONGEST_PATH = 107;

/** Directories to look in, the one to make first. */
export function runtimeDirectories(env: NodeJS.ProcessEnv = process.env, uid = outsideUid()): string[] {
  const chosen = env[DIRECTORY_VARIABLE];
  if (chosen) return [resolve(chosen)];
  const xdg = env["XDG_RUNTIME_DIR"];
  return [
    ...(uid === 0 ? ["/run/pktflow"] : []),
    // sudo -E: root with a user's.
    ...(xdg && isAbsolute(xdg) && ownerOf(xdg) === process.getuid!() ? [join(xdg, "pktflow")] : []),
    join(tmpdir(), `pktflow-${uid}`),
  ];
}

/**
 * The user as others see it: a lab without privileges is root of a user namespace of its own, which has that user alone.
 * @param map user_namespaces(7): first id inside, first id outside, count
 */
export function outsideUid(map = ownMap(), uid = process.getuid!()): number {
  const lines = map.trim().split("\n");
  const [inside, outside, count] = lines[0].trim().split(/\s+/).map(Number);
  return lines.length === 1 && count === 1 && inside === uid ? outside : uid;
}

function ownMap(): string {
  try {
    return readFileSync("/proc/self/uid_map", "utf8");
  } catch {
    return "";
  }
}

function ownerOf(path: string): number | undefined {
  return lstatSync(path, { throwIfNoEntry: false })?.uid;
}

/**
 * Makes the directory, if there is none.
 * @throws Error that says why sockets may not be in it
 */
export function makeDirectory(path: string, env: NodeJS.ProcessEnv = process.env): void {
  try {
    mkdirSync(path, { mode: 0o700, recursive: Boolean(env[DIRECTORY_VARIABLE]) });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") throw new Error(`mkdir ${path}: ${code}`, { cause: error });
  }
  const refusal = refusalOfDirectory(path);
  if (refusal !== undefined) throw new Error(refusal);
}

/** Why what is in a directory is not to be trusted; undefined: it is, or there is no such directory. */
export function refusalOfDirectory(path: string): string | undefined {
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined) return undefined;
  if (!stat.isDirectory()) return `${path} is no directory`;
  if (stat.uid !== process.getuid!()) {
    return `${path} belongs to another user (uid ${stat.uid}), who could read and change what is said there`;
  }
  const mode = stat.mode & 0o777;
  if ((mode & 0o077) === 0) return undefined;
  return `${path} is open to others (mode ${mode.toString(8).padStart(4, "0")}): chmod 700 ${path}`;
}

/** @throws Error: the system has no room for such a path */
export function checkLength(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= LONGEST_PATH) return;
  throw new Error(
    `${path} has ${bytes} bytes, and a socket's path at most ${LONGEST_PATH}: ` +
      `${DIRECTORY_VARIABLE} names a directory with a shorter one`,
  );
}
