/**
 * A running pipeline's socket, on its main thread, beside the workers: whoever is slow, silent or wrong on it costs them
 * nothing. It keeps no process alive.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, renameSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { checkLength, makeDirectory, runtimeDirectories } from "./directory.ts";
import { removeStale } from "./find.ts";
import {
  type About,
  type Command,
  ControlError,
  LineBuffer,
  LONGEST_REQUEST,
  parseRequest,
  type Replies,
  refusalLine,
  refusalOf,
  resultLine,
} from "./protocol.ts";

/** What a running pipeline does when it is asked to. What one throws is the reply: a ControlError, or a failure. */
export type Handlers = {
  [C in Exclude<Command, "info">]: () => Replies[C] | Promise<Replies[C]>;
};

export interface ControlSocket {
  readonly path: string;
  /**
   * Removes it, so that nobody finds it any more. Connections that there are end with the process: who waits for the end
   * of one waits for that of the other.
   */
  close(): void;
}

/** Connections at once; one more, and of those that wait for nothing the one that has been silent longest is let go. */
export const MOST_CLIENTS = 128;
/** From a request's first byte to its end, and from a reply's to when it is taken; then the connection ends. ms */
const PATIENCE = 10_000;

/**
 * @param directories where it may be: it is in the first that will do
 * @param patience how long a request and the taking of a reply may last, ms
 * @throws Error that says why there can be none
 */
export async function openControl(
  about: About,
  handlers: Handlers,
  directories: string[] = runtimeDirectories(),
  patience = PATIENCE,
): Promise<ControlSocket> {
  const refusals: string[] = [];
  for (const directory of directories) {
    try {
      return await openIn(directory, about, handlers, patience);
    } catch (error) {
      refusals.push((error as Error).message);
    }
  }
  throw new Error(refusals.join("; "));
}

async function openIn(
  directory: string,
  about: About,
  handlers: Handlers,
  patience: number,
): Promise<ControlSocket> {
  const name = `${about.pid}-${randomBytes(4).toString("hex")}`;
  const path = join(directory, `${name}.sock`);
  checkLength(path);
  makeDirectory(directory);
  const clients = new Set<Client>();
  const answer = answerer({ info: () => about, ...handlers });
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    if (clients.size >= MOST_CLIENTS && !letGo(clients)) return void socket.destroy();
    const spoken = async (line: string) => {
      // The one that spoke last is let go of last.
      clients.delete(client);
      clients.add(client);
      return await answer(line);
    };
    const client = new Client(socket, spoken, patience);
    clients.add(client);
    socket.on("close", () => clients.delete(client));
  });
  // Under its name it is only once it listens: a socket that refuses is then one whose owner is gone.
  const begun = join(directory, `.${name}`);
  await listen(server, begun);
  try {
    chmodSync(begun, 0o600);
    renameSync(begun, path);
  } catch (error) {
    server.close();
    rmSync(begun, { force: true });
    throw error;
  }
  const remove = () => rmSync(path, { force: true });
  process.on("exit", remove);
  server.unref();
  removeStale(directory).catch(() => {});
  return {
    path,
    close() {
      process.off("exit", remove);
      remove();
      server.close();
    },
  };
}

/** Lets go of one that waits for nothing. @returns false: there is none */
function letGo(clients: Set<Client>): boolean {
  for (const client of clients) {
    if (client.isWaiting) continue;
    clients.delete(client);
    client.socket.destroy();
    return true;
  }
  return false;
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => reject(new Error(`listen ${path}: ${error.code}`));
    server.once("error", fail).listen(path, () => {
      server.off("error", fail);
      // accept(2) without a descriptor to spare: it goes on when there is one.
      server.on("error", () => {});
      resolve();
    });
  });
}

interface Answer {
  text: string;
  /** The connection ends with it. */
  last: boolean;
  /** What is waited for next is the end of the process. */
  isEnding: boolean;
}
type Answerer = (line: string) => Promise<Answer>;

/** From a request's line to its reply's. */
function answerer(handlers: Record<string, () => unknown>): Answerer {
  return async (line) => {
    try {
      const { command } = parseRequest(line);
      if (!Object.hasOwn(handlers, command)) {
        const known = Object.keys(handlers).join(", ");
        const message = `there is no command ${JSON.stringify(command)}: there are ${known}`;
        throw new ControlError({ code: "unknown-command", message });
      }
      const text = resultLine(await handlers[command]());
      return { text, last: false, isEnding: command === "stop" };
    } catch (error) {
      const refusal = refusalOf(error);
      return { text: refusalLine(refusal), last: refusal.code === "bad-request", isEnding: false };
    }
  };
}

/** A connection. While a request is being answered and its reply sent, no other is read: one reply is all it takes up. */
class Client {
  readonly socket: Socket;
  private readonly answer: Answerer;
  private readonly lines = new LineBuffer(LONGEST_REQUEST);
  private readonly patience: number;
  private timer: NodeJS.Timeout | undefined;
  private busy = false;
  private ended = false;
  /** For the answer to what it asked, or for the end: it is not let go of for others. */
  isWaiting = false;

  constructor(socket: Socket, answer: Answerer, patience: number) {
    this.socket = socket;
    this.answer = answer;
    this.patience = patience;
    socket.unref();
    socket.on("data", (piece: Buffer) => {
      this.lines.push(piece);
      this.next();
    });
    socket.on("end", () => {
      this.ended = true;
      this.lines.end();
      this.next();
    });
    socket.on("close", () => this.stopClock());
    // It has gone, perhaps in the midst of a reply: "close" follows.
    socket.on("error", () => {});
  }

  private next(): void {
    if (this.busy || this.socket.destroyed || this.socket.writableEnded) return;
    const line = this.lines.take();
    if (line !== undefined) void this.reply(line);
    else if (this.lines.tooLong) {
      const message = `a request has at most ${LONGEST_REQUEST} bytes`;
      this.finish(refusalLine({ code: "bad-request", message }));
    } else if (this.ended) this.finish("");
    else {
      // Not again with each piece of it: who sends a byte now and then would never be done.
      if (this.lines.isInLine && this.timer === undefined) this.startClock();
      this.socket.resume();
    }
  }

  private async reply(line: string): Promise<void> {
    this.busy = true;
    this.isWaiting = true;
    this.socket.pause();
    this.stopClock();
    const { text, last, isEnding } = await this.answer(line);
    this.busy = false;
    this.isWaiting = isEnding;
    if (this.socket.destroyed || this.socket.writableEnded) return;
    if (last) return this.finish(text);
    this.busy = true;
    this.startClock();
    this.socket.write(text, () => {
      this.stopClock();
      this.busy = false;
      this.next();
    });
  }

  /** The last words. What the other side still says is read and forgotten: unread, it would be an error to it. */
  private finish(text: string): void {
    this.startClock();
    this.socket.end(text);
    this.socket.removeAllListeners("data");
    this.socket.on("data", () => {});
    this.socket.resume();
  }

  /** What is under way has its time, and then the connection ends. */
  private startClock(): void {
    this.stopClock();
    this.timer = setTimeout(() => this.socket.destroy(), this.patience).unref();
  }

  private stopClock(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
  }
}
