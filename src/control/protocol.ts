/**
 * What is said on a running pipeline's socket: a line of JSON a request, a line of JSON a reply, in their order.
 * README.md is the same for those who write programs against it.
 */
import type { Report } from "./report.ts";

/** Stands in every request and reply. Another number: another protocol. */
export const VERSION = 1;

/** Bytes of the longest request, its end of line not counted. */
export const LONGEST_REQUEST = 4096;
/** Bytes of the longest reply: a report with large tables, the diagnostics of a very wrong file. */
export const LONGEST_REPLY = 64 << 20;

/** Who answers. */
export interface About {
  /** The pipeline's name. */
  name: string;
  pid: number;
  /** The pipeline file, whole path. */
  file: string;
  /** "run" or "lab". */
  command: string;
  /** When it was started, ISO 8601. */
  started: string;
}

export interface ReloadReply {
  /** By filter, the parameters that are others now; empty: nothing has changed. */
  changed: { filter: string; params: string[] }[];
  /** Workers that have not gone over to it yet, and will when what they wait for lets them. Mostly none. */
  waiting: number[];
  /** Filters that trapped, or had to be ended, as they went over. Mostly none. */
  trapped: string[];
  /** What is allowed in the file but hardly meant, as text to print. */
  warnings: string[];
}

/** Each command's reply. */
export interface Replies {
  info: About;
  stats: Report;
  /** It has been asked to end; its connections end when its process has. */
  stop: Record<string, never>;
  reload: ReloadReply;
}
export type Command = keyof Replies;

export const ERROR_CODES = [
  /** The request is none: it is no JSON, too long, of another version. The connection is closed. */
  "bad-request",
  "unknown-command",
  /** The pipeline file is wrong; `message` is what there is to print, `diagnostics` the places. */
  "invalid-file",
  /** The file is right, and what changed in it wants a restart: `reasons`. */
  "not-reloadable",
  /** Anything else. */
  "failed",
] as const;
export type ErrorCode = (typeof ERROR_CODES)[number];

/** What `error` of a reply is. */
export interface Refusal {
  code: ErrorCode;
  message: string;
  reasons?: string[];
  diagnostics?: object[];
}

/** Thrown where a command is carried out, and again where it was asked for. */
export class ControlError extends Error {
  readonly refusal: Refusal;

  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** The refusal that an error is told as. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof ControlError) return error.refusal;
  return { code: "failed", message: error instanceof Error ? error.message : String(error) };
}

export function requestLine(command: Command): string {
  return `${JSON.stringify({ pktflow: VERSION, command })}\n`;
}

/** @throws ControlError bad-request */
export function parseRequest(line: string): { command: string } {
  const bad = (message: string) => new ControlError({ code: "bad-request", message });
  const like = `{"pktflow":${VERSION},"command":"stats"}`;
  const request = objectOf(line);
  if (request === undefined) throw bad(`a request is a JSON object in a line, as ${like}`);
  if (request["pktflow"] !== VERSION) {
    throw bad(`"pktflow" is the protocol's version, and this pipeline speaks ${VERSION}: ${like}`);
  }
  const command = request["command"];
  if (typeof command !== "string") throw bad(`"command" is missing, or no text: ${like}`);
  return { command };
}

export function resultLine(result: unknown): string {
  return `${JSON.stringify({ pktflow: VERSION, ok: true, result })}\n`;
}

export function refusalLine(error: Refusal): string {
  return `${JSON.stringify({ pktflow: VERSION, ok: false, error })}\n`;
}

/** @returns the result. @throws ControlError that the other side sent; Error: it is no reply */
export function parseReply(line: string): unknown {
  const reply = objectOf(line);
  if (reply === undefined) throw new Error("what it answered is no reply of pktflow's");
  if (reply["pktflow"] !== VERSION) {
    throw new Error(`it speaks another version of the protocol: ${JSON.stringify(reply["pktflow"])}`);
  }
  if (reply["ok"] === true && "result" in reply) return reply["result"];
  const error = reply["error"] as Partial<Refusal> | null | undefined;
  if (reply["ok"] !== false || typeof error?.message !== "string") {
    throw new Error("what it answered is neither a result nor an error");
  }
  const code = ERROR_CODES.find((known) => known === error.code) ?? "failed";
  throw new ControlError({ ...error, code, message: error.message });
}

function objectOf(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
    return isObject ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Lines out of what comes in pieces of any size. */
export class LineBuffer {
  private readonly longest: number;
  private readonly pieces: Buffer[] = [];
  /** Bytes of the line that has not ended yet. */
  private begun = 0;
  private readonly lines: string[] = [];
  /** A line was longer than it may be: what comes after it is not to be read. */
  tooLong = false;

  /** @param longest bytes of a line, its end not counted */
  constructor(longest: number) {
    this.longest = longest;
  }

  /** Has a line begun that has not ended? */
  get isInLine(): boolean {
    return this.begun > 0;
  }

  push(piece: Buffer): void {
    for (let rest = piece; rest.length > 0 && !this.tooLong; ) {
      const end = rest.indexOf(0x0a);
      const part = end < 0 ? rest : rest.subarray(0, end);
      this.begun += part.length;
      this.tooLong = this.begun > this.longest;
      if (this.tooLong) this.pieces.length = 0;
      else if (part.length > 0) this.pieces.push(part);
      if (end < 0) return;
      if (!this.tooLong) this.endLine();
      rest = rest.subarray(end + 1);
    }
  }

  /** The other side has said all: what has no end of line is a line too. */
  end(): void {
    if (this.begun > 0 && !this.tooLong) this.endLine();
  }

  take(): string | undefined {
    return this.lines.shift();
  }

  private endLine(): void {
    this.lines.push(Buffer.concat(this.pieces).toString("utf8"));
    this.pieces.length = 0;
    this.begun = 0;
  }
}
