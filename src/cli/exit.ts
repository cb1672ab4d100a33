/** Exit statuses of the command line, and which error gets which. */
import { ConfigError } from "../config/diagnostics.ts";
import { FilterError } from "../filters/error.ts";
import { SystemError } from "../sys/errno.ts";

export const EXIT = {
  OK: 0,
  /** Failed while running. */
  FAILED: 1,
  /** Wrong usage or an invalid file. */
  USAGE: 2,
  /** Not permitted, or not available on this machine. */
  UNAVAILABLE: 3,
} as const;

/** The command line itself is wrong. */
export class UsageError extends Error {}

/** Something this machine does not give: the message says what, the hint how to get it. */
export class UnavailableError extends Error {
  readonly hint: string | undefined;
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** A pipeline that could not be started: what was asked for is wrong, or this machine does not give it. */
export class NotStarted extends Error {
  constructor(cause: unknown) {
    super(cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

/** These say that something broke, not that it was not there. */
const BROKEN = ["ENOSPC", "EDQUOT", "EPIPE", "EIO"];
/** What the pipeline file names a capture by is no file's name. */
const MISNAMED = ["ENOENT", "ENOTDIR", "EISDIR"];

export function exitStatus(error: unknown): number {
  if (error instanceof NotStarted) {
    if (!(error.cause instanceof SystemError)) return EXIT.USAGE;
    const { call, code, target } = error.cause;
    if (["open", "read"].includes(call) && MISNAMED.includes(code) && !target.startsWith("/dev/")) {
      return EXIT.USAGE;
    }
    return BROKEN.includes(code) ? EXIT.FAILED : EXIT.UNAVAILABLE;
  }
  if (error instanceof ConfigError || error instanceof FilterError || error instanceof UsageError) {
    return EXIT.USAGE;
  }
  if (error instanceof UnavailableError) return EXIT.UNAVAILABLE;
  if (error instanceof SystemError && error.unavailable) return EXIT.UNAVAILABLE;
  return EXIT.FAILED;
}

/**
 * What standard error gets: `pktflow: WHAT: WHY`, a hint on a line of its own; diagnostics as they are.
 * @param from the directory of who reads it
 */
export function errorText(error: unknown, from = process.cwd()): string {
  if (error instanceof ConfigError) return `${error.message}\n`;
  if (error instanceof NotStarted) return errorText(error.cause, from);
  if (error instanceof FilterError && error.diagnostics.length > 0) {
    // The compiler knows files by their whole paths; people look from where they are.
    return `${from === "/" ? error.message : error.message.replaceAll(`${from}/`, "")}\n`;
  }
  if (!(error instanceof Error)) return `pktflow: ${String(error)}\n`;
  const hint = (error as { hint?: string }).hint;
  const text = `pktflow: ${error.message}\n${hint === undefined ? "" : `  ${hint}\n`}`;
  return process.env["PKTFLOW_DEBUG"] === undefined ? text : `${text}${error.stack ?? ""}\n`;
}
